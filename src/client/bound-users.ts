/**
 * The users that are bound to a device's connection beside its own, and which index of that
 * connection is whose.
 *
 * Invariant: an index is given again only when the edge has said that what was there is over,
 * so that what is still on its way reaches nobody else.
 */
import { clientKinds, firstSession, sessionIndexMax } from "../protocol/frames.js";
import { BoundUser, type Seats, type Stop } from "./bound-user.js";
import type { BindOptions, BoundSession } from "./device-options.js";
import type { DeviceParts } from "./device-parts.js";
import type { EdgeConnection, SessionFrame } from "./edge-connection.js";
import type { UplinkCalls } from "./uplink-calls.js";

interface Seat {
  /** Undefined when it has left, and the edge has not said so yet. */
  user: BoundUser | undefined;
  isAttached: boolean;
}

export class BoundUsers implements Seats {
  connection: EdgeConnection | undefined;
  private readonly users = new Set<BoundUser>();
  private readonly seats = new Map<number, Seat>();
  /** Why no connection comes, where none does until the app says so. */
  private stop: Stop | undefined;

  constructor(private readonly parts: DeviceParts) {}

  bind(options: BindOptions): BoundSession {
    if (this.users.size >= sessionIndexMax) {
      throw new RangeError(`${sessionIndexMax} users are bound already`);
    }
    const user = new BoundUser(options, this.parts, this, this.stop);
    this.users.add(user);
    if (this.connection !== undefined) user.onConnected();
    return user;
  }

  /** The edge has said what it takes. */
  onConnected(connection: EdgeConnection): void {
    this.connection = connection;
    this.seats.clear();
    for (const user of this.users) user.onConnected();
  }

  /** There is no connection; with `stop` none comes until the device is told to connect. */
  onLost(stop: Stop | undefined): void {
    this.connection = undefined;
    this.stop = stop;
    this.seats.clear();
    for (const user of this.users) user.onLost(stop);
  }

  /** False for what is no bound user's. */
  onFrame(frame: SessionFrame): boolean {
    const seat = "session" in frame ? this.seats.get(frame.session) : undefined;
    if (seat === undefined || !("session" in frame)) return false;
    if (frame.kind === "attached") seat.isAttached = true;
    // Of one that is attached only a token was refused.
    const isOver = frame.kind === "ended" || (frame.kind === "refused" && !seat.isAttached);
    if (isOver) this.seats.delete(frame.session);
    seat.user?.onFrame(frame);
    return true;
  }

  get calls(): UplinkCalls[] {
    return [...this.users].map(({ calls }) => calls);
  }

  flush(): void {
    for (const user of this.users) user.flush();
  }

  open(): void {
    for (const user of this.users) user.open();
  }

  close(): void {
    for (const user of this.users) user.close();
  }

  onFront(): void {
    for (const user of this.users) user.onFront();
  }

  take(user: BoundUser): number | undefined {
    for (let index = firstSession + 1; index <= sessionIndexMax; index++) {
      if (this.seats.has(index)) continue;
      this.seats.set(index, { user, isAttached: false });
      return index;
    }
    return undefined;
  }

  leave(index: number): void {
    const seat = this.seats.get(index);
    if (seat === undefined) return;
    seat.user = undefined;
    this.connection?.send([clientKinds.unbind, index]);
  }

  forget(user: BoundUser): void {
    this.users.delete(user);
  }
}
