/** What services are told of their messages, on virtual time with store and event log in memory. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Limits } from "../../actors/limits.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import type { ServiceEvent } from "../../src/protocol/service-event.js";
import { type Shard, sessionKey, shardOf, shardOfKey } from "../../src/protocol/shards.js";
import { ShardBench } from "../support/shard-bench.js";
import { eventIn } from "../support/stored-events.js";

const numbers = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => ({ body: from + index }));

/** Counts what is read back, and keeps what was committed as published. */
class WatchedInbox extends MemoryInbox {
  reads = 0;
  readonly positions: number[] = [];

  override async openGroup(group: number): Promise<InboxGroup> {
    const inner = await super.openGroup(group);
    const { readChanges, commit } = inner;
    inner.readChanges = (...args) => {
      this.reads++;
      return readChanges.apply(inner, args);
    };
    inner.commit = async (writes) => {
      const answers = await commit.call(inner, writes);
      for (const { publishedChange } of writes) {
        if (publishedChange !== undefined) this.positions.push(publishedChange);
      }
      return answers;
    };
    return inner;
  }
}

async function startTold(
  receipts: boolean | string[] = true,
  store = new WatchedInbox(8),
  limits: Partial<Limits> = {},
) {
  const bench = await ShardBench.start(limits, store);
  bench.wishes = { receipts, presence: false };
  const told = () => bench.events.stored.map(eventIn);
  return { bench, store, told };
}

const kindAndSeq = ({ kind, seq, device }: ServiceEvent) => [kind, seq ?? device];

async function unpublishedOf(store: MemoryInbox, uid: string): Promise<number> {
  const shard = shardOfKey(sessionKey("demo", uid));
  const group = await store.openGroup(store.groupOf(shard));
  return (await group.readChanges(shard, 0, 1_000)).length;
}

describe("receipts", () => {
  test("tell of each message that it was stored and acked, in order, without reading back", async () => {
    const { bench, store, told } = await startTold();
    await bench.attach("alice", 1);
    const answers = await bench.pushAll("alice", numbers(3));
    await bench.ack("alice", 1, 3);
    assert.deepEqual(told().map(kindAndSeq), [
      ["stored", 1],
      ["stored", 2],
      ["stored", 3],
      ["acked", "phone"],
      ["acked", "phone"],
      ["acked", "phone"],
    ]);
    const ids = answers.map((answer) => (answer.ok ? answer.id : ""));
    assert.deepEqual(
      told().map(({ id }) => id),
      [...ids, ...ids],
    );
    assert.equal(store.reads, 0);
  });

  test("carry app, user, shard, epoch and number, and an id that is the same for every owner", async () => {
    const { bench, told } = await startTold();
    const [answer] = await bench.pushAll("al%2Eice", numbers(1));
    const shard = shardOf("demo", "al%2Eice");
    const [event] = told();
    const id = answer?.ok ? answer.id : "";
    assert.equal(bench.events.stored[0]?.subject, `event.demo.receipt.${id}`);
    assert.equal(bench.events.stored[0]?.id, `dc1-${shard}-1-0`);
    const { atMs, ...said } = event ?? { atMs: 0 };
    assert.deepEqual(said, {
      ...{ v: 1, kind: "stored", id, seq: 1, app: "demo", uid: "al.ice" },
      ...{ shard, epoch: 1, n: 1, index: 0 },
    });
    assert.equal(atMs, bench.clock.wallMs() - 10);
  });

  test("say what else became of a message: collapsed, expired", async () => {
    const { bench, told } = await startTold();
    await bench.pushAll("alice", [
      { body: 1, collapse: "c", ttl: 60 },
      { body: 2, collapse: "c", ttl: 60 },
    ]);
    await bench.clock.advanceAndSettle(90_000);
    assert.deepEqual(told().map(kindAndSeq), [
      ["stored", 1],
      ["collapsed", 1],
      ["stored", 2],
      ["expired", 2],
    ]);
  });

  // The cursor goes over it with an ack of what lies before: it left as if it had been acked.
  test("say of what expired before it was its turn that it did", async () => {
    const { bench, told } = await startTold(true, new WatchedInbox(8), { windowMessagesMax: 2 });
    await bench.attach("alice", 1);
    await bench.pushAll("alice", [...numbers(2), { body: 2, ttl: 1 }]);
    await bench.clock.advanceAndSettle(2_000);
    await bench.ack("alice", 1, 1);
    await bench.ack("alice", 1, 2);
    await bench.clock.advanceAndSettle(90_000);
    assert.deepEqual(bench.bodies(1), [0, 1]);
    assert.deepEqual(told().slice(3).map(kindAndSeq), [
      ["acked", "phone"],
      ["acked", "phone"],
      ["expired", 3],
    ]);
  });

  test("come of the kinds that the app wants alone", async () => {
    const { bench, told } = await startTold(["acked"]);
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(2));
    await bench.ack("alice", 1, 1);
    assert.deepEqual(told().map(kindAndSeq), [["acked", "phone"]]);
  });

  test("name no message that a device was not sent", async () => {
    const { bench, told } = await startTold(["acked"]);
    await bench.attach("alice", 1);
    const answers = await bench.pushAll("alice", [
      { body: 1, target: { device: "tablet" } },
      { body: 2 },
    ]);
    await bench.ack("alice", 1, 2);
    const second = answers[1];
    assert.deepEqual(
      told().map(({ id }) => id),
      [second?.ok ? second.id : ""],
    );
  });

  test("cost an app nothing that wants none: no event, no id, no read, no write of its own", async () => {
    const { bench, store, told } = await startTold(false);
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(10));
    await bench.ack("alice", 1, 10);
    await bench.clock.advanceAndSettle(10_000);
    assert.deepEqual(told(), []);
    assert.deepEqual([store.reads, store.positions], [0, []]);
    const shard = shardOfKey(sessionKey("demo", "alice"));
    const group = await store.openGroup(store.groupOf(shard));
    for (const { change } of await group.readChanges(shard, 0, 100)) {
      assert.equal("ids" in change, false);
    }
  });
});

