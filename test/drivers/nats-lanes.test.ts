/** What the lanes do on a server that dies, or has no room: beside the contract. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { jetstream } from "@nats-io/jetstream";
import { Fault } from "../../src/base/result.js";
import { connectNats } from "../../src/drivers/nats-connection.js";
import { NatsLanes } from "../../src/drivers/nats-lanes.js";
import type { LaneFeed } from "../../src/ports/lanes.js";
import { type LaneRecord, laneRecordVersion } from "../../src/protocol/lane-record.js";
import { partitionsOfGroup, sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { fillJetStream } from "../support/full-jetstream.js";
import { type NatsFixture, startNats } from "../support/nats-server.js";
import { until } from "../support/until.js";

const record: LaneRecord = { v: laneRecordVersion, lane: "high", weight: 1, workers: 1 };
const group = shardOfKey(sessionKey("demo", "u")) % 8;
const partitions = partitionsOfGroup(group, 8);

function connect(nats: NatsFixture) {
  const { user, pass: password, inboxPrefix } = nats.credentials.node;
  return connectNats({ url: nats.url, name: "test", user, password, inboxPrefix });
}

function receiver() {
  const texts: string[] = [];
  const ends: string[] = [];
  return {
    texts,
    ends,
    onMessage: ({ payload }: { readonly payload: Uint8Array }) =>
      void texts.push(new TextDecoder().decode(payload)),
    onEnd: (reason: string) => void ends.push(reason),
  };
}

test("after the server was killed a take of the same epoch has all, once and in order", async () => {
  await using nats = await startNats();
  const connection = await connect(nats);
  const lanes = await NatsLanes.open(connection);
  await lanes.ensure(record);
  const texts = Array.from({ length: 20 }, (_, at) => `${at}`);
  const js = jetstream(connection.client);
  for (const text of texts) await js.publish("lane.high.demo.user.u", text);
  const claim = { lane: "high", group, epoch: 3, partitions, unackedMax: 100 };
  const former = receiver();
  await lanes.take(claim, former);
  await until("all is given", () => former.texts.length === texts.length);

  // The second is on its way when the server dies; it gives up, and does not go on later.
  nats.kill("SIGSTOP");
  const cutOff = receiver();
  const refused = assert.rejects(lanes.take(claim, cutOff), (cause) => cause instanceof Fault);
  nats.kill("SIGKILL");
  await refused;
  await nats.restart();
  await until("the connection is back", () => connection.isConnected);
  await until("the former taker hears of it", () => former.ends.length > 0);

  const later = receiver();
  const feed = await until("it is taken again", () =>
    lanes.take(claim, later).catch((): LaneFeed | undefined => undefined),
  );
  await until("all is given again", () => later.texts.length >= texts.length);
  assert.deepEqual(later.texts, texts);
  assert.deepEqual([cutOff.texts, later.ends], [[], []]);
  assert.equal(former.texts.length, texts.length);
  await js.publish("lane.high.demo.user.u", "new");
  await until("what is new comes", () => later.texts.at(-1) === "new");
  await feed.close();
  await connection.close();
});

test("where JetStream has no room a lane is refused as not done, and made when there is", async () => {
  await using nats = await startNats();
  const connection = await connect(nats);
  const filling = await fillJetStream(connection);
  const lanes = await NatsLanes.open(connection);
  const isRefused = (cause: unknown) =>
    cause instanceof Fault && cause.code === "LANE_UNAVAILABLE" && cause.outcome === "not-done";
  await assert.rejects(lanes.ensure(record), isRefused);
  assert.equal(await lanes.figures("high"), undefined);
  await filling.clear();
  await lanes.ensure(record);
  assert.equal((await lanes.figures("high"))?.messages, 0);
  await connection.close();
});
