/** The delivery journal of a node: what is kept of what happens, and what becomes of the rest. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import { DeliveryJournal } from "../../actors/delivery-journal.js";
import { answerFromJournal } from "../../actors/journal-reader.js";
import { JournalWriter } from "../../actors/journal-writer.js";
import { defaultLimits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { Fault } from "../../src/base/result.js";
import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { MemoryJournal } from "../../src/drivers/memory-journal.js";
import type { Change } from "../../src/ports/inbox-store.js";
import {
  blockCount,
  blockOf,
  type JournalStep,
  readBatch,
} from "../../src/protocol/journal-batch.js";
import { encodeMsgId, type MsgId } from "../../src/protocol/msg-id.js";
import { type SessionKey, type Shard, sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { ActorSystem } from "../../src/runtime/system.js";
import { VirtualClock } from "../support/virtual-clock.js";

const edge = "dc1-t.i/edge";
const alice = sessionKey("demo", "alice");

class TroubledJournal extends MemoryJournal {
  fault: Fault | undefined = undefined;
  readonly tried: string[] = [];

  override async append(block: number, id: string, batch: Uint8Array): Promise<void> {
    this.tried.push(id);
    if (this.fault !== undefined) throw this.fault;
    await super.append(block, id, batch);
  }
}

class Bench {
  readonly clock = new VirtualClock(1_767_225_600_000);
  readonly store = new TroubledJournal(this.clock);
  readonly journal: DeliveryJournal;
  readonly crashes: string[] = [];
  readonly warnings: string[] = [];
  readonly system: ActorSystem;
  private sequence = 0;

  constructor({ sampleOneIn = 1, journalUnkeptBytesMax = 2 ** 20 } = {}) {
    const { clock } = this;
    this.journal = new DeliveryJournal({ nodeId: "dc1-t", clock, sampleOneIn });
    const say = (what: string) => void this.warnings.push(what);
    const node = {
      ...{ nodeId: "dc1-t", incarnation: "i", clock },
      limits: { ...defaultLimits, journalUnkeptBytesMax },
      log: { debug: say, info: say, warn: say, error: say },
    } as unknown as NodeContext;
    this.system = new ActorSystem({
      ...{ nodeId: "dc1-t", incarnation: "i", clock, random: { next: () => 0.5 } },
      bus: new MemoryBus(clock),
      onCrash: ({ error }) => void this.crashes.push(String(error)),
    });
    this.system.spawnRoot("journal", () => new JournalWriter(node, this.journal, this.store));
  }

  idFor(key: SessionKey): MsgId {
    const timeMs = this.clock.wallMs();
    return encodeMsgId({ timeMs, shard: shardOfKey(key), idc: 1, sequence: this.sequence++ });
  }

  note(key: SessionKey, ...changes: Change[]): void {
    this.journal.committed(shardOfKey(key), sessionOf(key), changes, []);
  }

  stored(key: SessionKey, seq: number): MsgId {
    const id = this.idFor(key);
    this.note(key, { kind: "stored", seq, id });
    return id;
  }

  deliver(kind: "sent" | "written", key: SessionKey, device: string, seqs: number[]): void {
    const on = { kind: "Deliver", connection: 7, prev: 0, records: [] } as const;
    const deliver = { ...on, ...sessionOf(key), seqs };
    if (kind === "sent") this.journal.sent(shardOfKey(key), deliver, device, edge);
    else this.journal.written(deliver, device, edge);
  }

  kept(): JournalStep[] {
    return this.store.batches.flatMap(({ bytes }) => readBatch(bytes)?.steps ?? []);
  }

  async read(id: MsgId, withinMs = 600_000) {
    const request = { kind: "message", id, withinMs, deadlineMs: 1_000 } as const;
    const answer = await answerFromJournal(request, this.store, this.clock);
    // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever is in it.
    return answer.ok ? { ok: true as const, value: answer.value as any } : answer;
  }

  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever is in it.
  async reach(app: string, withinMs: number): Promise<any> {
    const request = { kind: "reach", app, withinMs, deadlineMs: 1_000 } as const;
    const answer = await answerFromJournal(request, this.store, this.clock);
    ok(answer.ok);
    return answer.value;
  }
}

function sessionOf(key: SessionKey) {
  return { key, epoch: 3, generation: 17 };
}

/** A user of the app in that block, and in the given share of it. */
function userIn(block: number, isFit: (shard: Shard) => boolean = () => true): SessionKey {
  for (let number = 0; ; number++) {
    const key = sessionKey("demo", `u${number}`);
    const shard = shardOfKey(key);
    if (blockOf(shard) === block && isFit(shard)) return key;
  }
}

