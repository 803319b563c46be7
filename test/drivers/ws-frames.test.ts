/**
 * The reader and writer of frames without a socket: RFC 6455's vectors however they are
 * cut, and generated sequences.
 *
 *   FUZZ_SEQUENCES=1000000   how many of these
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { HeldBytes } from "../../src/drivers/held-bytes.js";
import { encodeClose, encodeFrame, encodeHead, opcodes } from "../../src/drivers/ws-frames.js";
import { readVectors } from "../contract/websocket-vectors.js";
import {
  encoded,
  type GeneratedFrame,
  sequenceBytesMax,
  sequences,
} from "../support/frame-sequences.js";
import { LeakWatch } from "../support/live-heap.js";
import { cutAt, eachByte, RecordingReader } from "../support/recording-reader.js";

const numRuns = Number(process.env["FUZZ_SEQUENCES"] ?? 20_000);
/** Of the generator and the compiler, however many sequences there are. */
const grownBytesMax = 8 * 1024 * 1024;

function outcome(pieces: readonly Uint8Array[], bytesMax?: number) {
  const reader = new RecordingReader().take(pieces, bytesMax);
  reader.stopReading();
  assert.equal(reader.held.heldBytes, 0, "all that was held back is let go");
  const { events, output, closed } = reader;
  return { events, output, closed };
}

describe("frame reader", () => {
  for (const { title, input, events, output, closed } of readVectors()) {
    test(title, () => {
      const expected = { events, output, closed };
      assert.deepEqual(outcome([input]), expected);
      assert.deepEqual(outcome(eachByte(input)), expected, "byte by byte");
      assert.deepEqual(outcome(cutAt(input, [3, 7, 11])), expected, "in four");
    });
  }

  test(`tells the same of ${numRuns} generated sequences however they are cut`, (context) => {
    const seen = new Map<string, number>();
    const leaks = new LeakWatch(numRuns);
    fc.assert(
      fc.property(sequences, ({ bytes, cuts }) => {
        const whole = outcome([bytes], sequenceBytesMax);
        assert.deepEqual(outcome(cutAt(bytes, cuts), sequenceBytesMax), whole);
        const end = endOf(whole);
        assert.match(end, /^(open|closed \d+( or above)?|refused 10(02|07|09))$/);
        seen.set(end, (seen.get(end) ?? 0) + 1);
        leaks.note();
      }),
      { numRuns },
    );
    const grownBytes = leaks.grownBytes();
    context.diagnostic(`ends: ${JSON.stringify([...seen])}; heap grown by ${grownBytes} bytes`);
    assert.ok(grownBytes < grownBytesMax, `${grownBytes} bytes are left`);
    // A generator that never gets anywhere would prove nothing.
    const ends = ["open", "closed 1000", "refused 1002", "refused 1007", "refused 1009"];
    for (const end of ends) assert.ok((seen.get(end) ?? 0) > numRuns / 1_000, end);
  });

  function endOf({ closed, output }: ReturnType<typeof outcome>): string {
    if (closed === undefined) return "open";
    if (closed >= 3_000) return "closed 3000 or above";
    if (closed !== 1006) return `closed ${closed}`;
    assert.match(output, /8802....$/);
    return `refused ${Number.parseInt(output.slice(-4), 16)}`;
  }

  test("tells each message of generated valid sequences", () => {
    const message = fc.record({
      parts: fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 4 }),
      hasPings: fc.boolean(),
      mask: fc.nat(2 ** 31 - 1),
    });
    const messages = fc.array(message, { maxLength: 6 });
    fc.assert(
      fc.property(messages, fc.array(fc.nat(4_096), { maxLength: 8 }), (sent, cuts) => {
        const frames = sent.flatMap(({ parts, hasPings, mask }) =>
          parts.flatMap((payload, at): GeneratedFrame[] => {
            const isLast = at === parts.length - 1;
            const first = (isLast ? 0x80 : 0) | (at === 0 ? opcodes.binary : 0);
            const data = { first, payload, mask, form: undefined, isMasked: true };
            const ping = { ...data, first: 0x89, payload: payload.subarray(0, 125) };
            return hasPings ? [ping, data] : [data];
          }),
        );
        const { events, closed } = outcome(cutAt(Buffer.concat(frames.map(encoded)), cuts));
        const wanted = sent.map(({ parts }) => `binary ${Buffer.concat(parts).toString("hex")}`);
        assert.deepEqual(events, wanted);
        assert.equal(closed, undefined);
      }),
    );
  });
});

