/** A session's promises, on virtual time with a store in memory. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import { packValue } from "../../src/protocol/codec.js";
import { decodeMsgId } from "../../src/protocol/msg-id.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { sessionKey, shardOf, shardOfKey } from "../../src/protocol/shards.js";
import { shardPushSubject } from "../../src/protocol/subjects.js";
import { ShardBench } from "../support/shard-bench.js";

const numbers = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => ({ body: from + index }));

/** Commits take effect only while the gate is open. */
class GatedInbox extends MemoryInbox {
  private opened = Promise.resolve();
  open: () => void = () => undefined;

  close(): void {
    this.opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }

  override async openGroup(group: number): Promise<InboxGroup> {
    const inner = await super.openGroup(group);
    const commit = inner.commit.bind(inner);
    inner.commit = async (writes) => {
      await this.opened;
      return commit(writes);
    };
    return inner;
  }
}

describe("accepting", () => {
  test("answers with ascending seqs and MsgIDs of the user's shard", async () => {
    const bench = await ShardBench.start();
    const answers = await bench.pushAll("alice", numbers(3));
    assert.deepEqual(
      answers.map((answer) => answer.ok && answer.seq),
      [1, 2, 3],
    );
    const ids = answers.map((answer) => (answer.ok ? answer.id : ""));
    assert.deepEqual(ids, [...new Set(ids)].sort());
    assert.equal(decodeMsgId(ids[0] ?? "")?.shard, shardOf("demo", "alice"));
  });

  test("neither answers nor delivers before the store has confirmed", async () => {
    const store = new GatedInbox();
    const bench = await ShardBench.start({}, store);
    await bench.attach("alice", 1);
    store.close();
    const answers: PushAnswer[] = [];
    const pushed = bench.push("alice", { body: 0 }).then((answer) => answers.push(answer));
    await bench.clock.advanceAndSettle(10);
    assert.equal(answers.length, 0);
    assert.deepEqual(bench.bodies(1), []);
    store.open();
    await bench.clock.advanceAndSettle(10);
    await pushed;
    assert.ok(answers.at(0)?.ok);
    assert.deepEqual(bench.bodies(1), [0]);
  });

  test("says that the fate is unknown when the store says so", async () => {
    const store = new MemoryInbox(8);
    const bench = await ShardBench.start({}, store);
    store.failCommit({ outcome: "unknown", takesEffect: true });
    const [answer] = await bench.pushAll("alice", numbers(1, 1));
    assert.equal(answer?.ok === false && answer.code, "STORE_UNAVAILABLE");
  });

  test("gives no seq twice after a commit of unknown fate", async () => {
    for (const takesEffect of [true, false]) {
      const store = new MemoryInbox(8);
      const bench = await ShardBench.start({}, store);
      await bench.pushAll("alice", numbers(2));
      store.failCommit({ outcome: "unknown", takesEffect });
      await bench.pushAll("alice", numbers(1, 2));
      await bench.clock.advanceAndSettle(10_000);
      const [answer] = await bench.pushAll("alice", numbers(1, 3));
      assert.equal(answer?.ok && answer.seq, takesEffect ? 4 : 3);
    }
  });

  test("gives the first answer again to the same key, also while the first is under way", async () => {
    const bench = await ShardBench.start();
    const same = Array.from({ length: 100 }, () => ({ body: "once", id: "key-1" }));
    const answers = await bench.pushAll("alice", same);
    const ids = new Set(answers.map((answer) => answer.ok && answer.id));
    assert.equal(ids.size, 1);
    assert.equal(answers.filter((answer) => answer.ok && answer.duplicate === true).length, 99);
    assert.deepEqual(await bench.inbox("alice"), [1]);
  });

  test("knows a key in its next life, refuses it with another command, forgets it in time", async () => {
    const bench = await ShardBench.start();
    await bench.pushAll("alice", [{ body: 1, id: "k" }]);
    await bench.clock.advanceAndSettle(3 * 60_000);
    const [again, other] = await bench.pushAll("alice", [
      { body: 1, id: "k" },
      { body: 2, id: "k" },
    ]);
    assert.equal(again?.ok && again.duplicate, true);
    assert.equal(other?.ok === false && other.code, "KEY_REUSED");
    await bench.clock.advanceAndSettle(defaultLimits.keyWindowMs);
    const [fresh] = await bench.pushAll("alice", [{ body: 3, id: "k" }]);
    assert.equal(fresh?.ok && fresh.seq, 2);
  });

  test("refuses new keys, never forgets old ones, when its memory of keys is full", async () => {
    const bench = await ShardBench.start({ keysMax: 2 });
    const answers = await bench.pushAll(
      "alice",
      ["a", "b", "c", "a"].map((id) => ({ body: 1, id })),
    );
    assert.deepEqual(
      answers.map((answer) => (answer.ok ? (answer.duplicate ?? false) : answer.code)),
      [false, false, "KEYS_FULL", true],
    );
  });

  test("refuses as retryable when the inbox is at its bound", async () => {
    const bench = await ShardBench.start({ inboxMessagesMax: 3 });
    const answers = await bench.pushAll("alice", numbers(4));
    const last = answers[3];
    assert.equal(last?.ok === false && last.code, "INBOX_FULL");
    assert.equal(last?.ok === false && last.retryable, true);
  });

  test("keeps MsgIDs unique and ascending when the clock jumps back over a new ownership", async () => {
    const store = new MemoryInbox(8);
    const first = await ShardBench.start({}, store);
    const [before] = await first.pushAll("alice", numbers(1));
    const second = await ShardBench.start({}, store);
    // The second node's clock starts where the first one's did: behind what was reserved.
    const [after] = await second.pushAll("alice", numbers(1));
    assert.ok(before?.ok && after?.ok && after.id > before.id);
  });

  test("never stores what is at most once, and drops it for a user who is away", async () => {
    const bench = await ShardBench.start();
    const [answer] = await bench.pushAll("alice", [{ body: "typing", qos: 0 }]);
    assert.equal(answer?.ok && answer.seq, 0);
    assert.deepEqual(await bench.inbox("alice"), []);
    await bench.attach("alice", 1);
    await bench.pushAll("alice", [{ body: "typing", qos: 0 }]);
    const passing = bench.toEdge.filter((message) => message.kind === "DeliverPassing");
    assert.equal(passing.length, 1);
  });

  test("keeps only the newest of a collapse key", async () => {
    const bench = await ShardBench.start();
    await bench.pushAll("alice", [
      { body: "score 1:0", collapse: "score" },
      { body: "news" },
      { body: "score 2:0", collapse: "score" },
    ]);
    await bench.pushAll("alice", [{ body: "score 3:0", collapse: "score" }]);
    assert.deepEqual(await bench.inbox("alice"), [2, 4]);
    await bench.attach("alice", 1);
    assert.deepEqual(bench.delivered(1), [
      [0, 2, "news"],
      [2, 4, "score 3:0"],
    ]);
  });

  test("collapses only what is for the same devices", async () => {
    const bench = await ShardBench.start();
    await bench.pushAll("alice", [
      { body: 1, collapse: "k", target: { device: "phone" } },
      { body: 2, collapse: "k", target: { device: "laptop" } },
      { body: 3, collapse: "k", target: { device: "phone" } },
    ]);
    assert.deepEqual(await bench.inbox("alice"), [2, 3]);
  });

  test("refuses while too many bytes wait for the disk", async () => {
    const store = new GatedInbox();
    const bench = await ShardBench.start({ uncommittedBytesMax: 2_000 }, store);
    store.close();
    const waiting = [0, 1, 2].map(() => bench.push("alice", { body: "x".repeat(900) }));
    await bench.clock.advanceAndSettle(10);
    const [answer] = await bench.pushAll("alice", [{ body: 1 }]);
    assert.equal(answer?.ok === false && answer.code, "OVERLOADED");
    store.open();
    await bench.clock.advanceAndSettle(10);
    assert.ok((await Promise.all(waiting)).every((given) => given.ok));
  });

  test("drops what has expired, and never gives its seq again", async () => {
    const bench = await ShardBench.start();
    await bench.pushAll("alice", [
      { body: "short", ttl: 5 },
      { body: "long" },
      { body: "x", ttl: 5 },
    ]);
    await bench.clock.advanceAndSettle(60_000);
    assert.deepEqual(await bench.inbox("alice"), [2]);
    const [answer] = await bench.pushAll("alice", [{ body: "next" }]);
    assert.equal(answer?.ok && answer.seq, 4);
  });
});

