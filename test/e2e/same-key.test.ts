/**
 * One push under one idempotency key, asked for a hundred times at once from ten
 * connections: one message, and everybody is told of the same one. For both stores.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createService, type PushAccepted } from "../../src/client/service-client.js";
import { connectNats } from "../../src/drivers/nats-connection.js";
import { app, type Platform, startPlatform } from "../support/platform.js";
import { startStoreServers } from "../support/store-servers.js";
import { until } from "../support/until.js";

const connections = 10;
const requestsEach = 10;
const push = { id: "order-17", body: { order: 17 } };

async function askAtOnce(platform: Platform, uid: string): Promise<PushAccepted[]> {
  const { user, pass: password, inboxPrefix } = platform.nats.credentials.app(app);
  const { url } = platform.nats;
  const open = (_: unknown, at: number) =>
    connectNats({ url, name: `service-${at}`, user, password, inboxPrefix });
  const opened = await Promise.all(Array.from({ length: connections }, open));
  const services = opened.map(({ client }) =>
    createService({ connection: client, app, timeoutMs: 30_000 }),
  );
  const requests = services.flatMap((service) =>
    Array.from({ length: requestsEach }, () => service.push(uid, push)),
  );
  const answers = await Promise.all(requests);
  await Promise.all(opened.map((connection) => connection.close()));
  return answers.map((answer) => {
    assert.ok(answer.ok, JSON.stringify(answer));
    return answer;
  });
}

async function storesOnce(platform: Platform): Promise<void> {
  const shown: string[] = [];
  const device = platform.device("alice", { onMessage: ({ id }) => void shown.push(id) });
  await until("alice is attached", () => device.position !== undefined);
  const answers = await askAtOnce(platform, "alice");
  assert.equal(answers.length, connections * requestsEach);
  assert.equal(new Set(answers.map(({ id, seq }) => `${id} ${seq}`)).size, 1, "one message");
  assert.equal(answers.filter(({ duplicate }) => duplicate !== true).length, 1, "stored once");
  const last = await platform.push("alice", { body: "last" });
  assert.equal(last.ok && last.seq, (answers[0]?.seq ?? 0) + 1, "no other seq was given");
  await until("the last one is shown", () => last.ok && shown.includes(last.id));
  assert.deepEqual(shown, [answers[0]?.id, last.ok && last.id]);
}

test("a key asked for a hundred times at once is stored once, on LMDB", async () => {
  await using platform = await startPlatform();
  await storesOnce(platform);
});

test("a key asked for a hundred times at once is stored once, on Redis and MySQL", async () => {
  await using servers = await startStoreServers();
  await using platform = await startPlatform({ environment: servers.environment });
  await storesOnce(platform);
});
