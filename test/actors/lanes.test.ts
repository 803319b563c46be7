/** Lanes into sessions, on virtual time: order, holding back, duplicates, dead letters. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultLaneLimits, type LaneLimits } from "../../actors/lane-limits.js";
import type { Limits } from "../../actors/limits.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import { MemoryLanes } from "../../src/drivers/memory-lanes.js";
import { packValue } from "../../src/protocol/codec.js";
import { type LaneRecord, laneRecordVersion } from "../../src/protocol/lane-record.js";
import { unpackRecord } from "../../src/protocol/message-record.js";
import { partitionCount, sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { CorruptInbox } from "../support/corrupt-inbox.js";
import { ShardBench } from "../support/shard-bench.js";

const record = (lane: string, workers = 800, weight = 1): LaneRecord => ({
  ...{ v: laneRecordVersion, lane, weight, workers },
});

class Scene {
  private constructor(
    readonly bench: ShardBench,
    readonly lanes: MemoryLanes,
    readonly records: Map<string, LaneRecord>,
  ) {}

  static async start(
    limits: Partial<Limits> = {},
    laneLimits: Partial<LaneLimits> = {},
    store = new MemoryInbox(8),
  ): Promise<Scene> {
    const records = new Map([["high", record("high")]]);
    let lanes: MemoryLanes | undefined;
    const bench = await ShardBench.start(limits, store, 0.5, store, (clock) => {
      lanes = new MemoryLanes(clock);
      void lanes.ensure(record("high"));
      return {
        queues: lanes,
        directory: { all: () => records.values() },
        bucket: undefined as never,
        limits: { ...defaultLaneLimits, ...laneLimits },
      };
    });
    assert.ok(lanes !== undefined);
    const scene = new Scene(bench, lanes, records);
    await scene.pass(2_000);
    return scene;
  }

  publish(uid: string, command: object, lane = "high"): Promise<number> {
    return this.lanes.publish(lane, sessionKey("demo", uid), packValue(command));
  }

  async publishAll(uid: string, bodies: readonly unknown[]): Promise<void> {
    for (const body of bodies) await this.publish(uid, { body });
  }

  pass(ms: number): Promise<unknown> {
    return this.bench.clock.advanceAndSettle(ms);
  }

  async bodies(uid: string): Promise<unknown[]> {
    const key = sessionKey("demo", uid);
    const shard = shardOfKey(key);
    const group = await this.bench.store.openGroup(this.bench.store.groupOf(shard));
    const entries = await group.readEntries(shard, key, 0, 1_000, Number.MAX_SAFE_INTEGER);
    return entries.map((entry) => unpackRecord(entry.record).body);
  }

  async waiting(): Promise<number | undefined> {
    return (await this.lanes.figures("high"))?.messages;
  }
}

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, at) => from + at);

/** Another user, of the same partition. */
function sharingPartition(uid: string): string {
  const partition = (of: string) => shardOfKey(sessionKey("demo", of)) % partitionCount;
  for (let number = 0; ; number++) {
    if (partition(`v${number}`) === partition(uid)) return `v${number}`;
  }
}

