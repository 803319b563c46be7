/** What a device never acks: sent so often, then set aside; on virtual time. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import { ShardBench } from "../support/shard-bench.js";

const limits = { ackWaitMs: 1_000, attemptsMax: 5, attemptSpacingMs: 0, setAsideMax: 3 };

const numbers = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => ({ body: from + index }));

const resend = (bench: ShardBench, connection: number, seq: number) => ({
  kind: "Resend" as const,
  edge: "dc1-t.i/edge",
  connection,
  position: { generation: bench.generation, seq },
});

/** A client that takes everything but one message, at which it falls over before it acks. */
async function fallOver(bench: ShardBench, poison: number, times: number): Promise<void> {
  let acked = 0;
  for (let connection = 1; connection <= times; connection++) {
    await bench.attach("alice", connection, { connect: connection });
    for (let seen = -1; seen !== bench.delivered(connection).length; ) {
      seen = bench.delivered(connection).length;
      const seqs = bench.delivered(connection).map(([, seq]) => seq);
      if (seqs.includes(poison)) break;
      const last = seqs.at(-1) ?? acked;
      if (last > acked) await bench.ack("alice", connection, last);
      acked = Math.max(acked, last);
    }
  }
}

const sentTo = (bench: ShardBench, seq: number) =>
  bench.toEdge.filter((message) => message.kind === "Deliver" && message.seqs.includes(seq)).length;

describe("a message that a device never acks", () => {
  test("is sent so often, set aside with a word, and what follows it arrives", async () => {
    const bench = await ShardBench.start(limits);
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(1));
    await bench.clock.advanceAndSettle(20_000);
    assert.equal(sentTo(bench, 1), limits.attemptsMax);
    assert.deepEqual(await bench.inbox("alice"), []);
    const [dropped] = await bench.changesOf("alice", "dropped");
    assert.deepEqual([dropped?.seqs, dropped?.reason], [[1], "set-aside"]);
    await bench.pushAll("alice", numbers(1, 1));
    assert.equal(bench.bodies(1).at(-1), 1);
    await bench.ack("alice", 1, 2);
    assert.deepEqual(await bench.inbox("alice"), []);
    assert.deepEqual(bench.crashes, []);
  });

  test("takes nothing of its window with it", async () => {
    const bench = await ShardBench.start(limits);
    await bench.pushAll("alice", numbers(9));
    await fallOver(bench, 5, 40);
    const dropped = await bench.changesOf("alice", "dropped");
    const setAside = dropped.filter(({ reason }) => reason === "set-aside");
    assert.deepEqual(
      setAside.map(({ seqs }) => seqs),
      [[5]],
    );
    assert.deepEqual(await bench.inbox("alice"), []);
  });

  test("counts over attaches, and over owners that are killed", async () => {
    const store = new MemoryInbox(8);
    let sent = 0;
    for (let owner = 1; owner <= 12; owner++) {
      // Each is left as it is in the middle of its work: what it had stored is stored.
      const bench = await ShardBench.start({ ...limits, ackWaitMs: 60_000 }, store);
      if (owner === 1) await bench.pushAll("alice", numbers(1));
      for (const attach of [1, 2]) {
        const connection = owner * 10 + attach;
        await bench.attach("alice", connection, { connect: connection });
      }
      sent += sentTo(bench, 1);
      if ((await bench.inbox("alice")).length === 0) break;
    }
    assert.deepEqual(await new ShardBenchReader(store).inbox(), []);
    assert.ok(sent >= limits.attemptsMax, `${sent} times`);
    // An owner that is killed may forget one attempt: the one it had no need to store yet.
    assert.ok(sent <= limits.attemptsMax + 3, `${sent} times`);
  });

  test("stays for one whose connection broke at once, however often", async () => {
    const bench = await ShardBench.start({ ...limits, attemptSpacingMs: 10_000 });
    await bench.pushAll("alice", numbers(1));
    let connect = 0;
    const comeAndGo = async (times: number, everyMs: number) => {
      for (let time = 0; time < times; time++) {
        connect++;
        await bench.attach("alice", connect, { connect });
        await bench.clock.advanceAndSettle(everyMs);
      }
    };
    await comeAndGo(60, 500);
    assert.deepEqual(await bench.inbox("alice"), [1], "after half a minute it is still there");
    assert.equal(sentTo(bench, 1), 60, "each connection is served");
    await comeAndGo(4, 10_000);
    assert.deepEqual(await bench.inbox("alice"), [], "but not for ever");
    const [dropped] = await bench.changesOf("alice", "dropped");
    assert.deepEqual([dropped?.seqs, dropped?.reason], [[1], "set-aside"]);
  });

  test("is gone for the device alone while another still needs it", async () => {
    const bench = await ShardBench.start(limits);
    await bench.attach("alice", 1, { device: "broken" });
    await bench.attach("alice", 2, { device: "away" });
    await bench.tellSession("alice", { kind: "Detach", edge: "dc1-t.i/edge", connection: 2 });
    await bench.pushAll("alice", numbers(1));
    await bench.clock.advanceAndSettle(20_000);
    assert.equal(sentTo(bench, 1), limits.attemptsMax);
    assert.deepEqual(await bench.inbox("alice"), [1]);
    await bench.attach("alice", 3, { device: "away" });
    await bench.ack("alice", 3, 1);
    assert.deepEqual(await bench.inbox("alice"), []);
    const dropped = await bench.changesOf("alice", "dropped");
    assert.deepEqual(
      dropped.map(({ reason }) => reason),
      ["acked"],
    );
  });

  test("begins anew with each ack of what comes before it", async () => {
    const bench = await ShardBench.start({ ...limits, windowMessagesMax: 4 });
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(20));
    for (let seq = 1; seq <= 20; seq++) {
      await bench.clock.advanceAndSettle(1_100);
      await bench.ack("alice", 1, seq);
    }
    assert.deepEqual(await bench.inbox("alice"), []);
    const dropped = await bench.changesOf("alice", "dropped");
    assert.ok(dropped.every(({ reason }) => reason === "acked"));
  });

  test("is sent again at a client's wish without counting, but not for ever", async () => {
    const bench = await ShardBench.start({ ...limits, ackWaitMs: 3_600_000 });
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(3));
    for (let time = 0; time < 3; time++) await bench.tellSession("alice", resend(bench, 1, 0));
    const [device] = await bench.devices("alice");
    assert.equal(device?.attempts ?? 0, 0, "nothing was worth storing");
    for (let time = 0; time < 300; time++) await bench.tellSession("alice", resend(bench, 1, 1));
    assert.equal(bench.bodies(1).length, 12, "once, and again three times");
    await bench.ack("alice", 1, 3);
    assert.deepEqual(await bench.inbox("alice"), []);
  });
});

