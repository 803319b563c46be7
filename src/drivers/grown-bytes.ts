/**
 * Bytes of one thing that come in pieces: one buffer that at least doubles when it is
 * full. So it holds at most twice what came (a peer that announces much and sends
 * little costs little), and a piece of one byte costs no object.
 *
 * Whoever has one lets it go by `release`: what it holds is of a budget that all share.
 */
import type { HeldBytes } from "./held-bytes.js";

const firstBytesMin = 64;
const none = Buffer.alloc(0);

export class GrownBytes {
  /** Valid up to `length`. */
  bytes: Buffer = none;
  length = 0;

  constructor(private readonly held: HeldBytes) {}

  /** False, and nothing is added, where the budget has no room. */
  append(from: Uint8Array, start: number, end: number): boolean {
    const length = this.length + end - start;
    if (length > this.bytes.length && !this.grow(length)) return false;
    this.bytes.set(
      start === 0 && end === from.length ? from : from.subarray(start, end),
      this.length,
    );
    this.length = length;
    return true;
  }

  get view(): Buffer {
    return this.bytes.subarray(0, this.length);
  }

  release(): void {
    this.held.resize(this.bytes.length, 0);
    this.bytes = none;
    this.length = 0;
  }

  private grow(length: number): boolean {
    const capacity = Math.max(length, this.bytes.length * 2, firstBytesMin);
    if (!this.held.resize(this.bytes.length, capacity)) return false;
    const grown = Buffer.allocUnsafeSlow(capacity);
    grown.set(this.view);
    this.bytes = grown;
    return true;
  }
}
