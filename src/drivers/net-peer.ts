/**
 * What the edge keeps for one socket, from its first byte on; a shared handler finds it by
 * the socket. A plain HTTP request's socket loses it as soon as it is known for one.
 *
 *   reading the head ─▶ open ─┬─ close, violation ─▶ closing ─▶ gone
 *                             └─ their close frame ──▶ closing ─▶ gone
 *
 * Invariant: what waits for the end of the turn leaves in the order it came and as one
 * write; once it is ending nothing is added to it.
 */
import type { Socket } from "node:net";
import type { ConnectionId } from "../ports/edge-transport.js";
import type { GrownBytes } from "./grown-bytes.js";
import { FrameReader, firstFreeBit, type ReadBounds, type Violation } from "./ws-frames.js";

const peerOf = Symbol("peer");

interface PeerSocket extends Socket {
  [peerOf]?: Peer | undefined;
}

/** The edge, as its peers see it. */
export interface PeerOwner {
  readonly bounds: ReadBounds;
  onBytes(peer: Peer, chunk: Buffer): void;
  /** Their FIN. */
  onEnd(peer: Peer): void;
  /** Its socket has not taken all that it was given. */
  onBehind(peer: Peer): void;
  onDrain(peer: Peer): void;
  onGone(peer: Peer): void;
  onMessage(peer: Peer, bytes: Buffer, isText: boolean): void;
  onPing(peer: Peer, bytes: Buffer): void;
  onCloseFrame(peer: Peer, payload: Buffer): void;
  onViolation(peer: Peer, code: Violation): void;
}

/** More in one turn is not worth a copy. */
const copiedBytesMax = 64 * 1024;
const noCloseFrame = 1006;

const closingBit = firstFreeBit;
/** Its last frame waits or is written: then our side of the socket ends. */
const endingBit = firstFreeBit << 1;
const awaitingDrainBit = firstFreeBit << 2;
const codeShift = 8;

export class Peer extends FrameReader {
  /** 0 until its upgrade is accepted. */
  id = 0 as ConnectionId;
  /** Of an incomplete request. */
  head: GrownBytes | undefined = undefined;
  private waiting: Buffer | Buffer[] | undefined = undefined;
  private waitingBytes = 0;

  constructor(
    readonly owner: PeerOwner,
    readonly socket: PeerSocket,
  ) {
    super();
    socket[peerOf] = this;
    socket.on("data", onData);
    socket.on("end", onEnd);
    socket.on("close", onClose);
    socket.on("error", ignoreError);
  }

  /** We said or heard that it ends: no message is told any more and no frame is taken. */
  get isClosing(): boolean {
    return (this.bits & closingBit) !== 0;
  }

  startClosing(): void {
    this.bits |= closingBit;
  }

  /** Of the peer's close frame. */
  get closeCode(): number {
    return this.bits >> codeShift || noCloseFrame;
  }

  /** The socket is another's from now on. */
  leaveSocket(): void {
    const { socket } = this;
    socket[peerOf] = undefined;
    socket.off("data", onData);
    socket.off("end", onEnd);
    socket.off("close", onClose);
    socket.off("error", ignoreError);
  }

  letGoOfHead(): void {
    this.head?.release();
    this.head = undefined;
  }

  /** Of all that it held back for what was not whole. */
  letGo(): void {
    this.letGoOfHead();
    this.stopReading();
  }

  get bufferedBytes(): number {
    return this.waitingBytes + this.socket.writableLength;
  }

  /** Returns how many frames ended in it. */
  take(chunk: Buffer): number {
    return this.read(chunk, this.owner.bounds);
  }

  /** For the end of the turn; true when it is the first that waits. */
  queue(bytes: Buffer): boolean {
    const { waiting } = this;
    this.waitingBytes += bytes.length;
    if (waiting === undefined) {
      this.waiting = bytes;
      return true;
    }
    if (Array.isArray(waiting)) waiting.push(bytes);
    else this.waiting = [waiting, bytes];
    return false;
  }

  flush(): void {
    const { socket, waiting, waitingBytes } = this;
    this.waiting = undefined;
    this.waitingBytes = 0;
    if (waiting === undefined || !socket.writable) return;
    if (!writeAll(socket, waiting, waitingBytes) && (this.bits & awaitingDrainBit) === 0) {
      this.bits |= awaitingDrainBit;
      // Only while it is slow: a listener more would be memory of every idle one.
      socket.on("drain", onDrain);
    }
    if ((this.bits & endingBit) !== 0) socket.end();
    if ((this.bits & awaitingDrainBit) !== 0) this.owner.onBehind(this);
  }

  /** Ends our side, behind what waits for the end of the turn. */
  end(): void {
    this.bits |= closingBit | endingBit;
    if (this.waiting === undefined) this.socket.end();
  }

  drained(): void {
    this.bits &= ~awaitingDrainBit;
    this.socket.off("drain", onDrain);
  }

  protected override onMessage(bytes: Buffer, isText: boolean): void {
    this.owner.onMessage(this, bytes, isText);
  }

  protected override onPing(bytes: Buffer): void {
    this.owner.onPing(this, bytes);
  }

  protected override onCloseFrame(code: number, payload: Buffer): void {
    this.bits |= code << codeShift;
    this.owner.onCloseFrame(this, payload);
  }

  protected override onViolation(code: Violation): void {
    this.owner.onViolation(this, code);
  }
}

function writeAll(socket: Socket, waiting: Buffer | Buffer[], bytes: number): boolean {
  if (!Array.isArray(waiting)) return socket.write(waiting);
  if (bytes <= copiedBytesMax) return socket.write(Buffer.concat(waiting, bytes));
  let isTaken = true;
  socket.cork();
  for (const each of waiting) isTaken = socket.write(each);
  socket.uncork();
  return isTaken;
}

function onData(this: PeerSocket, chunk: Buffer): void {
  const peer = this[peerOf];
  peer?.owner.onBytes(peer, chunk);
}

function onEnd(this: PeerSocket): void {
  const peer = this[peerOf];
  peer?.owner.onEnd(peer);
}

function onDrain(this: PeerSocket): void {
  const peer = this[peerOf];
  peer?.drained();
  peer?.owner.onDrain(peer);
}

function onClose(this: PeerSocket): void {
  const peer = this[peerOf];
  peer?.owner.onGone(peer);
}

function ignoreError(): void {
  // The close event follows and says all that matters.
}
