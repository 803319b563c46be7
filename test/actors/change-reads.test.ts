/** Reads of change logs and of what is due that fail, take time, or make no sense. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Fault } from "../../src/base/result.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import { type Shard, shardOf } from "../../src/protocol/shards.js";
import { ShardBench } from "../support/shard-bench.js";
import { eventIn } from "../support/stored-events.js";
import type { VirtualClock } from "../support/virtual-clock.js";

const numbers = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => ({ body: from + index }));

async function startTold(store: MemoryInbox): Promise<ShardBench> {
  const bench = await ShardBench.start({}, store);
  bench.wishes = { receipts: true, presence: false };
  return bench;
}

function groupFigures(bench: ShardBench, group: number): Record<string, unknown> {
  return bench.system.find(`shards/${group}/changes`)?.cell.inspect() as Record<string, unknown>;
}

/** A store whose reads of change logs take time, or fail as it is told to. */
class TroubledLogs extends MemoryInbox {
  /** Of these numbers no change can be made sense of. */
  readonly senseless = new Set<number>();
  failing: Shard | undefined = undefined;
  dueFails = false;
  underWay = 0;
  mostUnderWay = 0;
  clock: VirtualClock | undefined = undefined;

  override async openGroup(group: number): Promise<InboxGroup> {
    const inner = await super.openGroup(group);
    const { readChanges, readDue } = inner;
    inner.readDue = async (...asked) => {
      if (this.dueFails) throw new Fault("STORE_UNAVAILABLE", "not-done", "no reads now");
      return readDue.apply(inner, asked);
    };
    inner.readChanges = async (...asked) => {
      this.underWay++;
      this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay);
      const { clock } = this;
      if (clock !== undefined) await new Promise<void>((resolve) => clock.after(20, resolve));
      this.underWay--;
      if (asked[0] === this.failing) throw new Fault("STORE_UNAVAILABLE", "not-done", "not now");
      const read = await readChanges.apply(inner, asked);
      if (read.some(({ number }) => this.senseless.has(number))) {
        throw new Fault("STORE_CORRUPT", "not-done", "that is no change");
      }
      return read;
    };
    return inner;
  }
}

describe("reads that fail", () => {
  const users = ["alice", "bob", "carol", "dora", "eve", "finn", "gus", "hal"];

  /** What was pushed while the log was away is for a new owner to read. */
  async function startBehind() {
    const store = new TroubledLogs(8);
    const bench = await startTold(store);
    bench.events.isAway = true;
    for (const uid of users) await bench.pushAll(uid, numbers(4));
    bench.events.isAway = false;
    const seqsOf = (uid: string) =>
      bench.events.stored.map(eventIn).flatMap((one) => (one.uid === uid ? [one.seq] : []));
    return { bench, store, seqsOf };
  }

  test("a change that cannot be read is passed over after some tries, and counted", async () => {
    const { bench, store, seqsOf } = await startBehind();
    store.senseless.add(2);
    await bench.giveShards();
    await bench.clock.advanceAndSettle(60_000);
    for (const uid of users) assert.deepEqual(seqsOf(uid), [1, 3, 4], uid);
    const groups = new Set(users.map((uid) => bench.store.groupOf(shardOf("demo", uid))));
    const lost = [...groups].map((group) => groupFigures(bench, group)["lost"] as number);
    assert.equal(
      lost.reduce((sum, one) => sum + one, 0),
      users.length,
    );
    assert.deepEqual(bench.crashes, []);
    await bench.pushAll("alice", numbers(1, 5));
    assert.deepEqual(seqsOf("alice"), [1, 3, 4, 5]);
  });

  test("nothing is passed over while the store only cannot be read", async () => {
    const { bench, store, seqsOf } = await startBehind();
    const alice = shardOf("demo", "alice");
    store.failing = alice;
    await bench.giveShards();
    await bench.clock.advanceAndSettle(60_000);
    assert.deepEqual(seqsOf("alice"), []);
    assert.deepEqual(seqsOf("bob"), [1, 2, 3, 4], "one shard holds up no other");
    await bench.pushAll("bob", numbers(1, 5));
    assert.deepEqual(seqsOf("bob"), [1, 2, 3, 4, 5]);
    store.failing = undefined;
    await bench.clock.advanceAndSettle(20_000);
    assert.deepEqual(seqsOf("alice"), [1, 2, 3, 4]);
    assert.deepEqual(bench.crashes, []);
  });

  test("a new owner reads few change logs at a time, of all its groups together", async () => {
    const { bench, store, seqsOf } = await startBehind();
    store.clock = bench.clock;
    await bench.giveShards();
    await bench.clock.advanceAndSettle(10_000);
    for (const uid of users) assert.deepEqual(seqsOf(uid), [1, 2, 3, 4]);
    assert.ok(store.mostUnderWay > 0 && store.mostUnderWay <= 4, `${store.mostUnderWay} at once`);
  });

  test("what is due is looked for again, and the group goes on meanwhile", async () => {
    const store = new TroubledLogs(8);
    const bench = await startTold(store);
    await bench.pushAll("alice", [{ body: 1, ttl: 60 }]);
    store.dueFails = true;
    await bench.clock.advanceAndSettle(120_000);
    const [answer] = await bench.pushAll("alice", [{ body: 2 }]);
    assert.ok(answer?.ok);
    assert.deepEqual(bench.crashes, []);
    store.dueFails = false;
    await bench.clock.advanceAndSettle(60_000);
    assert.deepEqual(await bench.inbox("alice"), [2], "it expires when it is found");
  });
});