describe("a lane", () => {
  test("drains into the inboxes in order, and is acked when it is on disk", async () => {
    const scene = await Scene.start();
    for (const uid of ["a", "b", "c"]) await scene.publishAll(uid, numbers(20));
    await scene.pass(1_000);
    for (const uid of ["a", "b", "c"]) assert.deepEqual(await scene.bodies(uid), numbers(20));
    assert.equal(await scene.waiting(), 0);
    assert.deepEqual(scene.bench.crashes, []);
  });

  test("holds back a user whose inbox is full, and nobody else; then goes on in order", async () => {
    const scene = await Scene.start({ inboxMessagesMax: 3 });
    await scene.bench.attach("full", 1);
    await scene.publishAll("full", numbers(6));
    await scene.publishAll("other", numbers(3));
    await scene.pass(3_000);
    assert.deepEqual(await scene.bodies("full"), numbers(3));
    assert.deepEqual(await scene.bodies("other"), numbers(3));
    assert.equal(await scene.waiting(), 3);
    await scene.bench.ack("full", 1, 3);
    await scene.pass(20_000);
    assert.deepEqual(await scene.bodies("full"), numbers(3, 3));
    assert.equal(await scene.waiting(), 0);
  });

  test("gives up what a full inbox refuses for so long, all that waited as long together", async () => {
    const scene = await Scene.start({ inboxMessagesMax: 2 });
    await scene.publishAll("full", numbers(5));
    await scene.pass(100_000);
    await scene.publishAll("full", numbers(1, 5));
    assert.deepEqual((await scene.lanes.deadLetters("high", 10)).length, 0);
    // Two minutes, and a last pause.
    await scene.pass(31_000);
    const letters = await scene.lanes.deadLetters("high", 10);
    assert.deepEqual(
      letters.map(({ code, sequence }) => [code, sequence]),
      [3, 4, 5].map((sequence) => ["INBOX_FULL", sequence]),
    );
    assert.ok((letters[0]?.attempts ?? 0) > 10, "was tried again and again");
    assert.equal(await scene.waiting(), 1);
    await scene.pass(101_000);
    assert.equal(await scene.waiting(), 0);
    assert.equal((await scene.lanes.deadLetters("high", 10)).length, 4);
  });

  test("gives others of the partition their pushes, whatever waits for one user", async () => {
    const scene = await Scene.start({ inboxMessagesMax: 3 });
    await scene.bench.attach("full", 1);
    await scene.publishAll("full", numbers(500));
    const other = sharingPartition("full");
    await scene.publishAll(other, numbers(3));
    await scene.pass(10_000);
    assert.deepEqual(await scene.bodies(other), numbers(3));
    assert.equal(await scene.waiting(), 497);
    // What waited comes in order, read again from the lane.
    for (let acked = 3; acked < 30; acked += 3) {
      await scene.bench.ack("full", 1, acked);
      await scene.pass(10_500);
      assert.deepEqual(await scene.bodies("full"), numbers(3, acked));
    }
    assert.ok(scene.lanes.reads > 0);
  });

  test("gives others of the partition their pushes while one user's rows do not read", async () => {
    const store = new CorruptInbox(8, "broken");
    store.fault = "STORE_CORRUPT";
    const scene = await Scene.start({}, {}, store);
    await scene.publishAll("broken", numbers(70));
    const other = sharingPartition("broken");
    await scene.publishAll(other, numbers(3));
    await scene.pass(10_000);
    assert.deepEqual(await scene.bodies(other), numbers(3));
    assert.equal(await scene.waiting(), 70);
    // Fifteen minutes, and a last pause.
    await scene.pass(911_000);
    const letters = await scene.lanes.deadLetters("high", 100);
    assert.deepEqual([letters.length, letters[0]?.code], [70, "USER_UNREADABLE"]);
    assert.equal(await scene.waiting(), 0);
    assert.deepEqual(scene.bench.crashes, []);
  });

  test("waits for a store that is away, and gives up nothing meanwhile", async () => {
    const store = new CorruptInbox(8, "away");
    store.fault = "STORE_UNAVAILABLE";
    const scene = await Scene.start({}, {}, store);
    await scene.publishAll("away", numbers(3));
    await scene.pass(1_200_000);
    assert.deepEqual([await scene.waiting(), await scene.bodies("away")], [3, []]);
    store.fault = undefined;
    await scene.pass(11_000);
    assert.deepEqual([await scene.waiting(), await scene.bodies("away")], [0, numbers(3)]);
  });

  test("gives up what is refused at once when what is held back fills the partition", async () => {
    const scene = await Scene.start({ inboxMessagesMax: 1 }, { unacked: { min: 4, max: 16 } });
    await scene.publishAll("full", numbers(40));
    const other = sharingPartition("full");
    await scene.publishAll(other, numbers(1));
    await scene.pass(20_000);
    assert.deepEqual(await scene.bodies(other), numbers(1));
    const letters = await scene.lanes.deadLetters("high", 100);
    assert.deepEqual(
      letters.map(({ sequence }) => sequence),
      numbers(letters.length, 2),
      "the oldest first",
    );
    assert.ok(letters.every(({ code }) => code === "INBOX_FULL"));
    assert.equal(await scene.waiting(), 39 - letters.length);
    assert.equal(letters.length, 27, "as many as pass three quarters of the window");
  });

  test("keeps no more payloads than it may, and reads the rest at their turn", async () => {
    const scene = await Scene.start({}, { payloadBytesMax: 0 });
    for (const uid of ["a", "b"]) await scene.publishAll(uid, numbers(30));
    await scene.pass(2_000);
    for (const uid of ["a", "b"]) assert.deepEqual(await scene.bodies(uid), numbers(30));
    assert.equal(await scene.waiting(), 0);
    assert.equal(scene.lanes.reads, 60);
  });

  test("goes on behind what the lane has no more when its turn comes", async () => {
    const scene = await Scene.start({}, { payloadBytesMax: 0 });
    const { read } = scene.lanes;
    scene.lanes.read = async (lane, sequence) =>
      sequence === 1 ? undefined : read.call(scene.lanes, lane, sequence);
    await scene.publishAll("a", numbers(3));
    await scene.pass(1_000);
    assert.deepEqual(await scene.bodies("a"), [1, 2]);
    assert.equal(await scene.waiting(), 0);
  });

  test("reads again what it could not read, before what follows it", async () => {
    const scene = await Scene.start({}, { payloadBytesMax: 0 });
    const { read } = scene.lanes;
    let failures = 3;
    scene.lanes.read = async (lane, sequence) => {
      if (failures-- > 0) throw new Error("no answer");
      return read.call(scene.lanes, lane, sequence);
    };
    await scene.publishAll("a", numbers(3));
    await scene.pass(3_000);
    assert.deepEqual(await scene.bodies("a"), numbers(3));
    assert.equal(await scene.waiting(), 0);
  });

  test("tries again when a refusal says it is worth it, and in order", async () => {
    const scene = await Scene.start({ userPushesPerSecond: 1 });
    await scene.publishAll("a", numbers(12));
    await scene.publishAll("b", numbers(2));
    await scene.pass(100);
    assert.deepEqual([await scene.bodies("a"), await scene.bodies("b")], [numbers(2), numbers(2)]);
    await scene.pass(15_000);
    assert.deepEqual(await scene.bodies("a"), numbers(12));
    assert.equal((await scene.lanes.deadLetters("high", 10)).length, 0);
  });

  test("buries what is no command, and goes on behind it", async () => {
    const scene = await Scene.start();
    await scene.publish("a", { body: 1 });
    await scene.publish("a", { nonsense: 1 });
    await scene.publish("a", { body: 2, id: "\u0000lane.high" });
    await scene.publish("a", { body: 3 });
    await scene.pass(1_000);
    assert.deepEqual(await scene.bodies("a"), [1, 3]);
    const letters = await scene.lanes.deadLetters("high", 10);
    assert.deepEqual(
      letters.map(({ code, sequence }) => [code, sequence]),
      [
        ["BAD_COMMAND", 2],
        ["BAD_COMMAND", 3],
      ],
    );
    assert.equal(await scene.waiting(), 0);
  });

  test("keeps what cannot be buried, with what is behind it, until it can", async () => {
    const scene = await Scene.start();
    scene.lanes.buriesNothing = true;
    await scene.publish("a", { nonsense: 1 });
    await scene.publish("a", { body: 2 });
    await scene.publish("b", { body: 3 });
    await scene.pass(15_000);
    assert.equal(await scene.waiting(), 2);
    assert.deepEqual([await scene.bodies("a"), await scene.bodies("b")], [[], [3]]);
    scene.lanes.buriesNothing = false;
    await scene.pass(15_000);
    assert.equal(await scene.waiting(), 0);
    assert.deepEqual(await scene.bodies("a"), [2]);
  });

  test("stores nothing twice whose ack was lost, also under a new owner", async () => {
    const scene = await Scene.start();
    scene.lanes.losesAcks = true;
    await scene.publishAll("a", numbers(5));
    await scene.publish("a", { body: "keyed", id: "k" });
    await scene.publish("a", { body: "keyed", id: "k" });
    await scene.pass(1_000);
    assert.equal(await scene.waiting(), 7);
    scene.lanes.losesAcks = false;
    // Past the window of the key: the place in the lane is what is known of it.
    await scene.pass(11 * 60_000);
    await scene.bench.giveAnew();
    await scene.publish("a", { body: "new" });
    await scene.pass(5_000);
    assert.deepEqual(await scene.bodies("a"), [...numbers(5), "keyed", "new"]);
    assert.equal(await scene.waiting(), 0);
  });

  test("takes what comes of a lane that was made anew, whatever its numbers", async () => {
    const scene = await Scene.start();
    await scene.publishAll("a", numbers(5));
    await scene.pass(1_000);
    await scene.lanes.drop("high");
    await scene.lanes.ensure(record("high"));
    await scene.publish("a", { body: "first of the new one" });
    await scene.pass(5_000);
    assert.deepEqual(await scene.bodies("a"), [...numbers(5), "first of the new one"]);
  });

  test("goes on in order under a new owner that comes amid it", async () => {
    const scene = await Scene.start();
    for (const uid of ["a", "b"]) await scene.publishAll(uid, numbers(200));
    for (let round = 0; round < 5; round++) {
      await scene.pass(3);
      await scene.bench.giveAnew();
    }
    await scene.pass(20_000);
    for (const uid of ["a", "b"]) assert.deepEqual(await scene.bodies(uid), numbers(200));
    assert.equal(await scene.waiting(), 0);
  });

  test("rests with no workers, and follows its settings while it runs", async () => {
    const scene = await Scene.start();
    scene.records.set("high", record("high", 0));
    await scene.pass(1_000);
    await scene.publishAll("a", numbers(3));
    await scene.pass(5_000);
    assert.deepEqual([await scene.waiting(), await scene.bodies("a")], [3, []]);
    scene.records.set("high", record("high", 1));
    await scene.pass(3_000);
    assert.deepEqual([await scene.waiting(), await scene.bodies("a")], [0, numbers(3)]);
  });

  test("of an app that is not registered waits for its record, then is a dead letter", async () => {
    const scene = await Scene.start();
    scene.bench.registered.delete("demo");
    await scene.publishAll("a", numbers(2));
    await scene.pass(60_000);
    assert.equal(await scene.waiting(), 2);
    scene.bench.registered.add("demo");
    await scene.pass(11_000);
    assert.deepEqual(await scene.bodies("a"), numbers(2));
    await scene.lanes.publish("high", sessionKey("nobody", "a"), packValue({ body: 1 }));
    await scene.pass(131_000);
    const [letter] = await scene.lanes.deadLetters("high", 10);
    assert.equal(letter?.code, "UNKNOWN_APP");
    assert.equal(await scene.waiting(), 0);
  });

  test("hands on at most once what is not stored, though its ack was lost", async () => {
    const scene = await Scene.start();
    await scene.bench.attach("a", 1);
    const passed = () => scene.bench.toEdge.filter(({ kind }) => kind === "DeliverPassing").length;
    scene.lanes.losesAcks = true;
    await scene.publish("a", { body: "passing", qos: 0 });
    await scene.pass(1_000);
    assert.equal(passed(), 1);
    assert.equal(await scene.waiting(), 1);
    scene.lanes.losesAcks = false;
    scene.records.set("high", record("high", 0));
    await scene.bench.giveAnew();
    await scene.bench.attach("a", 2);
    scene.records.set("high", record("high"));
    await scene.pass(5_000);
    assert.equal(await scene.waiting(), 0);
    assert.equal(passed(), 1);
    await scene.publish("a", { body: "next", qos: 0 });
    await scene.pass(1_000);
    assert.equal(passed(), 2);
  });
});
