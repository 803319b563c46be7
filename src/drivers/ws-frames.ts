/**
 * WebSocket framing (RFC 6455, 5 and 7.4) of a server's side, without a socket: bytes in
 * any pieces to messages, control frames or one violation; messages to frames.
 *
 * Invariant: what is told depends on the bytes alone and not on how they were cut, as long
 * as the budget of what is held back has room. What is held back of an incomplete frame or
 * message is at most twice what came of it, and a message never grows above its bound.
 */
import { isUtf8 } from "node:buffer";
import { GrownBytes } from "./grown-bytes.js";
import type { HeldBytes } from "./held-bytes.js";

export const opcodes = {
  continuation: 0,
  text: 1,
  binary: 2,
  close: 8,
  ping: 9,
  pong: 10,
} as const;

/** Close codes for what a peer did to the protocol; the last one is the edge's own trouble. */
export const violations = { protocol: 1002, text: 1007, tooLarge: 1009, noRoom: 1013 } as const;
export type Violation = (typeof violations)[keyof typeof violations];

const finBit = 0x80;
const reservedBits = 0x70;
const maskBit = 0x80;
const controlBit = 0x08;
const controlBytesMax = 125;
const maskBytes = 4;
const noCode = 1005;
const stoppedBit = 1;
export const firstFreeBit = 2;

export interface ReadBounds {
  readonly messageBytesMax: number;
  /** Of all peers together. */
  readonly held: HeldBytes;
}

interface Fragments {
  readonly bytes: GrownBytes;
  readonly isText: boolean;
}

/**
 * Whoever reads is its subclass, so that a connection is one object. Nothing is told
 * after a violation, a close frame, or `stopReading`.
 */
export abstract class FrameReader {
  /** An incomplete frame; in most pieces that come there is none. */
  private partial: GrownBytes | undefined = undefined;
  /** The data frames so far of a message that goes on. */
  private fragments: Fragments | undefined = undefined;
  /** Flags of the reader and, from `firstFreeBit` on, of its subclass: one field for all. */
  protected bits = 0;

  /** `bytes` are valid during the call only, as of the others. */
  protected abstract onMessage(bytes: Buffer, isText: boolean): void;
  protected abstract onPing(bytes: Buffer): void;
  /** `code` is 1005 where the frame has none; `payload` is what it said, code and all. */
  protected abstract onCloseFrame(code: number, payload: Buffer): void;
  protected abstract onViolation(code: Violation): void;

  /** Unmasks in place: `chunk` is the reader's. Returns how many frames ended in it. */
  protected read(chunk: Buffer, bounds: ReadBounds): number {
    let frames = 0;
    let at = 0;
    if (this.partial !== undefined) {
      at = this.continuePartial(chunk, bounds);
      if (this.partial === undefined) frames++;
    }
    while (at < chunk.length && !this.isStopped) {
      const have = chunk.length - at;
      const wanted = this.wantedBytes(chunk, at, have, bounds.messageBytesMax);
      if (this.isStopped) return frames;
      if (wanted > have) {
        this.partial = new GrownBytes(bounds.held);
        if (!this.partial.append(chunk, at, chunk.length)) this.violate(violations.noRoom);
        return frames;
      }
      this.takeFrame(chunk, at, wanted, bounds);
      at += wanted;
      frames++;
    }
    return frames;
  }

  /** Of a frame that is not whole, and of a message whose last frame has not come. */
  get unfinishedBytes(): number {
    return (this.partial?.length ?? 0) + (this.fragments?.bytes.length ?? 0);
  }

  private get isStopped(): boolean {
    return (this.bits & stoppedBit) !== 0;
  }

  /** Also what lets go of all that is held back; a second time does nothing. */
  stopReading(): void {
    this.bits |= stoppedBit;
    this.partial?.release();
    this.partial = undefined;
    this.endFragments();
  }

