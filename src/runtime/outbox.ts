/**
 * What waits to be sent to one other node: a batch that is encoded entry by
 * entry as it is filled, so that its size is always known exactly.
 *
 * Invariant: `bytes[0, used)` is a valid batch but for its count, at most
 * `payloadMax` long, and a shape that an entry refers to stands before it.
 */
import { packr, SHAPE, WIRE_VERSION } from "./wire.js";

const ARRAY_32 = 0xdd;
const HEADER_BYTES = 5;
const INITIAL_BYTES = 1_024;
// msgpackr: write into its own buffer, from its start, and say where the bytes are (512 + 1024).
const REUSE_BUFFER = 1_536;

export interface OutboxLimits {
  /** Reaching it flushes at once. */
  readonly flushBytes: number;
  /** Handed to the bus within one turn of the loop. */
  readonly turnBytesMax: number;
  /** Of one bus message. */
  readonly payloadMax: number;
}

export type AddOutcome = "added" | "too-large" | "unencodable" | "outbox-full";

/** Writes the entry for a message whose packed form it is given. */
export type MakeEntry = (packed: unknown[]) => unknown[];

export class Outbox {
  private bytes: Buffer = Buffer.allocUnsafe(INITIAL_BYTES);
  private used = 0;
  private items = 0;
  private entries = 0;
  private turnBytes = 0;
  private readonly shapes = new Map<string, number>();

  constructor(
    private readonly sender: string,
    private readonly limits: OutboxLimits,
    private readonly send: (batch: Uint8Array, entries: number) => void,
  ) {}

  get pendingEntries(): number {
    return this.entries;
  }

  get pendingBytes(): number {
    return this.used;
  }

  /** Appends an entry about `message`; flushes before it if it no longer fits, after it if due. */
  add(message: unknown, makeEntry: MakeEntry): AddOutcome {
    if (this.turnBytes + this.used >= this.limits.turnBytesMax) return "outbox-full";
    let outcome = this.append(message, makeEntry);
    if (outcome === "too-large" && this.entries > 0) {
      this.flush();
      outcome = this.append(message, makeEntry);
    }
    if (this.used >= this.limits.flushBytes) this.flush();
    return outcome;
  }

  /** Hands the batch to the bus. */
  flush(): void {
    if (this.entries === 0) return;
    this.bytes.writeUInt32BE(this.items, 1);
    const batch = this.bytes.subarray(0, this.used);
    this.turnBytes += this.used;
    // The bus keeps the bytes for as long as it likes, so the next batch gets its own.
    this.bytes = Buffer.allocUnsafe(Math.min(Math.max(this.used, INITIAL_BYTES), 65_536));
    this.send(batch, this.discard());
  }

  /** Drops what waits; the count of entries dropped. */
  discard(): number {
    const dropped = this.entries;
    this.used = 0;
    this.items = 0;
    this.entries = 0;
    this.shapes.clear();
    return dropped;
  }

  onLoopTurn(): void {
    this.flush();
    this.turnBytes = 0;
  }

  private append(message: unknown, makeEntry: MakeEntry): AddOutcome {
    const { used, items } = this;
    const shapeCount = this.shapes.size;
    let outcome: AddOutcome = "added";
    try {
      if (this.used === 0) this.begin();
      this.write(makeEntry(this.pack(message)));
      if (this.used > this.limits.payloadMax) outcome = "too-large";
    } catch {
      outcome = "unencodable";
    }
    if (outcome === "added") this.entries++;
    else this.rollBack(used, items, shapeCount);
    return outcome;
  }

  private rollBack(used: number, items: number, shapeCount: number): void {
    this.used = used;
    this.items = items;
    if (this.shapes.size === shapeCount) return;
    for (const [key, index] of this.shapes) if (index >= shapeCount) this.shapes.delete(key);
  }

  private begin(): void {
    this.bytes[0] = ARRAY_32;
    this.used = HEADER_BYTES;
    this.write(WIRE_VERSION);
    this.write(this.sender);
  }

  /** `[shape, ...values]` of a plain object, its shape written first if the batch lacks it. */
  private pack(message: unknown): unknown[] {
    if (!isPlainObject(message)) return [-1, message];
    const fields = Object.keys(message);
    if (fields.length > 64 || fields.includes("__proto__")) return [-1, message];
    const key = fields.join("\u0000");
    let shape = this.shapes.get(key);
    if (shape === undefined) {
      shape = this.shapes.size;
      this.shapes.set(key, shape);
      this.write([SHAPE, ...fields]);
    }
    const packed: unknown[] = [shape];
    for (const field of fields) packed.push(message[field]);
    return packed;
  }

  private write(item: unknown): void {
    const shared = packr.pack(item, REUSE_BUFFER) as Buffer & { start: number; end: number };
    const length = shared.end - shared.start;
    if (this.used + length > this.bytes.length) this.grow(this.used + length);
    shared.copy(this.bytes, this.used, shared.start, shared.end);
    this.used += length;
    this.items++;
  }

  private grow(needed: number): void {
    const grown = Buffer.allocUnsafe(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(grown, 0, 0, this.used);
    this.bytes = grown;
  }
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
