/** How devices come and go, and what they pin: on virtual time with a store in memory. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import { ShardBench } from "../support/shard-bench.js";

const minute = 60_000;
const hour = 60 * minute;
/** Days would be as many looks at the due index on virtual time. */
const limits = { deviceUnseenMs: 10 * minute, deviceSeenEveryMs: 2 * minute, ackWaitMs: hour };
/** Due times are rounded up, and found at the next look. */
const lateMs = 20_000;

const numbers = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => ({ body: from + index, ttl: 30 * 24 * 3600 }));

const detach = (connection: number) =>
  ({ kind: "Detach", edge: "dc1-t.i/edge", connection }) as const;

describe("a device that is not seen any more", () => {
  test("is retired also when nobody attaches, and what only it had not acked goes", async () => {
    const bench = await ShardBench.start(limits);
    await bench.attach("alice", 1, { device: "phone" });
    await bench.attach("alice", 2, { device: "browser" });
    await bench.tellSession("alice", detach(2));
    await bench.pushAll("alice", numbers(2));
    await bench.ack("alice", 1, 1);
    assert.deepEqual(await bench.inbox("alice"), [1, 2]);
    await bench.clock.advanceAndSettle(limits.deviceUnseenMs + lateMs);
    assert.deepEqual(await bench.inbox("alice"), [2], "the phone still needs the second");
    assert.deepEqual(await bench.changesOf("alice", "device-removed"), [
      { kind: "device-removed", device: "browser", reason: "retired" },
    ]);
    const dropped = await bench.changesOf("alice", "dropped");
    assert.deepEqual(dropped, [{ kind: "dropped", seqs: [1], reason: "abandoned" }]);
  });

  test("is retired by a later owner, which finds the due time in the store", async () => {
    const store = new MemoryInbox(8);
    const first = await ShardBench.start(limits, store);
    await first.attach("alice", 1, { device: "phone" });
    await first.tellSession("alice", detach(1));
    const second = await ShardBench.start(limits, store);
    await second.clock.advanceAndSettle(limits.deviceUnseenMs + lateMs);
    assert.deepEqual(await second.devices("alice"), []);
  });

  test("stays while it is connected, and its time begins anew when it leaves", async () => {
    const bench = await ShardBench.start(limits);
    await bench.attach("alice", 1, { device: "phone" });
    await bench.clock.advanceAndSettle(3 * limits.deviceUnseenMs);
    const [seen] = await bench.devices("alice");
    const nowMs = bench.clock.wallMs();
    assert.ok(seen && nowMs - seen.seenAtMs <= limits.deviceSeenEveryMs + lateMs, "seen lately");
    await bench.tellSession("alice", detach(1));
    await bench.clock.advanceAndSettle(limits.deviceUnseenMs - minute);
    assert.equal((await bench.devices("alice")).length, 1);
    await bench.clock.advanceAndSettle(minute + limits.deviceSeenEveryMs + lateMs);
    assert.equal((await bench.devices("alice")).length, 0);
  });

  test("is not retired while the edges may still hold its connection", async () => {
    const store = new MemoryInbox(8);
    const first = await ShardBench.start(limits, store);
    await first.attach("alice", 1, { device: "phone" });
    // What it knows of the device is old, and no edge has confirmed.
    const second = await ShardBench.start({ ...limits, presenceGraceMs: 15 * minute }, store);
    await second.callEdge();
    await second.clock.advanceAndSettle(limits.deviceUnseenMs + lateMs);
    assert.equal((await second.devices("alice")).length, 1);
    await second.clock.advanceAndSettle(5 * minute);
    assert.equal((await second.devices("alice")).length, 0);
  });

  test("loses its edge without a word, and is seen until then", async () => {
    const bench = await ShardBench.start(limits);
    await bench.attach("alice", 1, { device: "phone" });
    await bench.clock.advanceAndSettle(minute / 2);
    const leftMs = bench.clock.wallMs();
    await bench.loseEdge();
    // Stored when the session is forgotten: most are back before.
    await bench.clock.advanceAndSettle(5 * minute);
    const [seen] = await bench.devices("alice");
    assert.ok(seen && seen.seenAtMs >= leftMs);
  });

  test("leaves for the twenty-first as the oldest, which is no retirement", async () => {
    const bench = await ShardBench.start({ devicesMax: 2 });
    for (const [at, device] of ["a", "b", "c"].entries()) {
      await bench.attach("alice", at + 1, { device });
      await bench.clock.advanceAndSettle(10);
    }
    assert.deepEqual(await bench.changesOf("alice", "device-removed"), [
      { kind: "device-removed", device: "a", reason: "oldest" },
    ]);
  });

  test("keeps all for the next one when it was the only one", async () => {
    const bench = await ShardBench.start(limits);
    await bench.attach("alice", 1, { device: "phone" });
    await bench.tellSession("alice", detach(1));
    await bench.pushAll("alice", numbers(2));
    await bench.clock.advanceAndSettle(limits.deviceUnseenMs + lateMs);
    assert.deepEqual(await bench.devices("alice"), []);
    await bench.attach("alice", 2, { device: "new phone", start: "all" });
    assert.deepEqual(bench.bodies(2), [0, 1]);
  });
});

