/**
 * Connections that break again and again under pushes, on real processes: each client is back
 * within moments on the same edge or another, nothing is lost or shown twice, what it took is
 * not sent again, and no service is told that it was away.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runOperatorCommand } from "../support/operator-command.js";
import { app, type Platform, startPlatform } from "../support/platform.js";
import { type PushedClient, PushedClients } from "../support/pushed-clients.js";
import { eventIn, storedEvents } from "../support/stored-events.js";
import { until } from "../support/until.js";

const clientCount = 60;
const flashes = 5;

/** Not only unknown: the edges have had their say. */
async function isAway(platform: Platform, uid: string): Promise<boolean> {
  const { document } = await runOperatorCommand(platform, "user", app, uid);
  return document.presence === "away";
}

test("clients whose connections flash go on where they were, and are never told as away", async (t) => {
  await using platform = await startPlatform({ events: { presence: true } });
  const clients = await PushedClients.start(platform, clientCount, ["a", "b"], 300);
  const told = async (kind: string) =>
    (await storedEvents(platform.link)).map(eventIn).filter((event) => event.kind === kind).length;
  await until("all are told as online", async () => (await told("online")) === clientCount);
  // Before, nobody is told as offline, whatever happens.
  for (let index = 0; index < 8; index++) {
    await until("it is known who is away", () => isAway(platform, `absent-${index}`), 60_000);
  }
  const cuts = new Map<string, number>();
  const cutsOf = ({ uid }: PushedClient) => cuts.get(uid) ?? 0;
  const isBack = (client: PushedClient) => clients.connectsOf(client) === 1 + cutsOf(client);
  for (let flash = 1; flash <= flashes; flash++) {
    // They take the next edge each time: a third of them keep theirs.
    for (const [at, client] of clients.all.entries()) {
      if ((at + flash) % 3 === 0) continue;
      cuts.set(client.uid, cutsOf(client) + 1);
      clients.sockets.cut(client.uid);
    }
    await until("all are back", () => clients.areAttached && clients.all.every(isBack));
    await clients.untilAccepted(100);
  }
  const edges = ["a", "b"].map((name) => clients.sockets.openOn(name));
  await clients.settle();
  t.diagnostic(`${clients.accepted} pushes, at the end ${edges} of them are on a and b`);
  assert.ok(Math.min(...edges) > 0, "they are on both edges");
  for (const client of clients.all) assert.ok(isBack(client), `${client.uid}: one more each time`);
  assert.equal(await told("offline"), 0);
  assert.equal(await told("online"), clientCount);
});
