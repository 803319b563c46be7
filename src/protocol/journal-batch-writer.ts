/**
 * Packs the steps of one block into a batch (see journal-batch.ts), on the path of every push:
 * one buffer that grows up to its bound and stays, no closure, no promise, and what comes
 * again, a session or a text, is a number.
 */
import { batchVersion, msgIdLength, type StepSession, stepKinds } from "./journal-batch.js";
import type { MsgId } from "./msg-id.js";
import type { SessionKey } from "./shards.js";

const textBytesMax = 255;
/** Of one step with a session and two texts that are all new. */
const stepBytesMax = 1_200;
const firstBytes = 4_096;
const encoder = new TextEncoder();

/** What was taken out of a writer. */
export interface PackedBatch {
  readonly bytes: Uint8Array;
  readonly steps: number;
}

/** Packs steps into one buffer that grows up to its bound and stays. */
export class BatchWriter {
  private bytes = new Uint8Array(firstBytes);
  private used = 0;
  private stepCount = 0;
  private lastMs = 0;
  private readonly texts = new Map<string, number>();
  private readonly sessions = new Map<string, number>();
  /** Steps of one session often follow each other, and most edges are one. */
  private lastKey = "";
  private lastEpoch = 0;
  private lastGeneration = 0;
  private lastSessionNumber = 0;
  private lastEdge = "";
  private lastEdgeNumber = 0;
  private readonly epochs: number[] = [];
  private readonly generations: number[] = [];

  constructor(
    private readonly node: string,
    private readonly bytesMax: number,
  ) {}

  get length(): number {
    return this.used;
  }

  get steps(): number {
    return this.stepCount;
  }

  /** Each returns false, and has written nothing, when there is no room left. */
  stored(atMs: number, session: StepSession, seq: number, id: MsgId): boolean {
    if (!this.begin(stepKinds.stored, atMs, session)) return false;
    this.number(seq);
    this.msgId(id);
    return true;
  }

  delivered(
    kind: "sent" | "written",
    atMs: number,
    session: StepSession,
    device: string,
    edge: string,
    connection: number,
    fromSeq: number,
    count: number,
  ): boolean {
    if (!this.begin(stepKinds[kind], atMs, session)) return false;
    this.text(device);
    if (edge === this.lastEdge) {
      this.number(this.lastEdgeNumber);
    } else {
      this.lastEdgeNumber = this.text(edge);
      this.lastEdge = edge;
    }
    this.number(connection);
    this.number(fromSeq);
    this.number(count);
    return true;
  }

  acked(atMs: number, session: StepSession, device: string, seq: number): boolean {
    if (!this.begin(stepKinds.acked, atMs, session)) return false;
    this.text(device);
    this.number(seq);
    return true;
  }

  dropped(
    atMs: number,
    session: StepSession,
    reason: string,
    fromSeq: number,
    count: number,
  ): boolean {
    if (!this.begin(stepKinds.dropped, atMs, session)) return false;
    this.text(reason);
    this.number(fromSeq);
    this.number(count);
    return true;
  }

  duplicate(atMs: number, session: StepSession, seq: number, id: MsgId): boolean {
    if (!this.begin(stepKinds.duplicate, atMs, session)) return false;
    this.number(seq);
    this.msgId(id);
    return true;
  }

  passed(atMs: number, session: StepSession, device: string, id: MsgId): boolean {
    if (!this.begin(stepKinds.passed, atMs, session)) return false;
    this.text(device);
    this.msgId(id);
    return true;
  }

  passedWritten(atMs: number, session: StepSession, device: string, id: MsgId): boolean {
    if (!this.begin(stepKinds.passedWritten, atMs, session)) return false;
    this.text(device);
    this.msgId(id);
    return true;
  }

  opened(atMs: number, session: StepSession, device: string, id: MsgId): boolean {
    if (!this.begin(stepKinds.opened, atMs, session)) return false;
    this.text(device);
    this.msgId(id);
    return true;
  }

  lost(atMs: number, count: number): boolean {
    if (!this.begin(stepKinds.lost, atMs, undefined)) return false;
    this.number(count);
    return true;
  }

