/** When a user is announced as online and offline, on virtual time. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultLimits, type Limits } from "../../actors/limits.js";
import { ShardBench } from "../support/shard-bench.js";
import { eventIn } from "../support/stored-events.js";

const edge = "dc1-t.i/edge";
const { attachedWithinMs, offlineAfterMs, onlineCheckMs, presenceGraceMs } = defaultLimits;

async function start(presence = true, limits: Partial<Limits> = {}) {
  const bench = await ShardBench.start(limits);
  bench.wishes = { presence };
  // Who is connected is known from then on.
  await bench.clock.advanceAndSettle(presenceGraceMs + 1_000);
  const told = () => bench.events.stored.map(eventIn).map(({ kind }) => kind);
  return { bench, told };
}

const detach = (bench: ShardBench, uid: string, connection: number) =>
  bench.tellSession(uid, { kind: "Detach", edge, connection });

describe("announced presence", () => {
  test("is online with the first device, offline a while after the last", async () => {
    const { bench, told } = await start();
    await bench.attach("alice", 1);
    await bench.attach("alice", 2, { device: "tablet" });
    assert.deepEqual(told(), ["online"]);
    assert.equal(bench.events.stored[0]?.subject, "event.demo.user.alice.online");
    await detach(bench, "alice", 1);
    await bench.clock.advanceAndSettle(2 * offlineAfterMs);
    assert.deepEqual(told(), ["online"]);
    await detach(bench, "alice", 2);
    await bench.clock.advanceAndSettle(offlineAfterMs - 500);
    assert.deepEqual(told(), ["online"]);
    await bench.clock.advanceAndSettle(1_000);
    assert.deepEqual(told(), ["online", "offline"]);
  });

  test("says nothing of a client that comes back in time, however often", async () => {
    const { bench, told } = await start();
    await bench.attach("alice", 1);
    for (let connection = 1; connection < 6; connection++) {
      await detach(bench, "alice", connection);
      await bench.clock.advanceAndSettle(offlineAfterMs - 1_000);
      await bench.attach("alice", connection + 1);
      await bench.clock.advanceAndSettle(500);
    }
    assert.deepEqual(told(), ["online"]);
  });

  test("is offline a while after its edge is gone", async () => {
    const { bench, told } = await start();
    await bench.attach("alice", 1);
    await bench.loseEdge();
    await bench.clock.advanceAndSettle(offlineAfterMs + 1_000);
    assert.deepEqual(told(), ["online", "offline"]);
  });

  test("is told to no app that does not want it", async () => {
    const { bench, told } = await start(false);
    await bench.attach("alice", 1);
    await detach(bench, "alice", 1);
    await bench.clock.advanceAndSettle(2 * offlineAfterMs);
    assert.deepEqual(told(), []);
    assert.equal((await bench.stored("alice"))?.record.announced, undefined);
  });

  test("goes on at a new owner: who is still there is not announced again", async () => {
    const { bench, told } = await start();
    await bench.attach("alice", 1);
    await bench.giveShards();
    await bench.attach("alice", 1);
    await bench.clock.advanceAndSettle(2 * onlineCheckMs);
    assert.deepEqual(told(), ["online"]);
  });

  test("ends at a new owner that nobody attaches to, woken by the store", async () => {
    const { bench, told } = await start();
    await bench.attach("alice", 1);
    await bench.giveShards();
    await bench.clock.advanceAndSettle(onlineCheckMs + offlineAfterMs + 30_000);
    assert.deepEqual(told(), ["online", "offline"]);
  });

  test("ends soon at a new owner when it took over in the while after the last one", async () => {
    const { bench, told } = await start();
    await bench.attach("alice", 1);
    await detach(bench, "alice", 1);
    await bench.giveShards();
    await bench.clock.advanceAndSettle(presenceGraceMs + 2 * offlineAfterMs + 20_000);
    assert.deepEqual(told(), ["online", "offline"]);
  });

  test("is not judged before the edges have had their say", async () => {
    const { bench, told } = await start(true, { offlineAfterMs: 1_000 });
    await bench.attach("alice", 1);
    await detach(bench, "alice", 1);
    await bench.giveShards();
    // Loads the session, whose own while is over long before that of the edges.
    await bench.pushAll("alice", [{ body: 1 }]);
    await bench.clock.advanceAndSettle(attachedWithinMs - 1_000);
    assert.deepEqual(told(), ["online"]);
    await bench.clock.advanceAndSettle(5_000);
    assert.deepEqual(told(), ["online", "offline"]);
  });

  test("outlasts a passivation and a long time: no event, few rows", async () => {
    const { bench, told } = await start();
    await bench.attach("alice", 1);
    await bench.clock.advanceAndSettle(5 * onlineCheckMs);
    assert.deepEqual(told(), ["online"]);
    const soon = async () => {
      const untilMs = bench.clock.wallMs() + 2 * onlineCheckMs;
      return (await bench.dueOf("alice")).filter(({ atMs }) => atMs < untilMs);
    };
    assert.equal((await soon()).length, 1);
    await detach(bench, "alice", 1);
    await bench.clock.advanceAndSettle(2 * onlineCheckMs);
    assert.deepEqual(told(), ["online", "offline"]);
    assert.deepEqual(await soon(), []);
  });
});