describe("a budget of what is not whole", () => {
  const budget = 64 * 1024;
  /** Of a message of 1 MiB: its head and `bytes` of it. */
  const started = (bytes: number) =>
    Buffer.concat([Buffer.from("82ff000000000010000000000000", "hex"), Buffer.alloc(bytes)]);
  const fragment = (bytes: number) =>
    Buffer.concat([Buffer.from("02fe", "hex"), lengthOf(bytes), Buffer.alloc(4 + bytes)]);
  const lengthOf = (bytes: number) => Buffer.from([bytes >> 8, bytes & 0xff]);
  const small = Buffer.concat([Buffer.from("8290", "hex"), Buffer.alloc(4 + 16)]);

  for (const [what, piece] of [
    ["frames", started(20_000)],
    ["messages", fragment(20_000)],
  ] as const) {
    test(`is of all readers: who would pass it with ${what} is closed with 1013`, () => {
      const held = new HeldBytes(budget);
      const readers = Array.from({ length: 6 }, () => new RecordingReader(held).take([piece]));
      assert.ok(held.heldBytes <= budget);
      assert.deepEqual(
        readers.map(({ closed }) => closed),
        [undefined, undefined, undefined, undefined, 1006, 1006],
      );
      assert.equal(readers[4]?.output, "880203f5");
      assert.equal(held.refusals, 2);
      for (const reader of readers) reader.stopReading();
      assert.equal(held.heldBytes, 0);
    });

    test(`is kept by ${what} that grow piece by piece`, () => {
      const held = new HeldBytes(budget);
      const reader = new RecordingReader(held);
      for (let at = 0; at < piece.length && reader.closed === undefined; at += 100) {
        reader.take([piece.subarray(at, at + 100)]);
      }
      for (let more = 0; more < 100 && reader.closed === undefined; more++) {
        reader.take(what === "frames" ? [Buffer.alloc(1_000)] : [continued]);
        assert.ok(held.heldBytes <= budget);
      }
      assert.equal(reader.output, "880203f5");
      assert.equal(held.heldBytes, 0);
    });
  }

  const continued = Buffer.concat([Buffer.from("00fe03e8", "hex"), Buffer.alloc(1_004)]);

  test("leaves room for a small frame in two pieces when others have it all", () => {
    const held = new HeldBytes(budget);
    const slow = Array.from({ length: 6 }, () => new RecordingReader(held).take([started(20_000)]));
    const polite = new RecordingReader(held).take([small.subarray(0, 9), small.subarray(9)]);
    assert.deepEqual(polite.events, [`binary ${"00".repeat(16)}`]);
    for (const reader of slow) reader.stopReading();
    assert.equal(held.heldBytes, 0);
  });

  test("counts the frames that ended, however they were cut", () => {
    const three = Buffer.concat([small, small, small, small.subarray(0, 5)]);
    for (const pieces of [[three], eachByte(three), cutAt(three, [5, 30])]) {
      assert.equal(new RecordingReader().take(pieces).frames, 3);
    }
  });
});

describe("frame writer", () => {
  for (const [bytes, head] of [
    [0, "8200"],
    [125, "827d"],
    [126, "827e007e"],
    [65_535, "827effff"],
    [65_536, "827f0000000000010000"],
  ] as const) {
    test(`writes ${bytes} bytes with the shortest length`, () => {
      const payload = Buffer.alloc(bytes, 7);
      assert.equal(encodeHead(opcodes.binary, bytes).toString("hex"), head);
      const frame = encodeFrame(opcodes.binary, payload);
      assert.deepEqual(frame, Buffer.concat([Buffer.from(head, "hex"), payload]));
    });
  }

  test("writes a length beyond 32 bits", () => {
    const head = encodeHead(opcodes.binary, 2 ** 32 + 5);
    assert.equal(head.toString("hex"), "827f0000000100000005");
  });

  test("cuts a close's reason between two characters", () => {
    assert.equal(encodeClose(4000, "bye").toString("hex"), "88050fa0627965");
    const frame = encodeClose(4000, `${"a".repeat(122)}κ`);
    assert.equal(frame.length, 2 + 2 + 122);
    assert.equal(frame.toString("latin1", 4), "a".repeat(122));
  });
});