  /** Empties it; the bytes are the caller's. Undefined when there is nothing. */
  take(): PackedBatch | undefined {
    if (this.stepCount === 0) return undefined;
    const bytes = this.bytes.slice(0, this.used);
    const steps = this.stepCount;
    this.used = 0;
    this.stepCount = 0;
    this.texts.clear();
    this.sessions.clear();
    this.lastKey = "";
    this.lastEdge = "";
    this.epochs.length = 0;
    this.generations.length = 0;
    return { bytes, steps };
  }

  private begin(kind: number, atMs: number, session: StepSession | undefined): boolean {
    if (this.used + stepBytesMax > this.bytes.length && !this.grow()) return false;
    if (this.stepCount === 0) this.head(atMs);
    this.stepCount += 1;
    this.bytes[this.used++] = kind;
    const sinceMs = atMs - this.lastMs;
    this.lastMs = atMs;
    this.number(sinceMs >= 0 ? sinceMs * 2 : -sinceMs * 2 - 1);
    if (session !== undefined) this.session(session);
    return true;
  }

  private head(atMs: number): void {
    this.bytes[this.used++] = batchVersion;
    this.plainText(this.node);
    for (let scale = 2 ** 40; scale >= 1; scale /= 0x100) {
      this.bytes[this.used++] = Math.floor(atMs / scale) % 0x100;
    }
    this.lastMs = atMs;
  }

  private session({ key, epoch, generation }: StepSession): void {
    const isLast =
      key === this.lastKey && epoch === this.lastEpoch && generation === this.lastGeneration;
    if (isLast) {
      this.number(this.lastSessionNumber);
      return;
    }
    this.lastSessionNumber = this.introduce(key, epoch, generation);
    this.lastKey = key;
    this.lastEpoch = epoch;
    this.lastGeneration = generation;
  }

  /** Writes its number, and all of it where it is new. */
  private introduce(key: SessionKey, epoch: number, generation: number): number {
    const known = this.sessions.get(key);
    const isSame =
      known !== undefined && this.epochs[known] === epoch && this.generations[known] === generation;
    if (isSame) {
      this.number(known);
      return known;
    }
    const next = this.epochs.length;
    this.sessions.set(key, next);
    this.epochs.push(epoch);
    this.generations.push(generation);
    this.number(next);
    this.plainText(key);
    this.number(epoch);
    this.number(generation);
    return next;
  }

  private text(text: string): number {
    const known = this.texts.get(text);
    if (known !== undefined) {
      this.number(known);
      return known;
    }
    const next = this.texts.size;
    this.number(next);
    this.texts.set(text, next);
    this.plainText(text);
    return next;
  }

  private plainText(text: string): void {
    const { bytes, used } = this;
    let length = Math.min(text.length, textBytesMax);
    for (let at = 0; at < length; at++) {
      const code = text.charCodeAt(at);
      if (code >= 0x80) {
        length = this.unicode(text);
        break;
      }
      bytes[used + 1 + at] = code;
    }
    bytes[used] = length;
    this.used = used + 1 + length;
  }

  /** Only a device may be called so. */
  private unicode(text: string): number {
    const from = this.used + 1;
    return encoder.encodeInto(text, this.bytes.subarray(from, from + textBytesMax)).written;
  }

  /** A MsgID is 16 characters of ASCII. */
  private msgId(id: MsgId): void {
    const { bytes, used } = this;
    for (let at = 0; at < msgIdLength; at++) bytes[used + at] = id.charCodeAt(at);
    this.used = used + msgIdLength;
  }

  /** A safe integer from 0 on. */
  private number(value: number): void {
    const { bytes } = this;
    let rest = value;
    let { used } = this;
    while (rest >= 0x80) {
      bytes[used++] = (rest % 0x80) + 0x80;
      rest = Math.floor(rest / 0x80);
    }
    bytes[used++] = rest;
    this.used = used;
  }

  private grow(): boolean {
    if (this.bytes.length >= this.bytesMax) return false;
    const grown = new Uint8Array(Math.min(this.bytes.length * 2, this.bytesMax));
    grown.set(this.bytes.subarray(0, this.used));
    this.bytes = grown;
    return true;
  }
}