describe("a clock that jumps", () => {
  test("back by an hour drops nothing early and forgets no due time", async () => {
    const bench = await ShardBench.start();
    await bench.pushAll("alice", [{ body: "an hour", ttl: 3_600 }]);
    bench.clock.jumpWall(-hour);
    await bench.pushAll("alice", [{ body: "ten minutes", ttl: 600 }]);
    await bench.clock.advanceAndSettle(9 * minute);
    assert.deepEqual(await bench.inbox("alice"), [1, 2]);
    await bench.clock.advanceAndSettle(3 * minute);
    assert.deepEqual(await bench.inbox("alice"), [1]);
    await bench.clock.advanceAndSettle(2 * hour);
    assert.deepEqual(await bench.inbox("alice"), []);
  });

  test("back right behind a due time still finds the next one of the same bucket", async () => {
    const bench = await ShardBench.start();
    await bench.pushAll("alice", [{ body: "first", ttl: 60 }]);
    await bench.clock.advanceAndSettle(80_000);
    assert.deepEqual(await bench.inbox("alice"), []);
    bench.clock.jumpWall(-80_010);
    await bench.pushAll("alice", [{ body: "again", ttl: 60 }]);
    await bench.clock.advanceAndSettle(80_000);
    assert.deepEqual(await bench.inbox("alice"), []);
  });

  test("forth by an hour and back takes nothing that lives longer, and delivers on", async () => {
    const bench = await ShardBench.start(limits);
    await bench.attach("alice", 1, { device: "phone" });
    await bench.tellSession("alice", detach(1));
    await bench.pushAll("alice", [{ body: "a day", ttl: 86_400 }]);
    bench.clock.jumpWall(hour);
    await bench.clock.advanceAndSettle(minute);
    assert.deepEqual(await bench.inbox("alice"), [1]);
    bench.clock.jumpWall(-hour);
    await bench.attach("alice", 2, { device: "phone" });
    assert.deepEqual(bench.bodies(2), ["a day"]);
  });

  test("back by an hour keeps a key until its window is over, and no longer than an hour more", async () => {
    const bench = await ShardBench.start({ keysMax: 2 });
    await bench.pushAll("alice", [{ body: 1, id: "before" }]);
    bench.clock.jumpWall(-hour);
    await bench.pushAll("alice", [{ body: 2, id: "after" }]);
    await bench.clock.advanceAndSettle(11 * minute);
    const [fresh, again] = await bench.pushAll("alice", [
      { body: 3, id: "fresh" },
      { body: 1, id: "before" },
    ]);
    assert.ok(fresh?.ok, "the second key is forgotten, though the first stands before it");
    assert.equal(again?.ok && again.duplicate, true);
  });
});