describe("the position", () => {
  test("follows the log's word within a second, and trims what was told", async () => {
    const { bench, store } = await startTold();
    await bench.pushAll("alice", numbers(5));
    await bench.clock.advanceAndSettle(3_000);
    assert.equal(store.positions.at(-1), 5);
    assert.equal(await unpublishedOf(store, "alice"), 0);
  });

  test("stays behind what the log has not taken", async () => {
    const { bench, store } = await startTold();
    bench.events.isAway = true;
    await bench.pushAll("alice", numbers(5));
    await bench.clock.advanceAndSettle(30_000);
    assert.deepEqual(store.positions, []);
    assert.equal(await unpublishedOf(store, "alice"), 5);
  });
});

describe("a log that is away", () => {
  test("slows no push, and is told all of it in order when it is back", async () => {
    const { bench, told } = await startTold();
    bench.events.isAway = true;
    for (let round = 0; round < 20; round++) {
      const answers = await bench.pushAll("alice", numbers(50, 50 * round));
      assert.ok(answers.every((answer) => answer.ok));
    }
    assert.deepEqual(told(), []);
    bench.events.isAway = false;
    await bench.clock.advanceAndSettle(20_000);
    assert.deepEqual(
      told().map(({ seq }) => seq),
      numbers(1_000, 1).map(({ body }) => body),
    );
    assert.deepEqual(bench.crashes, []);
  });

  test("has an event once whose answer was lost", async () => {
    const { bench, told } = await startTold();
    bench.events.lostAnswers = 3;
    await bench.pushAll("alice", numbers(4));
    await bench.clock.advanceAndSettle(20_000);
    assert.deepEqual(
      told().map(({ seq }) => seq),
      [1, 2, 3, 4],
    );
  });

  test("misses what more than the store keeps unpublished, and the owner counts it", async () => {
    class ForgetfulInbox extends WatchedInbox {
      override async openGroup(group: number): Promise<InboxGroup> {
        const inner = await super.openGroup(group);
        const { readChanges } = inner;
        // As if more than it keeps had come: the oldest are gone.
        inner.readChanges = async (shard, after, count) =>
          (await readChanges.call(inner, shard, after, count)).filter(({ number }) => number > 280);
        return inner;
      }
    }
    const { bench, told } = await startTold(true, new ForgetfulInbox(8));
    bench.events.isAway = true;
    await bench.pushAll("alice", numbers(300));
    bench.events.isAway = false;
    await bench.clock.advanceAndSettle(20_000);
    // What waited in memory was not lost, nor what is still in the store.
    const seqs = told().map(({ seq }) => seq);
    assert.deepEqual(seqs, [
      ...numbers(256, 1).map(({ body }) => body),
      ...numbers(20, 281).map(({ body }) => body),
    ]);
    const shard = shardOf("demo", "alice");
    assert.equal(groupFigures(bench, shard)["lost"], 24);
  });
});

function groupFigures(bench: ShardBench, shard: Shard): Record<string, unknown> {
  const ref = bench.system.find(`shards/${bench.store.groupOf(shard)}/changes`);
  return ref?.cell.inspect() as Record<string, unknown>;
}

describe("a new owner", () => {
  test("reads what is not published, and tells it under its own epoch and the same ids", async () => {
    const { bench, store, told } = await startTold();
    bench.events.isAway = true;
    await bench.pushAll("alice", numbers(3));
    bench.events.isAway = false;
    await bench.giveShards();
    await bench.clock.advanceAndSettle(10_000);
    assert.ok(store.reads > 0);
    assert.deepEqual(
      told().map(({ seq, epoch }) => [seq, epoch]),
      [
        [1, 2],
        [2, 2],
        [3, 2],
      ],
    );
  });

  test("has nothing to repeat after an owner that ended in order", async () => {
    const { bench, store, told } = await startTold();
    await bench.pushAll("alice", numbers(3));
    await bench.giveShards();
    await bench.clock.advanceAndSettle(10_000);
    assert.equal(told().length, 3);
    assert.equal(store.reads, 0);
  });

  test("an owner whose position is fenced gives the shard up", async () => {
    const { bench, store } = await startTold();
    await bench.pushAll("alice", numbers(1));
    const shard = shardOf("demo", "alice");
    const other = await store.openGroup(store.groupOf(shard));
    await other.raise([{ shard, epoch: 9, holder: "dc1-z.i", reserveUntilMs: 1 }]);
    await bench.clock.advanceAndSettle(3_000);
    const group = bench.system.find(`shards/${store.groupOf(shard)}/${shard}`);
    assert.equal(group, undefined);
  });

  test("after a commit of unknown fate tells what it did, once", async () => {
    for (const takesEffect of [true, false]) {
      const { bench, store, told } = await startTold();
      await bench.pushAll("alice", numbers(1));
      store.failCommit({ outcome: "unknown", takesEffect });
      await bench.pushAll("alice", numbers(1, 1));
      await bench.clock.advanceAndSettle(10_000);
      assert.deepEqual(
        told().map(({ seq }) => seq),
        takesEffect ? [1, 2] : [1],
      );
    }
  });
});
