/**
 * What clients send, generated: frames that mostly follow the rules, in sequences that
 * mostly do, with bytes changed, lost or doubled in some of them.
 */
import fc from "fast-check";

/** Small, so that the bound of a message is met often. */
export const sequenceBytesMax = 1_024;

export interface GeneratedFrame {
  readonly first: number;
  readonly payload: Uint8Array;
  readonly mask: number;
  /** Else the shortest form of the length. */
  readonly form: 16 | 64 | undefined;
  readonly isMasked: boolean;
}

const opcode = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(0x81, 0x82, 0x89, 0x8a) },
  { weight: 8, arbitrary: fc.constantFrom(0x01, 0x02, 0x00, 0x80) },
  { weight: 1, arbitrary: fc.constant(0x88) },
  { weight: 1, arbitrary: fc.nat(255) },
);
const texts = fc.constantFrom("", "a", "κόσμε", "😀", "\u{10ffff}", "plain text");
const payload = fc.oneof(
  { weight: 6, arbitrary: texts.map((text) => new TextEncoder().encode(text)) },
  { weight: 3, arbitrary: fc.uint8Array({ maxLength: 8 }) },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom(124, 125, 126, 127, 500, sequenceBytesMax, sequenceBytesMax + 1)
      .map((length) => new Uint8Array(length).fill(0x61)),
  },
);
const closing = fc.constantFrom(1000, 1000, 1005, 1016, 3000, 4999, 5000).map(closePayload);
const kindAndPayload = fc.oneof(
  { weight: 12, arbitrary: fc.record({ first: opcode, payload }) },
  { weight: 1, arbitrary: fc.record({ first: fc.constant(0x88), payload: closing }) },
);
const frame: fc.Arbitrary<GeneratedFrame> = fc
  .record({
    kindAndPayload,
    mask: fc.constantFrom(0, 0x37fa213d, 0xffffffff, 0x00010203),
    form: fc.oneof(
      { weight: 30, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: fc.constantFrom<16 | 64>(16, 64) },
    ),
    isMasked: fc.oneof(
      { weight: 40, arbitrary: fc.constant(true) },
      { weight: 1, arbitrary: fc.constant(false) },
    ),
  })
  .map(({ kindAndPayload, ...rest }) => ({ ...kindAndPayload, ...rest }));

type Mutation = readonly [what: "flip" | "drop" | "double", at: number, by: number];

const mutation: fc.Arbitrary<Mutation> = fc.tuple(
  fc.constantFrom("flip", "drop", "double"),
  fc.nat(4_096),
  fc.nat(255),
);

export interface Sequence {
  readonly bytes: Uint8Array;
  readonly cuts: readonly number[];
}

export const sequences: fc.Arbitrary<Sequence> = fc
  .record({
    frames: fc.array(frame, { maxLength: 8 }),
    mutations: fc.oneof(
      { weight: 2, arbitrary: fc.constant<Mutation[]>([]) },
      { weight: 1, arbitrary: fc.array(mutation, { maxLength: 3 }) },
    ),
    cuts: fc.array(fc.nat(8_192), { maxLength: 8 }),
  })
  .map(({ frames, mutations, cuts }) => ({
    bytes: mutations.reduce(mutated, Buffer.concat(frames.map(encoded))),
    cuts,
  }));

function closePayload(code: number): Uint8Array {
  return Uint8Array.of(code >> 8, code & 0xff, 0x6f, 0x6b);
}

export function encoded({ first, payload, mask, form, isMasked }: GeneratedFrame): Buffer {
  const { length } = payload;
  const bit = isMasked ? 0x80 : 0;
  const head = [first];
  if (form === 64) head.push(bit | 127, 0, 0, 0, 0, 0, 0, length >> 8, length & 0xff);
  else if (form === 16 || length > 125) head.push(bit | 126, length >> 8, length & 0xff);
  else head.push(bit | length);
  const key = [mask >>> 24, (mask >>> 16) & 0xff, (mask >>> 8) & 0xff, mask & 0xff];
  if (!isMasked) return Buffer.concat([Buffer.from(head), payload]);
  const masked = payload.map((byte, at) => byte ^ (key[at % 4] ?? 0));
  return Buffer.concat([Buffer.from(head), Buffer.from(key), masked]);
}

function mutated(bytes: Buffer, [what, position, by]: Mutation): Buffer {
  if (bytes.length === 0) return bytes;
  const at = position % bytes.length;
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  if (what === "drop") return Buffer.concat([before, after.subarray(1 + (by % 4))]);
  if (what === "double") return Buffer.concat([before, after.subarray(0, 1 + (by % 16)), after]);
  return Buffer.concat([before, Buffer.of((after[0] ?? 0) ^ by), after.subarray(1)]);
}