describe("a base above what a client has", () => {
  test("is not asked about for ever, when what lies between is for others", async () => {
    const store = new MemoryInbox(8);
    const first = await ShardBench.start(limits, store);
    await first.attach("alice", 1, { device: "phone" });
    await first.pushAll("alice", numbers(1));
    await first.ack("alice", 1, 1);
    await first.pushAll("alice", [{ body: "not for it", target: { device: "laptop" } }]);
    const [device] = await first.devices("alice");
    assert.equal(device?.ackedSeq, 1);
    await first.attach("alice", 1, { device: "phone", connect: 2 });
    const second = await ShardBench.start(limits, store);
    const sent = { generation: first.generation, seq: 1 };
    await second.attach("alice", 1, { device: "phone", connect: 2, sent });
    await second.pushAll("alice", numbers(1, 2));
    await second.tellSession("alice", resend(second, 1, 1));
    assert.deepEqual(second.delivered(1).at(-1), [1, 3, 2], "its own position is the base");
  });
});

describe("a device that acks nothing at all", () => {
  test("is sent two windows, then a message a connection, when it comes again at once", async () => {
    const bench = await ShardBench.start({
      ...{ ...limits, attemptSpacingMs: 10_000, windowMessagesMax: 8 },
    });
    await bench.pushAll("alice", numbers(30));
    for (let connect = 1; connect <= 100; connect++) {
      await bench.attach("alice", connect, { connect });
    }
    assert.equal(bench.toEdge.filter(({ kind }) => kind === "Deliver").length, 100);
    const sent = Array.from({ length: 100 }, (_, at) => bench.bodies(at + 1).length);
    assert.equal(
      sent.reduce((sum, count) => sum + count),
      2 * 8 + 98,
    );
  });

  const deaf = { ...limits, windowMessagesMax: 8 };

  test("is stalled after so many were set aside, and is sent nothing more, live neither", async () => {
    const bench = await ShardBench.start(deaf);
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(30));
    await bench.clock.advanceAndSettle(60_000);
    assert.equal((await bench.inbox("alice")).length, 30 - limits.setAsideMax);
    const sent = bench.bodies(1).length;
    assert.ok(sent <= limits.setAsideMax * limits.attemptsMax + 2 * 8, `${sent} messages`);
    await bench.pushAll("alice", numbers(10, 30));
    await bench.clock.advanceAndSettle(600_000);
    assert.equal(bench.bodies(1).length, sent);
    const [device] = await bench.devices("alice");
    assert.equal(device?.setAside, limits.setAsideMax);
  });

  test("is tried with one message at each attach, which uses up nothing", async () => {
    const bench = await ShardBench.start(deaf);
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(30));
    await bench.clock.advanceAndSettle(60_000);
    const left = await bench.inbox("alice");
    for (let connection = 2; connection < 20; connection++) {
      await bench.attach("alice", connection, { connect: connection });
      await bench.clock.advanceAndSettle(5_000);
      assert.deepEqual(bench.bodies(connection), [3]);
    }
    assert.deepEqual(await bench.inbox("alice"), left);
    await bench.ack("alice", 19, 4);
    assert.deepEqual(bench.bodies(19), [3, 4], "one by one, as far as it had been sent before");
    for (let seq = 5; seq <= 8; seq++) await bench.ack("alice", 19, seq);
    assert.deepEqual(bench.bodies(19).slice(6), [9, 10, 11, 12, 13, 14, 15]);
  });

  test("gets the rest when it says late that it has all it was sent", async () => {
    const bench = await ShardBench.start(deaf);
    await bench.attach("alice", 1);
    await bench.pushAll("alice", numbers(5));
    await bench.clock.advanceAndSettle(60_000);
    const sent = bench.bodies(1).length;
    await bench.ack("alice", 1, 3);
    assert.ok(bench.bodies(1).length > sent);
    await bench.ack("alice", 1, 4);
    await bench.ack("alice", 1, 5);
    assert.deepEqual(await bench.inbox("alice"), []);
  });

  test("stays stalled under a new owner", async () => {
    const store = new MemoryInbox(8);
    const first = await ShardBench.start(deaf, store);
    await first.attach("alice", 1);
    await first.pushAll("alice", numbers(10));
    await first.clock.advanceAndSettle(60_000);
    const second = await ShardBench.start(deaf, store);
    await second.attach("alice", 2, { connect: 2 });
    await second.clock.advanceAndSettle(60_000);
    assert.deepEqual(second.bodies(2), [3]);
  });
});

/** What the store holds, without an owner. */
class ShardBenchReader {
  constructor(private readonly store: MemoryInbox) {}

  async inbox(): Promise<readonly number[]> {
    const bench = await ShardBench.start({}, this.store);
    return bench.inbox("alice");
  }
}
