/**
 * A device that speaks `belfry.v1` and reads of each message only what it needs: the
 * position, and the body at the frame's end. The chain of `prev` is checked, as the
 * SDK does; a break is told as an error, and what is missing is asked for again.
 */
import { decodeServerFrame, encodeClientFrame } from "../../src/client/server-frames.js";
import { clientKinds, protocolVersion, serverKinds } from "../../src/protocol/frames.js";
import type { Position } from "../../src/protocol/position.js";
import { bodyOf } from "./body.js";
import type { Device, DeviceEvents } from "./device.js";
import { endLine, type LeanEnd, LeanWebSocket } from "./lean-websocket.js";

const messageStart = 0x98;

/** What a device that was connected before says of it. */
export interface Earlier {
  readonly position: Position | undefined;
  /** Counts its connections. */
  readonly connect: number;
}

export class BelfryDevice implements Device {
  unacked = 0;
  readonly ready: Promise<void>;
  private readonly socket: LeanWebSocket;
  private generation = 0;
  private seq = 0;
  private isServed = false;
  private isResending = false;
  private ended: LeanEnd | undefined;
  private settle: { resolve: () => void; reject: (error: Error) => void } | undefined;

  constructor(
    url: string,
    private readonly token: string,
    private readonly events: DeviceEvents,
    private readonly earlier?: Earlier,
  ) {
    this.ready = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    this.socket = new LeanWebSocket(new URL(url), "belfry.v1", {
      onOpen: () => this.sayHello(),
      onFrame: (frame) => this.onFrame(frame),
      onClose: (end) => this.onClose(end),
    });
  }

  sendAck(): void {
    this.send([clientKinds.ack, 0, this.generation, this.seq]);
  }

  close(): void {
    this.socket.destroy();
  }

  /** As when the way to the edge breaks. */
  cut(): void {
    this.socket.cut();
  }

  /** How it ended; undefined while it has not. */
  get end(): LeanEnd | undefined {
    return this.ended;
  }

  get position(): Position {
    return { generation: this.generation, seq: this.seq };
  }

  private sayHello(): void {
    const { position, connect } = this.earlier ?? {};
    const hello = {
      ...{ v: protocolVersion, token: this.token, device: "bench", platform: "node" },
      ...(connect === undefined ? {} : { connect }),
      ...(position === undefined ? {} : { position: [position.generation, position.seq] }),
    };
    this.send([clientKinds.hello, hello]);
  }

  private onFrame(frame: Buffer): void {
    if (frame[0] === messageStart && frame[1] === serverKinds.message) this.onMessage(frame);
    else this.onOther(frame);
  }

  private onMessage(frame: Buffer): void {
    // [message, session, generation, seq, prev, …]: each a number of one to nine bytes.
    const generationAt = 2 + unsignedBytes(frame, 2);
    const seqAt = generationAt + unsignedBytes(frame, generationAt);
    const prevAt = seqAt + unsignedBytes(frame, seqAt);
    const seq = readUnsigned(frame, seqAt);
    const generation = readUnsigned(frame, generationAt);
    if (generation === this.generation && seq <= this.seq) {
      // Had before: the ack may be what was lost.
      this.events.onRepeat(this);
    } else if (generation === this.generation && readUnsigned(frame, prevAt) !== this.seq) {
      this.events.onFrameError();
      this.askResend();
    } else {
      this.generation = generation;
      this.seq = seq;
      this.isResending = false;
      this.events.onMessage(this, bodyOf(frame));
    }
  }

  /** A new owner goes on where the last one stopped sending, which may not have come. */
  private onAttached({ generation, seq }: Position): void {
    const hasBefore = this.isServed && generation === this.generation;
    this.isResending = false;
    if (hasBefore) {
      if (seq > this.seq) this.askResend();
      // What the last owner was told may have ended with it.
      this.events.onRepeat(this);
      return;
    }
    this.generation = generation;
    this.seq = seq;
    this.isServed = true;
    this.settle?.resolve();
    this.settle = undefined;
  }

  private askResend(): void {
    if (this.isResending) return;
    this.isResending = true;
    this.send([clientKinds.resend, 0, this.generation, this.seq]);
  }

  private onOther(bytes: Buffer): void {
    const frame = decodeServerFrame(bytes);
    if (frame?.kind === "ping") {
      this.send([clientKinds.pong, frame.nonce]);
    } else if (frame?.kind === "attached") {
      this.onAttached(frame.base);
    } else if (frame === undefined || frame.kind === "refused") {
      this.events.onFrameError();
    }
  }

  private onClose(end: LeanEnd): void {
    this.ended = end;
    if (this.isServed) this.events.onLost(endLine(end));
    else this.settle?.reject(new Error(endLine(end)));
  }

  private send(frame: readonly unknown[]): void {
    this.socket.send(encodeClientFrame(frame, false) as Uint8Array);
  }
}

/** How long the msgpack number at `at` is. */
export function unsignedBytes(bytes: Buffer, at: number): number {
  const head = bytes[at] ?? 0;
  if (head < 0x80) return 1;
  return 1 + 2 ** (head - 0xcc);
}

export function readUnsigned(bytes: Buffer, at: number): number {
  const head = bytes[at] ?? 0;
  switch (head) {
    case 0xcc:
      return bytes[at + 1] ?? 0;
    case 0xcd:
      return bytes.readUInt16BE(at + 1);
    case 0xce:
      return bytes.readUInt32BE(at + 1);
    case 0xcf:
      return Number(bytes.readBigUInt64BE(at + 1));
    default:
      return head;
  }
}