  /** Where in `chunk` the next frame begins. */
  private continuePartial(chunk: Buffer, bounds: ReadBounds): number {
    let at = 0;
    for (let partial = this.partial; partial !== undefined; ) {
      const { bytes, length } = partial;
      const wanted = this.wantedBytes(bytes, 0, length, bounds.messageBytesMax);
      if (this.isStopped) return at;
      if (wanted <= length) {
        this.partial = undefined;
        this.takeFrame(bytes, 0, wanted, bounds);
        partial.release();
        return at;
      }
      const end = Math.min(chunk.length, at + wanted - length);
      if (end === at) return at;
      if (!partial.append(chunk, at, end)) {
        this.violate(violations.noRoom);
        return at;
      }
      at = end;
    }
    return at;
  }

  /**
   * How many bytes the frame has; more than `have` where it takes so many to know more.
   * Each rule is checked as soon as its bytes are there.
   */
  private wantedBytes(bytes: Buffer, at: number, have: number, messageBytesMax: number): number {
    if (have < 2) return 2;
    const first = bytes[at] ?? 0;
    const second = bytes[at + 1] ?? 0;
    const short = second & 0x7f;
    if (!this.isLawful(first, second)) return this.violate(violations.protocol);
    let headBytes = 2 + maskBytes;
    let payloadBytes = short;
    if (short === 126) {
      if (have < 4) return 4;
      headBytes += 2;
      payloadBytes = bytes.readUInt16BE(at + 2);
      if (payloadBytes < 126) return this.violate(violations.protocol);
    } else if (short === 127) {
      if (have < 10) return 10;
      headBytes += 8;
      const high = bytes.readUInt32BE(at + 2);
      if (high >= 2 ** 31) return this.violate(violations.protocol);
      payloadBytes = high * 2 ** 32 + bytes.readUInt32BE(at + 6);
      if (payloadBytes < 2 ** 16) return this.violate(violations.protocol);
    }
    const before = (first & controlBit) === 0 ? (this.fragments?.bytes.length ?? 0) : 0;
    if (before + payloadBytes > messageBytesMax) return this.violate(violations.tooLarge);
    return headBytes + payloadBytes;
  }

  /** By the first two bytes alone. */
  private isLawful(first: number, second: number): boolean {
    if ((first & reservedBits) !== 0 || (second & maskBit) === 0) return false;
    const isFinal = (first & finBit) !== 0;
    switch (first & 0x0f) {
      case opcodes.continuation:
        return this.fragments !== undefined;
      case opcodes.text:
      case opcodes.binary:
        return this.fragments === undefined;
      case opcodes.close:
      case opcodes.ping:
      case opcodes.pong:
        return isFinal && (second & 0x7f) <= controlBytesMax;
      default:
        return false;
    }
  }

  private takeFrame(bytes: Buffer, at: number, frameBytes: number, bounds: ReadBounds): void {
    const first = bytes[at] ?? 0;
    const short = (bytes[at + 1] ?? 0) & 0x7f;
    const maskAt = at + (short < 126 ? 2 : short === 126 ? 4 : 10);
    const payload = bytes.subarray(maskAt + maskBytes, at + frameBytes);
    unmask(payload, bytes, maskAt);
    const opcode = first & 0x0f;
    if (opcode === opcodes.ping) this.onPing(payload);
    else if (opcode === opcodes.close) this.takeClose(payload);
    else if (opcode === opcodes.pong) return;
    else if ((first & finBit) === 0) this.takeFragment(opcode, payload, bounds.held);
    else if (this.fragments === undefined) this.tell(payload, opcode === opcodes.text);
    else this.takeLast(this.fragments, payload);
  }

  private takeFragment(opcode: number, payload: Buffer, held: HeldBytes): void {
    this.fragments ??= { bytes: new GrownBytes(held), isText: opcode === opcodes.text };
    const isTaken = this.fragments.bytes.append(payload, 0, payload.length);
    if (!isTaken) this.violate(violations.noRoom);
  }

  private takeLast({ bytes, isText }: Fragments, payload: Buffer): void {
    if (!bytes.append(payload, 0, payload.length)) {
      this.violate(violations.noRoom);
      return;
    }
    this.tell(bytes.view, isText);
    this.endFragments();
  }

