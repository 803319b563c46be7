/**
 * One client installation of a session: how far it has acked, how far it was sent,
 * and the connection it is served on, if any. Plain state; the session decides.
 *
 * Invariant: sentSeq and ackedSeq <= passedSeq <= the session's committed seq.
 * passedSeq runs ahead of sentSeq over entries that are not for this device, and
 * ackedSeq follows it when nothing is unacked: so a cursor may stand above what its
 * client was sent, and only the chain's own end says where the client is.
 */

import type { DeviceRecord } from "../src/ports/inbox-store.js";
import type { ClientAppState } from "../src/protocol/client-surroundings.js";
import type { Attach, ConnectionRef } from "../src/protocol/messages.js";
import type { Target } from "../src/protocol/push-command.js";
import { Attempts } from "./attempts.js";
import type { Limits } from "./limits.js";
import { sharedPlatform } from "./platform-names.js";

export class Device {
  readonly id: string;
  platform: string;
  connect: number;
  ackedSeq: number;
  seenAtMs: number;
  sentSeq: number;
  passedSeq: number;
  /** The edge actor's address while connected. */
  edge: string | undefined = undefined;
  connection = 0;
  /** Whether somebody looks at its app, while connected; undefined where it does not say. */
  app: ClientAppState | undefined = undefined;
  /** seq and bytes of each message sent and not acked, alternating; undefined when none. */
  private unacked: number[] | undefined = undefined;
  private unackedBytes = 0;
  /** When the oldest unacked message was sent, monotonic. */
  sentAtMs = 0;
  attachedAtMs = 0;
  /** None where nothing is under way and nothing went wrong: as it is with most, most of the time. */
  private attempts: Attempts | undefined = undefined;

  constructor(
    record: DeviceRecord,
    private readonly limits: Limits,
    /** Monotonic; nothing was sent to it after that. */
    lastSeenMs = Number.NEGATIVE_INFINITY,
  ) {
    this.id = record.id;
    this.platform = sharedPlatform(record.platform);
    this.connect = record.connect;
    this.ackedSeq = record.ackedSeq;
    this.seenAtMs = record.seenAtMs;
    this.sentSeq = record.ackedSeq;
    this.passedSeq = record.ackedSeq;
    const { attempts, setAside } = record;
    if (attempts !== undefined || setAside !== undefined) {
      this.attempts = new Attempts(record, limits, lastSeenMs);
    }
  }

  get isConnected(): boolean {
    return this.edge !== undefined;
  }

  get unackedCount(): number {
    return this.unacked === undefined ? 0 : this.unacked.length / 2;
  }

  isServedOn(ref: ConnectionRef): boolean {
    return this.edge === ref.edge && this.connection === ref.connection;
  }

  isTargetOf(target: Target | undefined): boolean {
    if (target === undefined) return true;
    if (target.device !== undefined && target.device !== this.id) return false;
    return target.platform === undefined || target.platform === this.platform;
  }

  /** Something was sent, by this owner or the one before, and is not acked. */
  get isUnderWay(): boolean {
    return this.ackedSeq < this.sentSeq;
  }

  get roomMessages(): number {
    const { attempts, limits } = this;
    const window =
      attempts === undefined
        ? limits.windowMessagesMax
        : attempts.windowAt(this.ackedSeq, this.isUnderWay);
    return window - this.unackedCount;
  }

  get roomBytes(): number {
    return this.limits.windowBytesMax - this.unackedBytes;
  }

  get hasRoom(): boolean {
    return this.roomMessages > 0 && this.roomBytes > 0;
  }

  /** Served on the connection of this attach from now on. */
  take(attach: Attach, nowWallMs: number): void {
    this.edge = attach.edge;
    this.connection = attach.connection;
    this.connect = attach.connect;
    this.app = attach.app;
    this.platform = sharedPlatform(attach.platform);
    this.seenAtMs = nowWallMs;
    this.attempts?.noteAttached();
    this.rewind(this.ackedSeq);
  }

