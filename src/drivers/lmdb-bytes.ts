/**
 * The bytes of one LMDB transaction, written by hand: keys and values lie one after
 * the other in one buffer that is used again by the next transaction, so that a push
 * costs no allocation of its own. Nothing reaches LMDB before all of it is encoded:
 * a bug halfway leaves no half of a commit behind.
 */
import { assert } from "../base/assert.js";

const startBytes = 64 * 1024;
/** A buffer that one huge commit made larger is not kept. */
const keptBytesMax = 4 * 1024 * 1024;
const isRemoval = -1;

export class WriteBatch {
  private bytes = new Uint8Array(startBytes);
  private view = new DataView(this.bytes.buffer);
  private at = 0;
  /** Triples: where the key starts, where it ends, where its value ends. */
  private readonly instructions: number[] = [];
  private keyStart = 0;
  private keyEnd = 0;

  get count(): number {
    return this.instructions.length / 3;
  }

  get byteCount(): number {
    return this.at;
  }

  /** Only when LMDB has taken the last transaction: it reads the values from here. */
  clear(): void {
    this.at = 0;
    this.instructions.length = 0;
    if (this.bytes.length <= keptBytesMax) return;
    this.bytes = new Uint8Array(startBytes);
    this.view = new DataView(this.bytes.buffer);
  }

  /** All that was written since `clear`, valid until the next write. */
  written(): Uint8Array {
    return this.bytes.subarray(0, this.at);
  }

  startKey(): this {
    this.keyStart = this.at;
    return this;
  }

  /** Ends the key; what follows until `endPut` is its value. */
  startValue(): this {
    this.keyEnd = this.at;
    return this;
  }

  endPut(): void {
    this.instructions.push(this.keyStart, this.keyEnd, this.at);
  }

  endRemoval(): void {
    this.instructions.push(this.keyStart, this.at, isRemoval);
  }

  forEach(
    onPut: (key: Uint8Array, value: Uint8Array) => void,
    onRemoval: (key: Uint8Array) => void,
  ): void {
    const { instructions, bytes } = this;
    for (let at = 0; at < instructions.length; at += 3) {
      const keyEnd = instructions[at + 1] as number;
      const valueEnd = instructions[at + 2] as number;
      const key = bytes.subarray(instructions[at] as number, keyEnd);
      if (valueEnd === isRemoval) onRemoval(key);
      else onPut(key, bytes.subarray(keyEnd, valueEnd));
    }
  }

  u8(value: number): this {
    this.reserve(1);
    this.bytes[this.at++] = value;
    return this;
  }

  u16(value: number): this {
    this.reserve(2);
    this.view.setUint16(this.at, value);
    this.at += 2;
    return this;
  }

  u32(value: number): this {
    this.reserve(4);
    this.view.setUint32(this.at, value);
    this.at += 4;
    return this;
  }

  f64(value: number): this {
    this.reserve(8);
    this.view.setFloat64(this.at, value);
    this.at += 8;
    return this;
  }

  /** A whole number of up to 53 bits in 8 bytes that sort as it does. */
  u64(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, `not a whole number: ${value}`);
    return this.u32(Math.floor(value / 2 ** 32)).u32(value % 2 ** 32);
  }

  raw(bytes: Uint8Array): this {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
    return this;
  }

  /** The UTF-8 of `text` alone. */
  rawText(text: string): this {
    this.reserve(text.length * 3);
    const { bytes } = this;
    let { at } = this;
    for (let index = 0; index < text.length; index++) {
      const unit = text.charCodeAt(index);
      if (unit >= 0x80) return this.rawUtf8(text);
      bytes[at++] = unit;
    }
    this.at = at;
    return this;
  }

  /** The UTF-8 of `text` behind its length in two bytes. */
  text(text: string): this {
    this.u16(0);
    const start = this.at;
    this.rawText(text);
    assert(this.at - start < 2 ** 16, "a text is shorter than 64 KiB");
    this.view.setUint16(start - 2, this.at - start);
    return this;
  }

  private rawUtf8(text: string): this {
    this.at += utf8Encoder.encodeInto(text, this.bytes.subarray(this.at)).written;
    return this;
  }

  private reserve(count: number): void {
    if (this.at + count <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(2 * this.bytes.length, this.at + count));
    grown.set(this.bytes);
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }
}

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder();

/** Reads what a WriteBatch wrote; throws a RangeError past the end. */
export class ByteReader {
  private readonly view: DataView;

  constructor(
    private readonly bytes: Uint8Array,
    private at = 0,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get isAtEnd(): boolean {
    return this.at >= this.bytes.length;
  }

  u8(): number {
    return this.view.getUint8(this.at++);
  }

  u16(): number {
    this.at += 2;
    return this.view.getUint16(this.at - 2);
  }

  u32(): number {
    this.at += 4;
    return this.view.getUint32(this.at - 4);
  }

  f64(): number {
    this.at += 8;
    return this.view.getFloat64(this.at - 8);
  }

  u64(): number {
    return this.u32() * 2 ** 32 + this.u32();
  }

  text(): string {
    return this.rawText(this.u16());
  }

  rawText(length: number): string {
    this.at += length;
    return utf8Decoder.decode(this.bytes.subarray(this.at - length, this.at));
  }

  /** All that is left, as text. */
  restText(): string {
    return this.rawText(this.bytes.length - this.at);
  }

  /** All that is left. */
  rest(): Uint8Array {
    return this.bytes.subarray(this.at);
  }
}