describe("delivering", () => {
  test("sends the tail first and then what is live, each naming the one before", async () => {
    const bench = await ShardBench.start();
    await bench.pushAll("alice", numbers(3));
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(2, 3));
    assert.deepEqual(
      bench.delivered(1),
      [0, 1, 2, 3, 4].map((number) => [number, number + 1, number]),
    );
  });

  test("sends no more than the window holds until acks make room", async () => {
    const bench = await ShardBench.start({ windowMessagesMax: 4 });
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(10));
    assert.deepEqual(bench.bodies(1), [0, 1, 2, 3]);
    await bench.ack("alice", 1, 2);
    assert.deepEqual(bench.bodies(1), [0, 1, 2, 3, 4, 5]);
    for (const seq of [6, 10]) await bench.ack("alice", 1, seq);
    assert.deepEqual(bench.bodies(1), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.deepEqual(await bench.inbox("alice"), []);
  });

  test("clamps an ack above what was sent", async () => {
    const bench = await ShardBench.start({ windowMessagesMax: 2 });
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(5));
    await bench.ack("alice", 1, 5);
    assert.deepEqual(await bench.inbox("alice"), [3, 4, 5]);
  });

  test("ignores an ack of another generation", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(2));
    await bench.ack("alice", 1, 2, bench.generation + 1);
    assert.deepEqual(await bench.inbox("alice"), [1, 2]);
  });

  test("keeps an entry until every live device has acked it", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1, { device: "phone" });
    await bench.attach("alice", 2, { device: "laptop" });
    await bench.pushAll("alice", numbers(2));
    await bench.ack("alice", 1, 2);
    assert.deepEqual(await bench.inbox("alice"), [1, 2]);
    await bench.ack("alice", 2, 1);
    assert.deepEqual(await bench.inbox("alice"), [2]);
  });

  test("lets an entry go at the first ack where the app says so", async () => {
    const bench = await ShardBench.start();
    bench.delivery = "first-ack";
    await bench.attach("alice", 1, { device: "phone" });
    await bench.attach("alice", 2, { device: "laptop" });
    await bench.pushAll("alice", numbers(2));
    await bench.ack("alice", 1, 2);
    assert.deepEqual(await bench.inbox("alice"), []);
  });

  test("sends a targeted message to its device only, and holds nobody else's cursor for it", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1, { device: "phone" });
    await bench.attach("alice", 2, { device: "laptop" });
    await bench.pushAll("alice", [{ body: "for the phone", target: { device: "phone" } }]);
    await bench.pushAll("alice", [{ body: "for both" }]);
    assert.deepEqual(bench.delivered(1), [
      [0, 1, "for the phone"],
      [1, 2, "for both"],
    ]);
    assert.deepEqual(bench.delivered(2), [[0, 2, "for both"]]);
    await bench.ack("alice", 1, 2);
    await bench.ack("alice", 2, 2);
    assert.deepEqual(await bench.inbox("alice"), []);
  });

  test("lets go by a first ack only what that device was sent", async () => {
    const bench = await ShardBench.start();
    bench.delivery = "first-ack";
    await bench.attach("alice", 1, { device: "phone" });
    await bench.tellSession("alice", { kind: "Detach", edge: "dc1-t.i/edge", connection: 1 });
    await bench.pushAll("alice", numbers(3));
    await bench.attach("alice", 2, { device: "laptop", start: "new" });
    await bench.pushAll("alice", [{ body: 3 }, { body: "p", target: { device: "phone" } }]);
    await bench.pushAll("alice", [{ body: 5 }]);
    await bench.ack("alice", 2, 6);
    assert.deepEqual(await bench.inbox("alice"), [1, 2, 3, 5]);
  });

  test("does not hold what is for one device until the others come for it", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1, { device: "phone" });
    await bench.attach("alice", 2, { device: "laptop" });
    await bench.attach("alice", 3, { device: "tv" });
    await bench.tellSession("alice", { kind: "Detach", edge: "dc1-t.i/edge", connection: 3 });
    for (let number = 0; number < 5; number++) {
      await bench.pushAll("alice", [{ body: number, target: { device: "phone" } }]);
      await bench.ack("alice", 1, number + 1);
    }
    assert.deepEqual(await bench.inbox("alice"), []);
  });

  test("keeps what a new device did not want for those who come for all of it", async () => {
    const bench = await ShardBench.start();
    await bench.pushAll("alice", numbers(2));
    await bench.attach("alice", 1, { device: "a", start: "new" });
    await bench.pushAll("alice", numbers(1, 2));
    await bench.ack("alice", 1, 3);
    assert.deepEqual(await bench.inbox("alice"), [1, 2]);
  });

  test("takes no position of a store that was lost for an ack", async () => {
    const first = await ShardBench.start();
    await first.attach("alice", 1);
    await first.pushAll("alice", numbers(3));
    const taken = { generation: first.generation, seq: 3 };
    const second = await ShardBench.start({}, new MemoryInbox(8), 0.5);
    await second.pushAll("alice", numbers(3));
    await second.attach("alice", 1, { taken });
    assert.deepEqual(second.bodies(1), [0, 1, 2]);
  });

  test("starts a new device behind nothing that is not on disk", async () => {
    const store = new GatedInbox();
    const bench = await ShardBench.start({}, store);
    await bench.pushAll("alice", numbers(1));
    store.close();
    void bench.push("alice", { body: 1 });
    await bench.attach("alice", 1, { start: "new" });
    const attached = bench.toEdge.find((message) => message.kind === "Attached");
    assert.equal(attached?.kind === "Attached" && attached.base.seq, 1);
    store.open();
    await bench.clock.advanceAndSettle(10);
    assert.deepEqual(bench.bodies(1), [1]);
  });

  test("answers an attach that is repeated at once only once", async () => {
    const bench = await ShardBench.start();
    await bench.pushAll("alice", numbers(10));
    for (let tries = 0; tries < 5; tries++) await bench.attach("alice", 1);
    assert.equal(bench.bodies(1).length, 10);
  });

  test("asks a connection that it does not know to attach", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1);
    await bench.ack("alice", 7, 1);
    const last = bench.toEdge.at(-1);
    assert.equal(last?.kind === "AttachAgain" && last.key, "demo.alice");
  });

  test("starts a new device where it says: new, the tail, or all", async () => {
    const bench = await ShardBench.start();
    await bench.pushAll("alice", numbers(5));
    await bench.attach("alice", 1, { device: "a", start: "new" });
    await bench.attach("alice", 2, { device: "b", start: "tail:2" });
    await bench.attach("alice", 3, { device: "c", start: "all" });
    assert.deepEqual(bench.bodies(1), []);
    assert.deepEqual(bench.bodies(2), [3, 4]);
    assert.deepEqual(bench.bodies(3), [0, 1, 2, 3, 4]);
  });

  test("sends again from where a client or an edge asks", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(4));
    const position = { generation: bench.generation, seq: 2 };
    await bench.tellSession("alice", {
      kind: "Resend",
      edge: "dc1-t.i/edge",
      connection: 1,
      position,
    });
    assert.deepEqual(bench.delivered(1).slice(4), [
      [2, 3, 2],
      [3, 4, 3],
    ]);
  });

  // The cursor passes what is for others, and then stands above what its client was sent:
  // a base there was a gap to the client, which asked for what nobody sends, for ever.
  test("goes on where a connection or a client stands, also below the cursor", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(2));
    await bench.ack("alice", 1, 2);
    await bench.pushAll("alice", [{ body: "for another", target: { device: "tablet" } }]);
    const position = { generation: bench.generation, seq: 2 };
    const bases = () => bench.toEdge.flatMap((each) => (each.kind === "Attached" ? each.base : []));
    await bench.clock.advanceAndSettle(3_000);
    await bench.attach("alice", 1, { sent: position });
    assert.deepEqual(bases().at(-1), position);
    const edge = "dc1-t.i/edge";
    await bench.tellSession("alice", { kind: "Resend", edge, connection: 1, position });
    assert.deepEqual(bases().at(-1), position);
    await bench.pushAll("alice", [{ body: "next" }]);
    assert.deepEqual(bench.delivered(1).slice(2), [[2, 4, "next"]]);
    await bench.ack("alice", 1, 4);
    assert.deepEqual(await bench.inbox("alice"), [3]);
  });

  test("sends again what was not acked in time, and only while it is not", async () => {
    const bench = await ShardBench.start({ ackWaitMs: 1_000 });
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(2));
    await bench.clock.advanceAndSettle(1_500);
    assert.deepEqual(bench.bodies(1), [0, 1, 0, 1]);
    await bench.ack("alice", 1, 2);
    const count = bench.bodies(1).length;
    await bench.clock.advanceAndSettle(10_000);
    assert.equal(bench.bodies(1).length, count);
  });

  test("continues at the cursor on a new connection, and closes the one it replaces", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(3));
    await bench.ack("alice", 1, 1);
    await bench.attach("alice", 2);
    assert.deepEqual(bench.bodies(2), [1, 2]);
    const closed = bench.toEdge.filter((message) => message.kind === "CloseConnection");
    assert.deepEqual(closed, [{ kind: "CloseConnection", connection: 1, close: "REPLACED" }]);
    await bench.attach("alice", 1);
    assert.equal(bench.toEdge.filter((message) => message.kind === "CloseConnection").length, 2);
  });

  test("takes the client's word for what it has, and sends only the rest", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(4));
    const taken = { generation: bench.generation, seq: 3 };
    await bench.attach("alice", 2, { taken });
    assert.deepEqual(bench.bodies(2), [3]);
    assert.deepEqual(await bench.inbox("alice"), [4]);
  });

  test("keeps at most so many devices, the oldest out", async () => {
    const bench = await ShardBench.start({ devicesMax: 2 });
    await bench.attach("alice", 1, { device: "a" });
    await bench.clock.advanceAndSettle(10);
    await bench.attach("alice", 2, { device: "b" });
    await bench.clock.advanceAndSettle(10);
    await bench.attach("alice", 3, { device: "c" });
    const closed = bench.toEdge.filter((message) => message.kind === "CloseConnection");
    assert.deepEqual(
      closed.map((message) => message.connection),
      [1],
    );
  });

  test("serves on after a new ownership: the inbox is there, nothing is sent twice by itself", async () => {
    const store = new MemoryInbox(8);
    const first = await ShardBench.start({}, store);
    await first.attach("alice", 1);
    await first.pushAll("alice", numbers(3));
    await first.ack("alice", 1, 1);
    const second = await ShardBench.start({}, store);
    const sent = { generation: first.generation, seq: 3 };
    await second.attach("alice", 1, { sent });
    assert.deepEqual(second.bodies(1), [], "the connection has them already");
    await second.pushAll("alice", numbers(1, 3));
    assert.deepEqual(second.delivered(1), [[3, 4, 3]]);
  });
});

