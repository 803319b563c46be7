/**
 * A batch of the delivery journal: what happened to messages, packed as it happened, and
 * read back. All steps of a batch are of one node and one block of shards.
 *
 *   head   version u8 | node text | first step's time, 6 bytes
 *   step   kind u8 | ms since the step before, zigzag | session | fields of the kind
 *
 * Numbers are varints. A session or a text stands in full where it comes first, and by its
 * number from then on; a number that is as high as the table is long introduces one.
 * A kind that is not known ends the reading: what follows cannot be told apart.
 */
import type { MsgId } from "./msg-id.js";
import type { SessionKey, Shard } from "./shards.js";

export const blockCount = 64;

/** Shards of one block are read together; a block is one subject. */
export function blockOf(shard: Shard | number): number {
  return shard % blockCount;
}

export const batchVersion = 1;
export const msgIdLength = 16;

export const stepKinds = {
  stored: 1,
  sent: 2,
  written: 3,
  acked: 4,
  dropped: 5,
  duplicate: 6,
  passed: 7,
  passedWritten: 8,
  lost: 9,
  opened: 10,
} as const;

/** Whose step it is; `generation` tells the seqs of a session that began anew from those before. */
export interface StepSession {
  readonly key: SessionKey;
  readonly epoch: number;
  readonly generation: number;
}

interface OfSession {
  readonly atMs: number;
  readonly session: StepSession;
}

/** Seqs `fromSeq` up to, not including, `fromSeq + count`. */
interface Run {
  readonly fromSeq: number;
  readonly count: number;
}

export type JournalStep =
  | (OfSession & { readonly kind: "stored"; readonly seq: number; readonly id: MsgId })
  /** To the edge that holds the connection. */
  | (OfSession & Run & { readonly kind: "sent"; readonly device: string } & OnEdge)
  /** Handed to the socket. */
  | (OfSession & Run & { readonly kind: "written"; readonly device: string } & OnEdge)
  /** The device's cursor stands there: everything up to it is acked. */
  | (OfSession & { readonly kind: "acked"; readonly device: string; readonly seq: number })
  | (OfSession & Run & { readonly kind: "dropped"; readonly reason: string })
  /** A push under a known key was answered as the first one; seq 0 for one never stored. */
  | (OfSession & { readonly kind: "duplicate"; readonly seq: number; readonly id: MsgId })
  /** At most once, to one device; to none where `device` is empty. */
  | (OfSession & { readonly kind: "passed"; readonly device: string; readonly id: MsgId })
  | (OfSession & { readonly kind: "passed-written"; readonly device: string; readonly id: MsgId })
  /** By a person, as the device's client says. */
  | (OfSession & { readonly kind: "opened"; readonly device: string; readonly id: MsgId })
  /** So many steps of this block could not be kept by the node. */
  | { readonly kind: "lost"; readonly atMs: number; readonly count: number };

export interface OnEdge {
  /** Address of the edge actor. */
  readonly edge: string;
  readonly connection: number;
}

export interface JournalBatch {
  readonly node: string;
  readonly steps: readonly JournalStep[];
  /** False when its end could not be read. */
  readonly isWhole: boolean;
}

/** Undefined for what is no batch of a version that is known. */
export function readBatch(bytes: Uint8Array): JournalBatch | undefined {
  return new BatchReader(bytes).read();
}

const decoder = new TextDecoder();

/** Thrown where the bytes end too early, and caught where they are read. */
class Truncated extends Error {}

class BatchReader {
  private at = 0;
  private readonly texts: string[] = [];
  private readonly sessions: StepSession[] = [];

  constructor(private readonly bytes: Uint8Array) {}

  read(): JournalBatch | undefined {
    const steps: JournalStep[] = [];
    let node = "";
    try {
      if (this.byte() !== batchVersion) return undefined;
      node = this.plainText();
      let atMs = this.time();
      while (this.at < this.bytes.length) {
        const kind = this.byte();
        atMs += unzigzag(this.number());
        const step = this.step(kind, atMs);
        if (step === undefined) return { node, steps, isWhole: false };
        steps.push(step);
      }
      return { node, steps, isWhole: true };
    } catch (error) {
      if (!(error instanceof Truncated)) throw error;
      return node === "" ? undefined : { node, steps, isWhole: false };
    }
  }

  private step(kind: number, atMs: number): JournalStep | undefined {
    if (kind === stepKinds.lost) return { kind: "lost", atMs, count: this.number() };
    if (kind < stepKinds.stored || kind > stepKinds.opened) return undefined;
    const session = this.session();
    const of = { atMs, session };
    switch (kind) {
      case stepKinds.stored:
        return { kind: "stored", ...of, seq: this.number(), id: this.msgId() };
      case stepKinds.sent:
        return { kind: "sent", ...of, ...this.delivery() };
      case stepKinds.written:
        return { kind: "written", ...of, ...this.delivery() };
      case stepKinds.acked:
        return { kind: "acked", ...of, device: this.text(), seq: this.number() };
      case stepKinds.dropped:
        return { kind: "dropped", ...of, reason: this.text(), ...this.run() };
      case stepKinds.duplicate:
        return { kind: "duplicate", ...of, seq: this.number(), id: this.msgId() };
      case stepKinds.opened:
        return { kind: "opened", ...of, device: this.text(), id: this.msgId() };
      case stepKinds.passed:
        return { kind: "passed", ...of, device: this.text(), id: this.msgId() };
      default:
        return { kind: "passed-written", ...of, device: this.text(), id: this.msgId() };
    }
  }

  private session(): StepSession {
    const number = this.number();
    const known = this.sessions[number];
    if (known !== undefined) return known;
    if (number !== this.sessions.length) throw new Truncated();
    const key = this.plainText() as SessionKey;
    const session = { key, epoch: this.number(), generation: this.number() };
    this.sessions.push(session);
    return session;
  }

  private delivery() {
    const device = this.text();
    const edge = this.text();
    return { device, edge, connection: this.number(), ...this.run() };
  }

  private run(): Run {
    return { fromSeq: this.number(), count: this.number() };
  }

  private text(): string {
    const number = this.number();
    const known = this.texts[number];
    if (known !== undefined) return known;
    if (number !== this.texts.length) throw new Truncated();
    const text = this.plainText();
    this.texts.push(text);
    return text;
  }

  private plainText(): string {
    const length = this.byte();
    return decoder.decode(this.part(length));
  }

  private msgId(): MsgId {
    return decoder.decode(this.part(msgIdLength)) as MsgId;
  }

  private time(): number {
    let ms = 0;
    for (const byte of this.part(6)) ms = ms * 0x100 + byte;
    return ms;
  }

  private number(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 53; scale *= 0x80) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new Truncated();
  }

  private byte(): number {
    const byte = this.bytes[this.at];
    if (byte === undefined) throw new Truncated();
    this.at += 1;
    return byte;
  }

  private part(length: number): Uint8Array {
    const end = this.at + length;
    if (end > this.bytes.length) throw new Truncated();
    const part = this.bytes.subarray(this.at, end);
    this.at = end;
    return part;
  }
}

function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}