describe("a node's journal", () => {
  test("is kept once a second, a batch for each block with steps", async () => {
    const bench = new Bench();
    bench.stored(userIn(5), 1);
    bench.stored(userIn(6), 1);
    await bench.clock.advanceAndSettle(900);
    equal(bench.store.batches.length, 0);
    await bench.clock.advanceAndSettle(200);
    deepEqual(
      bench.store.batches.map(({ block }) => block),
      [5, 6],
    );
    deepEqual(bench.crashes, []);
  });

  test("is kept before the second is over where a block is full enough", async () => {
    const bench = new Bench();
    await bench.clock.advanceAndSettle(10);
    for (let seq = 1; seq < 3_500; seq++) bench.stored(alice, seq);
    await bench.clock.advanceAndSettle(10);
    equal(bench.store.batches.length, 1);
    ok((bench.store.batches[0]?.bytes.length ?? 0) > 60_000);
  });

  test("drops steps at its bound, counts them, and tells in the journal how many", async () => {
    const bench = new Bench();
    const count = 10_000;
    for (let seq = 1; seq <= count; seq++) bench.stored(alice, seq);
    const { lostSteps } = bench.journal;
    ok(lostSteps > 0 && lostSteps < count);
    await bench.clock.advanceAndSettle(3_000);
    const steps = bench.kept();
    const told = steps.flatMap((step) => (step.kind === "lost" ? [step.count] : []));
    deepEqual(told, [lostSteps]);
    equal(steps.length - 1, count - lostSteps);
    equal(bench.journal.lostSteps, lostSteps);
  });

  test("keeps what could not be kept, in order and under its id, when the store is back", async () => {
    const bench = new Bench();
    bench.store.fault = new Fault("JOURNAL_UNAVAILABLE", "unknown", "no leader");
    bench.stored(alice, 1);
    await bench.clock.advanceAndSettle(1_500);
    bench.stored(alice, 2);
    await bench.clock.advanceAndSettle(5_000);
    ok(bench.store.tried.length <= 8, "one batch at a time is tried, once a second");
    equal(new Set(bench.store.tried).size, 1);
    bench.store.fault = undefined;
    await bench.clock.advanceAndSettle(2_000);
    deepEqual(
      bench.kept().map((step) => step.kind === "stored" && step.seq),
      [1, 2],
    );
    equal(bench.warnings.length, 2, "told once, and once when it is over");
    equal(bench.journal.lostSteps, 0);
  });

  test("lets batches go beyond its bound while the store is away, and tells how many steps", async () => {
    const bench = new Bench({ journalUnkeptBytesMax: 2_000 });
    bench.store.fault = new Fault("JOURNAL_UNAVAILABLE", "not-done", "no stream");
    for (let second = 0; second < 20; second++) {
      for (let seq = 1; seq <= 10; seq++) bench.stored(alice, second * 10 + seq);
      await bench.clock.advanceAndSettle(1_000);
    }
    bench.store.fault = undefined;
    await bench.clock.advanceAndSettle(3_000);
    const steps = bench.kept();
    const told = steps.reduce((sum, step) => sum + (step.kind === "lost" ? step.count : 0), 0);
    ok(told > 0);
    const stored = steps.filter(({ kind }) => kind === "stored").length;
    // A step that tells a loss may have been lost itself, and was counted as one.
    const lostTellers = bench.journal.lostSteps - (200 - stored);
    ok(lostTellers >= 0 && lostTellers <= 20, `${lostTellers}`);
    deepEqual(bench.crashes, []);
  });

  test("is written to the end when the node stops", async () => {
    const bench = new Bench();
    bench.stored(alice, 1);
    await bench.clock.advanceAndSettle(10);
    const stopped = bench.system.stop(1_000);
    await bench.clock.advanceAndSettle(1_000);
    await stopped;
    equal(bench.kept().length, 1);
  });

  test("of a sample has all steps of every n-th shard of each block, and none of the others", async () => {
    const bench = new Bench({ sampleOneIn: 4 });
    const isIn = (shard: Shard) => Math.floor(shard / blockCount) % 4 === 0;
    for (const block of [0, 31, 63]) {
      bench.stored(userIn(block, isIn), 1);
      bench.stored(
        userIn(block, (shard) => !isIn(shard)),
        1,
      );
    }
    await bench.clock.advanceAndSettle(1_100);
    const keys = bench.kept().map((step) => step.kind === "stored" && step.session.key);
    deepEqual(
      keys,
      [0, 31, 63].map((block) => userIn(block, isIn)),
    );
  });
});