  private endFragments(): void {
    this.fragments?.bytes.release();
    this.fragments = undefined;
  }

  private tell(bytes: Buffer, isText: boolean): void {
    if (isText && !isUtf8(bytes)) this.violate(violations.text);
    else this.onMessage(bytes, isText);
  }

  private takeClose(payload: Buffer): void {
    if (payload.length === 0) {
      this.stopReading();
      this.onCloseFrame(noCode, payload);
      return;
    }
    const code = payload.length < 2 ? 0 : payload.readUInt16BE(0);
    if (!isCloseCode(code)) this.violate(violations.protocol);
    else if (!isUtf8(payload.subarray(2))) this.violate(violations.text);
    else {
      this.stopReading();
      this.onCloseFrame(code, payload);
    }
  }

  private violate(code: Violation): number {
    this.stopReading();
    this.onViolation(code);
    return 0;
  }
}

/** What a close frame may say: RFC 6455 7.4 and IANA's registry up to 1014. */
export function isCloseCode(code: number): boolean {
  if (code >= 3000) return code <= 4999;
  return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
}

function unmask(payload: Buffer, bytes: Buffer, maskAt: number): void {
  const m0 = bytes[maskAt] ?? 0;
  const m1 = bytes[maskAt + 1] ?? 0;
  const m2 = bytes[maskAt + 2] ?? 0;
  const m3 = bytes[maskAt + 3] ?? 0;
  if ((m0 | m1 | m2 | m3) === 0) return;
  const { length } = payload;
  const whole = length - (length % 4);
  for (let at = 0; at < whole; at += 4) {
    payload[at] = (payload[at] ?? 0) ^ m0;
    payload[at + 1] = (payload[at + 1] ?? 0) ^ m1;
    payload[at + 2] = (payload[at + 2] ?? 0) ^ m2;
    payload[at + 3] = (payload[at + 3] ?? 0) ^ m3;
  }
  if (whole < length) payload[whole] = (payload[whole] ?? 0) ^ m0;
  if (whole + 1 < length) payload[whole + 1] = (payload[whole + 1] ?? 0) ^ m1;
  if (whole + 2 < length) payload[whole + 2] = (payload[whole + 2] ?? 0) ^ m2;
}

/** One whole unmasked frame, `payload` copied into it. */
export function encodeFrame(opcode: number, payload: Uint8Array): Buffer {
  const { length } = payload;
  const headBytes = headBytesOf(length);
  const frame = Buffer.allocUnsafe(headBytes + length);
  writeHead(frame, opcode, length);
  frame.set(payload, headBytes);
  return frame;
}

/** The head of a frame whose payload follows as it is. */
export function encodeHead(opcode: number, payloadBytes: number): Buffer {
  const head = Buffer.allocUnsafe(headBytesOf(payloadBytes));
  writeHead(head, opcode, payloadBytes);
  return head;
}

/** A reason too long for a control frame is cut between two characters. */
export function encodeClose(code: number, reason: string): Buffer {
  const payload = Buffer.allocUnsafe(controlBytesMax);
  payload.writeUInt16BE(code, 0);
  // `write` writes no part of a character.
  const reasonBytes = payload.write(reason, 2, "utf8");
  return encodeFrame(opcodes.close, payload.subarray(0, 2 + reasonBytes));
}

function headBytesOf(payloadBytes: number): number {
  return payloadBytes < 126 ? 2 : payloadBytes < 2 ** 16 ? 4 : 10;
}

function writeHead(frame: Buffer, opcode: number, payloadBytes: number): void {
  frame[0] = finBit | opcode;
  if (payloadBytes < 126) {
    frame[1] = payloadBytes;
  } else if (payloadBytes < 2 ** 16) {
    frame[1] = 126;
    frame.writeUInt16BE(payloadBytes, 2);
  } else {
    frame[1] = 127;
    frame.writeUInt32BE(Math.floor(payloadBytes / 2 ** 32), 2);
    frame.writeUInt32BE(payloadBytes % 2 ** 32, 6);
  }
}
