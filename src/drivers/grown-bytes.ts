/**
 * Bytes of one thing that come in pieces: one buffer that at least doubles when it is
 * full. So it holds at most twice what came (a peer that announces much and sends
 * little costs little), and a piece of one byte costs no object.
 */
export class GrownBytes {
  /** Valid up to `length`. */
  bytes: Buffer;
  length = 0;

  constructor(firstBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(Math.max(firstBytes, 64));
  }

  append(from: Uint8Array, start: number, end: number): void {
    const length = this.length + end - start;
    if (length > this.bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(length, this.bytes.length * 2));
      grown.set(this.bytes.subarray(0, this.length));
      this.bytes = grown;
    }
    this.bytes.set(
      start === 0 && end === from.length ? from : from.subarray(start, end),
      this.length,
    );
    this.length = length;
  }

  get view(): Buffer {
    return this.bytes.subarray(0, this.length);
  }
}
