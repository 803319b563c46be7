/** What services do with a user's inbox: bounds, lists, recalls and erasures; virtual time. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { InboxErased, InboxListed, InboxRecalled } from "../../src/protocol/inbox-answer.js";
import type { ToEdge } from "../../src/protocol/messages.js";
import { shardOf } from "../../src/protocol/shards.js";
import { ShardBench } from "../support/shard-bench.js";

const numbers = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => ({ body: from + index }));

const ofKind = <Kind extends ToEdge["kind"]>(bench: ShardBench, kind: Kind) =>
  bench.toEdge.filter(
    (message): message is Extract<ToEdge, { kind: Kind }> => message.kind === kind,
  );

describe("an inbox at its bound", () => {
  test("is the app's, below the platform's", async () => {
    const bench = await ShardBench.start({ inboxMessagesMax: 3 });
    bench.appLimits = { inboxMessages: 2 };
    const answers = await bench.pushAll("alice", numbers(3));
    assert.deepEqual(
      answers.map((answer) => answer.ok || answer.code),
      [true, true, "INBOX_FULL"],
    );
    bench.appLimits = { inboxMessages: 10 };
    const more = await bench.pushAll("alice", numbers(2, 3));
    assert.deepEqual(
      more.map((answer) => answer.ok || answer.code),
      [true, "INBOX_FULL"],
    );
  });

  test("lets the oldest go with a word where the app wants that", async () => {
    const bench = await ShardBench.start({ inboxMessagesMax: 3 });
    bench.appLimits = { onFull: "drop-oldest" };
    const answers = await bench.pushAll("alice", numbers(5));
    assert.ok(answers.every((answer) => answer.ok));
    assert.deepEqual(await bench.inbox("alice"), [3, 4, 5]);
    const dropped = await bench.changesOf("alice", "dropped");
    assert.deepEqual(
      dropped.map(({ seqs, reason }) => [seqs, reason]),
      [
        [[1], "bound"],
        [[2], "bound"],
      ],
    );
    await bench.attach("alice", 1);
    assert.deepEqual(bench.bodies(1), [2, 3, 4]);
  });

  test("counts bytes as well, and goes on with devices that had been sent what left", async () => {
    const bench = await ShardBench.start({ inboxBytesMax: 3_000 });
    bench.appLimits = { onFull: "drop-oldest" };
    await bench.attach("alice", 1);
    await bench.pushAll(
      "alice",
      Array.from({ length: 6 }, () => ({ body: "x".repeat(900) })),
    );
    const left = await bench.inbox("alice");
    assert.ok(left.length <= 4 && left.at(-1) === 6, String(left));
    await bench.ack("alice", 1, 6);
    assert.deepEqual(await bench.inbox("alice"), []);
    assert.deepEqual(bench.crashes, []);
  });

  test("refuses all where nothing may wait, whatever is to leave", async () => {
    const bench = await ShardBench.start();
    bench.appLimits = { inboxMessages: 0, onFull: "drop-oldest" };
    const [answer] = await bench.pushAll("alice", numbers(1));
    assert.equal(answer?.ok === false && answer.code, "INBOX_FULL");
  });
});

describe("a list", () => {
  test("shows what waits, page by page, and how far each device is", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1, { device: "phone" });
    const answers = await bench.pushAll("alice", [
      { body: 1, type: "chat" },
      { body: 2, collapse: "k", target: { platform: "ios" } },
      { body: 3, ttl: 60 },
    ]);
    const first = await bench.ofInbox<InboxListed>("alice", { op: "list", limit: 2 });
    assert.equal(first.generation, bench.generation);
    assert.deepEqual(
      [first.lastSeq, first.messages, first.more, first.presence],
      [3, 3, true, "connected"],
    );
    const [chat, score] = first.entries;
    assert.equal(answers[0]?.ok && answers[0].id, chat?.id);
    assert.deepEqual([chat?.seq, chat?.type], [1, "chat"]);
    assert.deepEqual([score?.collapse, score?.target], ["k", { platform: "ios" }]);
    const second = await bench.ofInbox<InboxListed>("alice", { op: "list", after: 2 });
    assert.deepEqual([second.entries.map(({ seq }) => seq), second.more], [[3], false]);
    const [phone] = second.devices;
    assert.deepEqual(
      [phone?.id, phone?.acked, phone?.unacked, phone?.attempts, phone?.connected],
      ["phone", 0, 3, 1, true],
    );
  });

  test("of a user who never was is empty, and stores nothing", async () => {
    const bench = await ShardBench.start();
    const listed = await bench.ofInbox<InboxListed>("nobody", { op: "list" });
    assert.deepEqual([listed.entries, listed.devices, listed.lastSeq], [[], [], 0]);
    assert.equal(await bench.stored("nobody"), undefined);
  });
});

describe("a recall", () => {
  test("takes a message out, tells who is connected, and is the same when repeated", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1, { device: "phone" });
    await bench.attach("alice", 2, { device: "laptop" });
    await bench.tellSession("alice", { kind: "Detach", edge: "dc1-t.i/edge", connection: 2 });
    const [answer] = await bench.pushAll("alice", numbers(2));
    const id = answer?.ok ? answer.id : "";
    const recalled = await bench.ofInbox<InboxRecalled>("alice", { op: "recall", id });
    assert.deepEqual(recalled, { ok: true, recalled: [id] });
    assert.deepEqual(await bench.inbox("alice"), [2]);
    const [dropped] = await bench.changesOf("alice", "dropped");
    assert.deepEqual([dropped?.seqs, dropped?.reason], [[1], "recalled"]);
    const told = ofKind(bench, "Recalled").map(({ connection, ids }) => [connection, ids]);
    assert.deepEqual(told, [[1, [id]]]);
    const again = await bench.ofInbox<InboxRecalled>("alice", { op: "recall", id });
    assert.deepEqual(again, { ok: true, recalled: [] });
    await bench.attach("alice", 3, { device: "laptop" });
    assert.deepEqual(bench.bodies(3), [1]);
  });

  test("reaches an app that took the message already", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1);
    const [answer] = await bench.pushAll("alice", numbers(1));
    await bench.ack("alice", 1, 1);
    const id = answer?.ok ? answer.id : "";
    await bench.ofInbox("alice", { op: "recall", id });
    assert.deepEqual(ofKind(bench, "Recalled")[0]?.ids, [id]);
  });

  test("takes all that waits under a collapse key, and nothing else", async () => {
    const bench = await ShardBench.start();
    await bench.pushAll("alice", [
      { body: 1, collapse: "k", target: { device: "phone" } },
      { body: 2, collapse: "k" },
      { body: 3, collapse: "other" },
    ]);
    const recalled = await bench.ofInbox<InboxRecalled>("alice", { op: "recall", collapse: "k" });
    assert.equal(recalled.recalled.length, 2);
    assert.deepEqual(await bench.inbox("alice"), [3]);
  });

  test("is answered and told only when it is on disk", async () => {
    const store = new MemoryInbox(8);
    const bench = await ShardBench.start({}, store);
    await bench.attach("alice", 1);
    const [answer] = await bench.pushAll("alice", numbers(1));
    const id = answer?.ok ? answer.id : "";
    store.failCommit({ outcome: "unknown", takesEffect: false });
    const recalled = await bench.ofInbox("alice", { op: "recall", id });
    assert.equal(!recalled.ok && recalled.code, "STORE_UNAVAILABLE");
    assert.deepEqual(ofKind(bench, "Recalled"), []);
    assert.deepEqual(await bench.inbox("alice"), [1]);
  });
});

describe("an erasure", () => {
  test("leaves nothing of the user in the store but the word of it", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1, { device: "phone" });
    await bench.pushAll("alice", [
      { body: 1, id: "key", ttl: 30 },
      { body: 2, ttl: 4_000 },
      { body: 3, ttl: 600_000, target: { device: "phone" } },
    ]);
    await bench.ack("alice", 1, 1);
    await bench.pushAll("bob", numbers(1));
    const { generation } = bench;
    const erased = await bench.ofInbox<InboxErased>("alice", { op: "erase" });
    assert.deepEqual(erased, { ok: true, messages: 2, devices: 1 });
    assert.equal(await bench.stored("alice"), undefined);
    const shard = shardOf("demo", "alice");
    const group = await bench.store.openGroup(bench.store.groupOf(shard));
    const due = await group.readDue(shard, Number.MAX_SAFE_INTEGER, 100);
    assert.deepEqual(
      due.filter(({ key }) => key === "demo.alice"),
      [],
    );
    assert.deepEqual((await bench.changesOf("alice", "erased")).length, 1);
    assert.deepEqual(
      ofKind(bench, "CloseConnection").map(({ connection, close }) => [connection, close]),
      [[1, "ERASED"]],
    );
    assert.deepEqual(await bench.inbox("bob"), [1]);

    const [fresh] = await bench.pushAll("alice", [{ body: "new", id: "key" }]);
    assert.ok(fresh?.ok && fresh.duplicate === undefined && fresh.seq === 1);
    const taken = { generation, seq: 3 };
    await bench.attach("alice", 2, { device: "phone", taken });
    assert.notEqual(bench.generation, generation);
    assert.deepEqual(bench.bodies(2), ["new"], "the old position acks nothing of the new inbox");
    assert.deepEqual(bench.crashes, []);
  });

  test("leaves out no message for a connection that it could not close", async () => {
    const store = new MemoryInbox(8);
    const first = await ShardBench.start({}, store);
    await first.attach("alice", 1);
    await first.pushAll("alice", numbers(2));
    const sent = { generation: first.generation, seq: 2 };
    const second = await ShardBench.start({}, store, 0.5);
    await second.ofInbox("alice", { op: "erase" });
    await second.pushAll("alice", numbers(2, 2));
    await second.attach("alice", 1, { start: "new", sent });
    assert.deepEqual(second.bodies(1), [2, 3]);
  });

  test("goes over what is on its way to disk, and pushes behind it are stored anew", async () => {
    const bench = await ShardBench.start();
    await bench.attach("alice", 1);
    const before = [1, 2, 3].map((body) => bench.push("alice", { body, id: `k${body}`, ttl: 40 }));
    const erased = bench.askInbox("alice", { op: "erase" });
    const twice = bench.askInbox("alice", { op: "erase" });
    const behind = bench.push("alice", { body: "behind", id: "k1" });
    await bench.clock.advanceAndSettle(50);
    assert.ok((await Promise.all(before)).every((answer) => answer.ok));
    assert.deepEqual(await erased, { ok: true, messages: 3, devices: 1 });
    const second = await twice;
    assert.ok(second.ok || second.code === "NOT_READY");
    const answer = await behind;
    assert.ok(answer.ok && answer.duplicate === undefined);
    assert.deepEqual(await bench.inbox("alice"), [1]);
    const shard = shardOf("demo", "alice");
    const group = await bench.store.openGroup(bench.store.groupOf(shard));
    const due = await group.readDue(shard, bench.clock.wallMs() + 100_000, 100);
    assert.deepEqual(due, [], "of what had not been on disk when it was erased neither");
    assert.deepEqual(bench.crashes, []);
  });

  test("survives a kill of the owner whole or not at all", async () => {
    for (const takesEffect of [true, false]) {
      const store = new MemoryInbox(8);
      const bench = await ShardBench.start({}, store);
      await bench.attach("alice", 1);
      await bench.pushAll("alice", numbers(3));
      store.failCommit({ outcome: "unknown", takesEffect });
      const erased = await bench.ofInbox("alice", { op: "erase" });
      assert.equal(!erased.ok && erased.code, "STORE_UNAVAILABLE");
      await bench.clock.advanceAndSettle(20_000);
      const stored = await bench.stored("alice");
      assert.equal(stored?.entries.length ?? 0, takesEffect ? 0 : 3);
      const again = await bench.ofInbox("alice", { op: "erase" });
      assert.ok(again.ok);
      assert.equal(await bench.stored("alice"), undefined);
    }
  });

  test("of a user who never was says so, and leaves its word", async () => {
    const bench = await ShardBench.start();
    const erased = await bench.ofInbox<InboxErased>("nobody", { op: "erase" });
    assert.deepEqual(erased, { ok: true, messages: 0, devices: 0 });
    assert.equal((await bench.changesOf("nobody", "erased")).length, 1);
  });
});
