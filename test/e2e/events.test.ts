/**
 * What services are told, on real parts: a node is killed in mid-stream, and every message
 * has its receipts all the same, once; users whose edge is killed are offline only when they
 * stay away.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { rendezvousOrder } from "../../src/client/address-order.js";
import { accountName } from "../../src/client/token-account.js";
import type { ServiceEvent } from "../../src/protocol/service-event.js";
import { shardsOf, usersIn } from "../support/placement-state.js";
import { app, type Platform, startPlatform } from "../support/platform.js";
import { eventIn, type StoredEvent, storedEvents } from "../support/stored-events.js";
import { until } from "../support/until.js";

const users = Array.from({ length: 32 }, (_, index) => `user-${index}`);
const rounds = 30;
const killedInRound = 10;

/** Pushes round after round under a key, until each is answered ok; returns the MsgIDs. */
async function pushRounds(platform: Platform, onRound: (round: number) => void) {
  const accepted = new Set<string>();
  for (let round = 0; round < rounds; round++) {
    onRound(round);
    await Promise.all(
      users.map(async (user) => {
        const command = { body: round, id: `${user}-${round}` };
        const answer = await until(`${user} is answered`, async () => {
          const given = await platform.tryPush(user, command);
          return given?.ok ? given : undefined;
        });
        if (answer.ok) accepted.add(answer.id);
      }),
    );
  }
  return accepted;
}

/** MsgIDs of a kind, as often as an event said so. */
function idsOf(events: readonly ServiceEvent[], kind: string): string[] {
  return events.flatMap((event) => (event.kind === kind && event.id ? [event.id] : []));
}

function checkOrder(stored: readonly StoredEvent[]): void {
  assert.equal(new Set(stored.map(({ id }) => id)).size, stored.length, "no id twice");
  const last = new Map<number, readonly [number, number]>();
  for (const { shard, n, index } of stored.map(eventIn)) {
    const [lastN, lastIndex] = last.get(shard) ?? [0, 0];
    assert.ok(n > lastN || (n === lastN && index === lastIndex + 1), `shard ${shard}: ${n}`);
    last.set(shard, [n, index]);
  }
}

test("each accepted message has its receipts once, whoever owned its shard", async (t) => {
  await using platform = await startPlatform({ events: { receipts: ["stored", "acked"] } });
  const devices = users.map((user) => platform.device(user, { onMessage: () => undefined }));
  await until("all are attached", () => devices.every((device) => device.position !== undefined));
  let killed: Promise<void> | undefined;
  const accepted = await pushRounds(platform, (round) => {
    if (round === killedInRound) killed = platform.killNode("a");
  });
  await killed;
  assert.equal(accepted.size, users.length * rounds);
  const all = async () => await storedEvents(platform.link);
  const stored = await until("every message was told as stored and acked", async () => {
    const now = await all();
    const acked = new Set(idsOf(now.map(eventIn), "acked"));
    return [...accepted].every((id) => acked.has(id)) ? now : undefined;
  });
  checkOrder(stored);
  const events = stored.map(eventIn);
  for (const kind of ["stored", "acked"]) {
    const ids = idsOf(events, kind);
    assert.equal(new Set(ids).size, ids.length, `none is ${kind} twice`);
    const told = new Set(ids);
    assert.deepEqual(
      [...accepted].filter((id) => !told.has(id)),
      [],
      `none is not ${kind}`,
    );
  }
  const epochs = new Set(events.map(({ epoch }) => epoch));
  t.diagnostic(`${events.length} events under epochs ${[...epochs].join(", ")}`);
  assert.ok(epochs.size > 1, "told by owners before and after the kill");
});

test("a user whose edge is killed is offline only when nobody comes back", async () => {
  await using platform = await startPlatform({ events: { presence: true } });
  const [edgeOfA, edgeOfB] = ["a", "b"].map((name) => platform.node(name).edgeUrl) as [
    string,
    string,
  ];
  // The other node owns their shards: it alone is to find out.
  const ofB = usersIn(await shardsOf(platform, "b"), 30, "user");
  const edges = [edgeOfA, edgeOfB];
  const startsAtA = (uid: string) =>
    rendezvousOrder(accountName(app, uid), edges)[0]?.url === edgeOfA;
  const back = ofB.find(startsAtA) ?? "";
  const away = ofB.find((uid) => uid !== back) ?? "";
  const onMessage = () => undefined;
  const devices = [
    platform.device(back, { onMessage, urls: edges }),
    platform.device(away, { onMessage, urls: [edgeOfA] }),
  ];
  await until("both are attached", () => devices.every((device) => device.position));
  const kindsOf = async (uid: string) =>
    (await storedEvents(platform.link))
      .map(eventIn)
      .filter((event) => event.uid === uid)
      .map(({ kind }) => kind);
  await until("both are online", async () =>
    [await kindsOf(back), await kindsOf(away)].every(({ length }) => length > 0),
  );
  await platform.killNode("a");
  const isOffline = async () => (await kindsOf(away)).at(-1) === "offline";
  await until("who stays away is offline", isOffline, 60_000);
  assert.deepEqual(await kindsOf(away), ["online", "foreground", "offline"]);
  assert.deepEqual(await kindsOf(back), ["online", "foreground"]);
});