describe("a message's path", () => {
  test("ends with who opened it, who names the message and not its place", async () => {
    const bench = new Bench();
    const id = bench.idFor(alice);
    // An owner's batch may be read before that of the owner before it.
    bench.note(alice, { kind: "opened", device: "phone", id });
    bench.note(alice, { kind: "stored", seq: 1, id });
    await bench.clock.advanceAndSettle(10);
    bench.note(alice, { kind: "dropped", seqs: [1], reason: "acked" });
    await bench.clock.advanceAndSettle(10);
    bench.note(alice, { kind: "opened", device: "tablet", id });
    await bench.clock.advanceAndSettle(1_500);
    const answer = await bench.read(id);
    ok(answer.ok);
    equal(answer.value.seq, 1);
    deepEqual(
      answer.value.steps.map(({ step, device }: Record<string, unknown>) => [step, device]),
      [
        ["stored", undefined],
        ["opened", "phone"],
        ["let-go", undefined],
        ["opened", "tablet"],
      ],
    );
  });

  test("holds each step of the message and of no other, in order of time", async () => {
    const bench = new Bench();
    bench.stored(alice, 1);
    await bench.clock.advanceAndSettle(5);
    const id = bench.stored(alice, 2);
    bench.deliver("sent", alice, "phone", [1, 2, 3]);
    await bench.clock.advanceAndSettle(3);
    bench.deliver("written", alice, "phone", [1, 2, 3]);
    bench.deliver("sent", alice, "tablet", [1, 3]);
    await bench.clock.advanceAndSettle(10);
    bench.note(alice, { kind: "acked", device: "phone", seq: 1 });
    await bench.clock.advanceAndSettle(10);
    bench.note(alice, { kind: "acked", device: "phone", seq: 3 });
    bench.note(alice, { kind: "acked", device: "tablet", seq: 3 });
    bench.note(alice, { kind: "dropped", seqs: [1, 2, 3], reason: "acked" });
    bench.note(alice, { kind: "acked", device: "phone", seq: 9 });
    await bench.clock.advanceAndSettle(1_500);
    const answer = await bench.read(id);
    ok(answer.ok);
    const { steps, ...rest } = answer.value;
    deepEqual([rest.app, rest.uid, rest.seq, rest.isAll], ["demo", "alice", 2, true]);
    deepEqual(rest.gaps, []);
    const told = steps.map(({ sinceMs, step, device }: Record<string, unknown>) => {
      return [sinceMs, step, device];
    });
    deepEqual(told, [
      [0, "stored", undefined],
      [0, "sent", "phone"],
      [3, "written", "phone"],
      [23, "acked", "phone"],
      [23, "let-go", undefined],
    ]);
    deepEqual(steps[1], {
      ...{ atMs: bench.clock.wallMs() - 1_523, sinceMs: 0, node: "dc1-t", epoch: 3 },
      ...{ channel: "own", step: "sent", device: "phone", edge, connection: 7 },
    });
  });

  test("of an at-most-once message names who it was handed to, and who wrote it", async () => {
    const bench = new Bench();
    const id = bench.idFor(alice);
    const record = Uint8Array.of(0xb0, ...Buffer.from(id), 0xc0, 0xc0);
    bench.journal.passed(shardOfKey(alice), sessionOf(alice), "phone", record);
    bench.journal.passedWritten(sessionOf(alice), "phone", record);
    const lonely = bench.idFor(alice);
    const other = Uint8Array.of(0xb0, ...Buffer.from(lonely), 0xc0, 0xc0);
    bench.journal.passed(shardOfKey(alice), sessionOf(alice), "", other);
    await bench.clock.advanceAndSettle(1_500);
    const namesOf = async (message: MsgId) => {
      const answer = await bench.read(message);
      ok(answer.ok);
      return answer.value.steps.map(({ step }: { step: string }) => step);
    };
    deepEqual(await namesOf(id), ["handed-on", "written"]);
    deepEqual(await namesOf(lonely), ["nobody-connected"]);
  });

  test("has the answers to repeats, and is found by them where the first step is lost", async () => {
    const bench = new Bench();
    const id = bench.idFor(alice);
    bench.journal.duplicate(shardOfKey(alice), sessionOf(alice), 4, id);
    bench.deliver("sent", alice, "phone", [4]);
    await bench.clock.advanceAndSettle(1_500);
    const answer = await bench.read(id);
    ok(answer.ok);
    equal(answer.value.seq, 4);
    deepEqual(
      answer.value.steps.map(({ step }: { step: string }) => step),
      ["duplicate", "sent"],
    );
  });

  test("says where steps are missing, also when none is left of the message", async () => {
    const bench = new Bench();
    const id = bench.idFor(alice);
    bench.journal.noteLost(blockOf(shardOfKey(alice)), 12);
    await bench.clock.advanceAndSettle(1_500);
    const answer = await bench.read(id);
    ok(!answer.ok);
    equal(answer.code, "NOT_FOUND");
    match(answer.message, /12 steps lost/);
    bench.stored(alice, 1);
    bench.note(alice, { kind: "stored", seq: 2, id });
    await bench.clock.advanceAndSettle(1_500);
    const found = await bench.read(id);
    ok(found.ok);
    deepEqual(
      found.value.gaps.map(({ node, count }: Record<string, unknown>) => [node, count]),
      [["dc1-t", 12]],
    );
  });

  test("is read past what is no batch, and no further than asked for", async () => {
    const bench = new Bench();
    const id = bench.stored(alice, 1);
    const block = blockOf(shardOfKey(alice));
    await bench.store.append(block, "noise", Uint8Array.of(7, 7, 7));
    await bench.clock.advanceAndSettle(1_500);
    await bench.clock.advanceAndSettle(120_000);
    bench.note(alice, { kind: "dropped", seqs: [1], reason: "expired" });
    await bench.clock.advanceAndSettle(1_500);
    const short = await bench.read(id, 60_000);
    const long = await bench.read(id);
    ok(short.ok && long.ok);
    equal(short.value.read.unreadable, 1);
    deepEqual(
      [short, long].map(({ value }) => value.steps.at(-1).reason),
      [undefined, "expired"],
    );
  });

  test("ends a while after the inbox has let the message go", async () => {
    const bench = new Bench();
    const id = bench.stored(alice, 1);
    bench.note(alice, { kind: "dropped", seqs: [1], reason: "acked" });
    for (let second = 0; second < 60; second++) {
      await bench.clock.advanceAndSettle(1_000);
      bench.stored(alice, 2 + second);
    }
    const answer = await bench.read(id);
    ok(answer.ok);
    equal(answer.value.read.end, "enough");
    ok(answer.value.read.batches < 20);
  });
});

