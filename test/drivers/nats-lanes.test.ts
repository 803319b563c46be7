/** What the lanes do on a server that dies, or has no room: beside the contract. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  JetStreamApiError,
  type JetStreamClient,
  jetstream,
  jetstreamManager,
} from "@nats-io/jetstream";
import { Fault } from "../../src/base/result.js";
import { connectNats } from "../../src/drivers/nats-connection.js";
import { laneMessageBytesMax } from "../../src/drivers/nats-lane-streams.js";
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

test("an id that another app gave first swallows no push", async () => {
  await using nats = await startNats({ apps: ["shop", "evil"] });
  const connection = await connect(nats);
  const lanes = await NatsLanes.open(connection);
  await lanes.ensure(record);
  await lanes.ensure({ ...record, lane: "vip", app: "shop" });
  const service = async (app: string) => {
    const { user, pass: password, inboxPrefix } = nats.credentials.app(app);
    const own = { url: nats.url, name: app, user, password, inboxPrefix };
    const { client } = await connectNats(own);
    return { client, js: jetstream(client) };
  };
  const [shop, evil] = [await service("shop"), await service("evil")];
  const msgID = "lane.high.shop.user.alice:order-17";
  await evil.js.publish("lane.high.evil.user.e", "first", { msgID });
  // Longer than the shortest window that the server has.
  await until("it is forgotten", async () => {
    return (await evil.js.publish("lane.high.evil.user.e", "again", { msgID })).duplicate !== true;
  });
  const { js } = shop;
  let isStored = false;
  await until("the push is stored", async () => {
    isStored =
      (await js.publish("lane.high.shop.user.alice", "push", { msgID })).duplicate !== true;
    return isStored;
  });
  // What the SDK sends has no header, and so nothing to be taken for.
  const { seq, duplicate } = await js.publish("lane.high.shop.user.alice", "by key");
  assert.deepEqual([seq > 0, duplicate === true], [true, false]);
  // An app's own lane keeps its memory: only its own ids are in it.
  await js.publish("lane.vip.shop.user.alice", "push", { msgID });
  assert.equal((await js.publish("lane.vip.shop.user.alice", "push", { msgID })).duplicate, true);
  const jsm = await jetstreamManager(connection.client);
  const windowOf = async (lane: string) =>
    (await jsm.streams.info(`LANE_${lane}`)).config.duplicate_window / 1_000_000;
  assert.deepEqual([await windowOf("high"), await windowOf("vip")], [100, 120_000]);
  for (const { client } of [shop, evil]) await client.close();
  await connection.close();
});

test("what a lane takes at its bound in bytes can be buried and replayed; more is refused", async () => {
  await using nats = await startNats();
  const connection = await connect(nats);
  const lanes = await NatsLanes.open(connection);
  await lanes.ensure(record);
  const js = jetstream(connection.client);
  const largest = new Uint8Array(laneMessageBytesMax);
  const publish = (payload: Uint8Array) => js.publish("lane.high.demo.user.u", payload);
  await assert.rejects(
    publish(new Uint8Array(laneMessageBytesMax + 1)),
    (cause) => cause instanceof JetStreamApiError && cause.code === 10_054,
  );
  const { seq: sequence } = await publish(largest);
  const key = sessionKey("demo", "u");
  const why = { code: "BAD_COMMAND", message: "\u4f60".repeat(10_000), attempts: 1 };
  await lanes.bury({ lane: "high", key, payload: largest, sequence, storedAtMs: 1, ...why });
  const [letter] = await lanes.deadLetters("high", 1);
  assert.equal(letter?.payload.length, largest.length);
  assert.equal(await lanes.replay("high", letter?.number ?? 0), true);
  assert.deepEqual((await lanes.figures("high"))?.messages, 2);
  await connection.close();
});

test("counts a lane's dead letters, however many users they are of, and leaves no consumer", async () => {
  await using nats = await startNats();
  const connection = await connect(nats);
  const lanes = await NatsLanes.open(connection);
  for (const lane of ["high", "low"]) await lanes.ensure({ ...record, lane });
  const why = { code: "BAD_COMMAND", message: "", attempts: 1, storedAtMs: 1 };
  const payload = new Uint8Array(1);
  for (let sequence = 1; sequence <= 50; sequence++) {
    const key = sessionKey("demo", `u${sequence % 40}`);
    await lanes.bury({ lane: "high", key, payload, sequence, ...why });
  }
  const counts = await Promise.all(
    ["high", "low"].map(async (lane) => (await lanes.figures(lane))?.deadLetters),
  );
  assert.deepEqual(counts, [50, 0]);
  const jsm = await jetstreamManager(connection.client);
  assert.equal((await jsm.streams.info("LANE_DEAD")).state.consumer_count, 0);
  await connection.close();
});

test("a take of which one partition fails leaves no other that pulls", async () => {
  await using nats = await startNats();
  const connection = await connect(nats);
  const lanes = await NatsLanes.open(connection);
  await lanes.ensure(record);
  const { consumers } = (lanes as unknown as { readonly js: JetStreamClient }).js;
  const open = consumers.getConsumerFromInfo.bind(consumers);
  consumers.getConsumerFromInfo = (info) => {
    if (info.name.endsWith(`p${partitions.at(-1)}`)) throw new Error("cannot be opened");
    return open(info);
  };
  const claim = { lane: "high", group, epoch: 1, partitions, unackedMax: 10 };
  await assert.rejects(lanes.take(claim, receiver()), /cannot be opened/);
  const jsm = await jetstreamManager(connection.client);
  await until("nobody pulls", async () => {
    const infos = await jsm.consumers.list("LANE_high").next();
    return infos.length === partitions.length && infos.every((each) => each.num_waiting === 0);
  });
  await connection.close();
});
