/** A batch of the delivery journal reads back as it was written, and noise reads as nothing. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type JournalStep,
  readBatch,
  type StepSession,
  stepKinds,
} from "../../src/protocol/journal-batch.js";
import { BatchWriter } from "../../src/protocol/journal-batch-writer.js";
import type { MsgId } from "../../src/protocol/msg-id.js";
import type { SessionKey } from "../../src/protocol/shards.js";

const alice: StepSession = { key: "demo.alice" as SessionKey, epoch: 3, generation: 2 ** 40 + 7 };
const moved: StepSession = { ...alice, epoch: 4 };
const bob: StepSession = { key: `demo.${"b".repeat(128)}` as SessionKey, epoch: 3, generation: 1 };
const id = "0DGZRG3G80100001" as MsgId;
const edge = "dc1-a.k3f9x2aa/edge";

/** One of each kind, with sessions and texts that are new, known and changed. */
function everyStep(): { bytes: Uint8Array; steps: JournalStep[] } {
  const writer = new BatchWriter("dc1-a", 80_000);
  const at = 1_767_225_600_000;
  const isKept = [
    writer.stored(at, alice, 1, id),
    writer.delivered("sent", at + 2, alice, "phone", edge, 2 ** 33, 1, 1),
    writer.delivered("written", at + 1, alice, "phone", edge, 2 ** 33, 1, 1),
    writer.acked(at + 700, bob, "téléphone", 128),
    writer.dropped(at + 700, moved, "expired", 1, 300),
    writer.duplicate(at + 701, moved, 1, id),
    writer.passed(at + 702, bob, "", id),
    writer.passedWritten(at + 90_000, alice, "phone", id),
    writer.opened(at + 90_000, alice, "phone", id),
    writer.lost(at + 90_000, 12_345),
  ];
  assert.ok(isKept.every(Boolean));
  const on = { device: "phone", edge, connection: 2 ** 33, fromSeq: 1, count: 1 };
  const steps: JournalStep[] = [
    { kind: "stored", atMs: at, session: alice, seq: 1, id },
    { kind: "sent", atMs: at + 2, session: alice, ...on },
    { kind: "written", atMs: at + 1, session: alice, ...on },
    { kind: "acked", atMs: at + 700, session: bob, device: "téléphone", seq: 128 },
    { kind: "dropped", atMs: at + 700, session: moved, reason: "expired", fromSeq: 1, count: 300 },
    { kind: "duplicate", atMs: at + 701, session: moved, seq: 1, id },
    { kind: "passed", atMs: at + 702, session: bob, device: "", id },
    { kind: "passed-written", atMs: at + 90_000, session: alice, device: "phone", id },
    { kind: "opened", atMs: at + 90_000, session: alice, device: "phone", id },
    { kind: "lost", atMs: at + 90_000, count: 12_345 },
  ];
  assert.equal(writer.steps, steps.length);
  return { bytes: writer.take()?.bytes ?? new Uint8Array(), steps };
}

describe("a batch of the journal", () => {
  test("reads back every kind of step as it was written", () => {
    const { bytes, steps } = everyStep();
    assert.deepEqual(readBatch(bytes), { node: "dc1-a", steps, isWhole: true });
  });

  test("begins anew once it was taken", () => {
    const writer = new BatchWriter("dc1-a", 80_000);
    for (const seq of [1, 2]) {
      writer.stored(1_000 + seq, alice, seq, id);
      const taken = writer.take();
      const step = { kind: "stored", atMs: 1_000 + seq, session: alice, seq, id };
      assert.deepEqual(readBatch(taken?.bytes ?? new Uint8Array())?.steps, [step]);
    }
    assert.equal(writer.take(), undefined);
  });

  test("takes no step beyond its bound, and keeps all that it took", () => {
    const writer = new BatchWriter("dc1-a", 10_000);
    let kept = 0;
    while (writer.acked(kept, alice, `device-${kept}`, kept)) kept += 1;
    assert.ok(kept > 100 && writer.length <= 10_000);
    const batch = readBatch(writer.take()?.bytes ?? new Uint8Array());
    assert.equal(batch?.isWhole, true);
    assert.equal(batch?.steps.length, kept);
    assert.equal(writer.acked(0, alice, "device", 1), true);
  });

  test("cut anywhere, gives the steps before the cut and says that it is not whole", () => {
    const { bytes, steps } = everyStep();
    for (let length = 0; length < bytes.length; length++) {
      const batch = readBatch(bytes.subarray(0, length));
      if (batch === undefined) continue;
      assert.deepEqual(batch.steps, steps.slice(0, batch.steps.length));
      if (batch.steps.length < steps.length && length > 30) {
        assert.ok(!batch.isWhole || isBetweenSteps(bytes, length), `cut at ${length}`);
      }
    }
  });

  test("of another version, or with a kind that is not known, is not guessed at", () => {
    const { bytes } = everyStep();
    assert.equal(readBatch(Uint8Array.of(99, ...bytes.subarray(1))), undefined);
    assert.equal(readBatch(new Uint8Array()), undefined);
    const writer = new BatchWriter("dc1-a", 80_000);
    writer.lost(5, 1);
    const later = Buffer.concat([writer.take()?.bytes ?? new Uint8Array(), Buffer.from([77, 0])]);
    assert.equal(readBatch(later)?.isWhole, false);
    assert.equal(readBatch(later)?.steps.length, 1);
    assert.ok(!Object.values(stepKinds).includes(77 as never));
  });
});

/** Where a step ends, a batch that is cut there is a shorter one. */
function isBetweenSteps(bytes: Uint8Array, length: number): boolean {
  const shorter = readBatch(bytes.subarray(0, length))?.steps.length ?? 0;
  const before = readBatch(bytes.subarray(0, length - 1))?.steps.length ?? 0;
  return shorter > before;
}