describe("an app's reach", () => {
  test("counts what became of what was accepted within the span, of this app alone", async () => {
    const bench = new Bench();
    bench.stored(alice, 1);
    await bench.clock.advanceAndSettle(60_000);
    // In one batch with what comes after, and yet before the shortest span below.
    bench.stored(userIn(11), 1);
    await bench.clock.advanceAndSettle(500);
    for (let seq = 2; seq <= 7; seq++) bench.stored(alice, seq);
    bench.stored(userIn(9), 1);
    const stranger = sessionKey("other", "alice");
    bench.stored(stranger, 1);
    bench.note(stranger, { kind: "dropped", seqs: [1], reason: "acked" });
    // Of the first, which was accepted before, nothing is to be counted.
    bench.note(alice, { kind: "dropped", seqs: [1, 2, 3], reason: "acked" });
    bench.note(alice, { kind: "dropped", seqs: [5], reason: "expired" });
    await bench.clock.advanceAndSettle(1_500);
    const { accepted, letGo, sample } = await bench.reach("demo", 1_750);
    deepEqual({ accepted, letGo }, { accepted: 7, letGo: { acked: 2, expired: 1 } });
    deepEqual(sample, { blocksRead: 64, blocks: 64, isCut: false });
    equal((await bench.reach("demo", 30_000)).accepted, 8);
    equal((await bench.reach("demo", 120_000)).accepted, 9);
    deepEqual((await bench.reach("other", 30_000)).letGo, { acked: 1 });
    equal((await bench.reach("nobody", 30_000)).accepted, 0);
  });
});
