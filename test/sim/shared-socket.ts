/**
 * A device's socket as others see it who are bound to the same connection: each says hello,
 * is attached, and goes, as if the socket were its own; on the wire these are binds, frames
 * with its index, and unbinds.
 */
import { encodeClientFrame } from "../../src/client/server-frames.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { clientKinds, serverKinds, sessionIndexMax } from "../../src/protocol/frames.js";
import type { ClientEnd, SimSocket, SimTransport } from "./sim-transport.js";
import type { World } from "./world.js";

/** The client's end of a socket, its own or a shared one. */
export interface ClientSocket {
  send(bytes: Uint8Array): void;
  close(): void;
  vanish(): void;
  readonly transport: SimTransport;
  readonly connection: number | undefined;
  /** Whose session this is on the connection. */
  readonly index: number;
}

const abnormal = 1006;
const refusedCode = 4005;

export class SharedSocket {
  /** By index; one that has left stays until the edge has said so. */
  private readonly riders = new Map<number, BoundSocket>();
  private isGone = false;

  constructor(
    private readonly world: World,
    private readonly socket: SimSocket,
  ) {}

  /** Undefined where the connection is gone, or all its indexes are in use. */
  bind(end: ClientEnd): BoundSocket | undefined {
    if (this.isGone) return undefined;
    for (let index = 1; index <= sessionIndexMax; index++) {
      if (this.riders.has(index)) continue;
      const rider = new BoundSocket(this.socket, index, end);
      this.riders.set(index, rider);
      this.world.after(0.1, "bind", () => {
        if (!this.isGone && !rider.hasLeft) end.onOpen();
      });
      return rider;
    }
    return undefined;
  }

  /** False for what is the device's own. */
  onFrame(frame: unknown[]): boolean {
    const [kind, index] = frame as [number, number];
    if (kind === serverKinds.welcome || kind === serverKinds.directive) return false;
    const rider = this.riders.get(index);
    if (rider === undefined || kind === serverKinds.ping) return false;
    const isOver =
      kind === serverKinds.ended || (kind === serverKinds.refused && !rider.wasAttached);
    if (isOver) this.riders.delete(index);
    if (kind === serverKinds.attached) rider.wasAttached = true;
    if (rider.hasLeft) return true;
    if (isOver) rider.end.onClose(kind === serverKinds.ended ? (frame[2] as number) : refusedCode);
    else rider.end.onFrame(packValue([kind, 0, ...frame.slice(2)]));
    return true;
  }

  gone(): void {
    if (this.isGone) return;
    this.isGone = true;
    for (const rider of this.riders.values()) if (!rider.hasLeft) rider.end.onClose(abnormal);
  }
}

export class BoundSocket implements ClientSocket {
  hasLeft = false;
  wasAttached = false;

  constructor(
    private readonly socket: SimSocket,
    readonly index: number,
    readonly end: ClientEnd,
  ) {}

  get transport(): SimTransport {
    return this.socket.transport;
  }

  get connection(): number | undefined {
    return this.socket.connection;
  }

  send(bytes: Uint8Array): void {
    if (this.hasLeft) return;
    const [kind, first, ...fields] = unpackValue(bytes) as [number, unknown, ...unknown[]];
    if (kind !== clientKinds.hello) {
      this.say([kind, this.index, ...fields]);
      return;
    }
    // The device is the one that hello named.
    const { v: _v, device: _device, ...who } = first as Record<string, unknown>;
    this.say([clientKinds.bind, this.index, who]);
  }

  close(): void {
    if (this.hasLeft) return;
    this.hasLeft = true;
    this.say([clientKinds.unbind, this.index]);
  }

  vanish(): void {
    this.close();
  }

  private say(frame: readonly unknown[]): void {
    this.socket.send(encodeClientFrame(frame, false) as Uint8Array);
  }
}