describe("misdirected", () => {
  test("tells an edge that names another epoch what the epoch is", async () => {
    const bench = await ShardBench.start();
    const key = sessionKey("demo", "alice");
    const message = { kind: "Detach", edge: "dc1-t.i/edge", connection: 9 } as const;
    const shard = shardOfKey(key);
    bench.system.tell("dc1-t.i/shards" as never, {
      kind: "ToSession",
      shard,
      epoch: 7,
      key,
      message,
    });
    await bench.clock.advanceAndSettle(10);
    assert.deepEqual(bench.toEdge.at(-1), { kind: "WrongOwner", connection: 9, shard, epoch: 1 });
  });

  test("does nothing with what is no push, and does not crash", async () => {
    const bench = await ShardBench.start();
    const shard = shardOf("demo", "alice");
    for (const subject of [
      `shard.${shard}.x`,
      `shard.${shard}.push.a.b.c`,
      `shard.${shard}.push`,
    ]) {
      bench.bus.publish(subject, packValue({ body: 1 }), { reply: "_INBOX.x" });
    }
    bench.bus.publish(shardPushSubject(shard, sessionKey("demo", "alice")), new Uint8Array(0));
    await bench.clock.advanceAndSettle(10);
    assert.deepEqual(bench.crashes, []);
  });
});
