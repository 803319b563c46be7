/** The frame reader without a socket: what it tells, and what an edge would answer to that. */
import { HeldBytes } from "../../src/drivers/held-bytes.js";
import {
  encodeClose,
  encodeFrame,
  FrameReader,
  opcodes,
  type Violation,
} from "../../src/drivers/ws-frames.js";
import { told } from "../contract/websocket-vectors.js";

export const messageBytesMax = 1024 * 1024;
/** More than one reader can hold. */
const heldBytesMax = 8 * messageBytesMax;

export class RecordingReader extends FrameReader {
  readonly events: string[] = [];
  /** Undefined: still open. */
  closed: number | undefined;
  private readonly answers: Buffer[] = [];

  /** How many frames ended in the pieces. */
  frames = 0;

  constructor(readonly held = new HeldBytes(heldBytesMax)) {
    super();
  }

  /** Each piece a copy: bytes are unmasked in place. */
  take(pieces: readonly Uint8Array[], bytesMax = messageBytesMax): this {
    const bounds = { messageBytesMax: bytesMax, held: this.held };
    for (const piece of pieces) this.frames += this.read(Buffer.from(piece), bounds);
    return this;
  }

  get output(): string {
    return Buffer.concat(this.answers).toString("hex");
  }

  protected override onMessage(bytes: Buffer, isText: boolean): void {
    this.events.push(told(bytes, isText));
  }

  protected override onPing(bytes: Buffer): void {
    this.answers.push(encodeFrame(opcodes.pong, bytes));
  }

  protected override onCloseFrame(code: number, payload: Buffer): void {
    this.closed = code;
    this.answers.push(encodeFrame(opcodes.close, payload));
  }

  protected override onViolation(code: Violation): void {
    this.closed = 1006;
    this.answers.push(encodeClose(code, ""));
  }
}

/** `bytes` cut at each of `cuts`, which may be anything. */
export function cutAt(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const ends = cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b);
  let start = 0;
  const pieces = [...ends, bytes.length].map((end) => {
    const piece = bytes.subarray(start, end);
    start = end;
    return piece;
  });
  return pieces.filter(({ length }) => length > 0);
}

export function eachByte(bytes: Uint8Array): Uint8Array[] {
  return Array.from(bytes, (_, at) => bytes.subarray(at, at + 1));
}