  /** By the client's own word it has everything up to `seq`. */
  noteTaken(seq: number): void {
    if (seq <= this.sentSeq) return;
    this.sentSeq = seq;
    this.passedSeq = seq;
  }

  disconnect(nowWallMs: number): void {
    this.edge = undefined;
    this.seenAtMs = nowWallMs;
    this.rewind(this.ackedSeq);
  }

  /** The chain goes on behind `seq`, nothing above it counts as sent; what is acked stays so. */
  rewind(seq: number): void {
    this.sentSeq = seq;
    this.passedSeq = Math.max(seq, this.ackedSeq);
    this.unacked = undefined;
    this.unackedBytes = 0;
  }

  /** True: it is an attempt that is to be stored. */
  noteSent(seq: number, bytes: number, nowMs: number): boolean {
    let isAttempt = false;
    if (this.isUnderWay) this.attempts?.noteNext(seq);
    else isAttempt = this.attempted().noteFirst(seq, nowMs);
    if (this.unacked === undefined) {
      this.unacked = [];
      this.sentAtMs = nowMs;
    }
    this.unacked.push(seq, bytes);
    this.unackedBytes += bytes;
    this.sentSeq = seq;
    this.passedSeq = seq;
    return isAttempt;
  }

  /** Its cursor goes over `seq`, which it never acked; sending goes on behind it. */
  setAside(seq: number): void {
    this.ackedSeq = seq;
    this.attempted().noteSetAside();
    this.rewind(seq);
  }

  /** Everything up to `seq` was considered; entries for other devices count as acked here. */
  notePassed(seq: number): void {
    this.passedSeq = seq;
    if (this.unacked === undefined && this.ackedSeq >= this.sentSeq) this.ackedSeq = seq;
  }

  /** Returns false when it acks nothing new. `seq` is at most what was sent. */
  ackThrough(seq: number, nowMs: number): boolean {
    if (seq <= this.ackedSeq) return false;
    this.ackedSeq = seq;
    const { unacked } = this;
    if (unacked !== undefined) {
      let taken = 0;
      while (taken < unacked.length && (unacked[taken] ?? 0) <= seq) {
        this.unackedBytes -= unacked[taken + 1] ?? 0;
        taken += 2;
      }
      if (taken === unacked.length) this.unacked = undefined;
      else unacked.splice(0, taken);
      this.sentAtMs = nowMs;
    }
    if (this.unacked === undefined && seq >= this.sentSeq) this.ackedSeq = this.passedSeq;
    this.attempts?.noteAck(this.ackedSeq, this.sentSeq);
    this.letAttemptsRest();
    return true;
  }

  // ---- how often it was sent what it does not ack ----

  get isStalled(): boolean {
    return this.attempts?.isStalled ?? false;
  }

  /** False: it asks too often for the next sending not to count. */
  mayRepeat(): boolean {
    return this.attempted().mayRepeat();
  }

  isUsedUpBy(firstSeq: number, nowMs: number): boolean {
    return this.attempts?.isUsedUpBy(firstSeq, nowMs) ?? false;
  }

  /** Stalled, it says that it has all up to its cursor: it lives. */
  wake(): void {
    this.attempts?.wake();
    this.letAttemptsRest();
  }

  private attempted(): Attempts {
    this.attempts ??= new Attempts({}, this.limits);
    return this.attempts;
  }

  private letAttemptsRest(): void {
    if (this.attempts?.isAtRest(this.ackedSeq)) this.attempts = undefined;
  }

  toRecord(): DeviceRecord {
    return {
      id: this.id,
      platform: this.platform,
      connect: this.connect,
      ackedSeq: this.ackedSeq,
      seenAtMs: this.seenAtMs,
      ...this.attempts?.toRecord(),
    };
  }

  inspect(): Record<string, unknown> {
    return {
      ...this.toRecord(),
      sentSeq: this.sentSeq,
      unacked: this.unackedCount,
      isStalled: this.isStalled,
      connection: this.isConnected ? `${this.edge}/${this.connection}` : null,
      app: this.isConnected ? (this.app ?? null) : null,
    };
  }
}
