/**
 * How often a device was sent what it does not ack, so that a message that it cannot take
 * is set aside, and the innocent around it are not.
 *
 *   wide ──(half of the attempts)──▶ narrow ──(all of them)──▶ its first message is set aside
 *    a window a round                one message a round              │ so many in a row
 *        ▲                                                            ▼
 *        └──────────────────────────── an ack ◀──────────────── stalled: one message an attach
 *
 * Beyond the wide rounds only sendings that are `attemptSpacingMs` apart count: a client
 * whose connection breaks at once, again and again, had no chance to ack.
 *
 * Invariant: what is above the cursor, up to triedSeq, was sent `count` times at least.
 */
import type { DeviceRecord } from "../src/ports/inbox-store.js";
import type { Limits } from "./limits.js";

/** A client that misses a frame asks again; so often between two attempts it costs it none. */
const repeatsMax = 3;

type TriedRecord = Pick<DeviceRecord, "attempts" | "triedSeq" | "setAside">;

export class Attempts {
  private count = 0;
  private triedSeq = 0;
  private setAside = 0;
  /** Up to here it was sent in rounds of whole windows: it is sent one by one. */
  private narrowUntilSeq = 0;
  /** Monotonic, of this owner: what an earlier one sent was long ago. */
  private countedAtMs = Number.NEGATIVE_INFINITY;
  private repeats = 0;
  private isRepeat = false;
  /** What a stalled device may still be sent on this attach. */
  private trials = 0;

  constructor(
    { attempts = 0, triedSeq = 0, setAside = 0 }: TriedRecord,
    private readonly limits: Limits,
  ) {
    this.count = attempts;
    this.triedSeq = triedSeq;
    this.setAside = setAside;
  }

  /** As one that was just made: nothing is lost when it is let go. */
  isAtRest(ackedSeq: number): boolean {
    const { count, triedSeq, setAside, narrowUntilSeq, repeats, isRepeat } = this;
    const isTried = count > 0 || triedSeq > ackedSeq || narrowUntilSeq > 0;
    return !isTried && setAside === 0 && repeats === 0 && !isRepeat;
  }

  get isStalled(): boolean {
    return this.setAside >= this.limits.setAsideMax;
  }

  /** How many messages it may have unacked. `isUnderWay`: something was sent and not acked. */
  windowAt(ackedSeq: number, isUnderWay: boolean): number {
    if (this.isStalled) return isUnderWay ? 0 : this.trials;
    return ackedSeq < this.narrowUntilSeq ? 1 : this.limits.windowMessagesMax;
  }

  private get wideRounds(): number {
    return Math.floor(this.limits.attemptsMax / 2);
  }

  /** The first message above the cursor is sent. True: an attempt to be stored. */
  noteFirst(seq: number, nowMs: number): boolean {
    if (this.isStalled) {
      this.trials--;
      return false;
    }
    if (this.isRepeat) {
      this.isRepeat = false;
      return false;
    }
    if (seq > this.triedSeq) this.count = 0;
    else if (this.count >= this.wideRounds) {
      this.narrowUntilSeq = Math.max(this.narrowUntilSeq, this.triedSeq);
    }
    this.repeats = 0;
    if (this.count >= this.wideRounds && !this.hadItsChance(nowMs)) return false;
    this.count++;
    this.countedAtMs = nowMs;
    if (this.count === 1 || seq <= this.narrowUntilSeq) this.triedSeq = seq;
    return this.count > 1;
  }

  /** Another message is sent behind the first. */
  noteNext(seq: number): void {
    if (this.count === 1) this.triedSeq = Math.max(this.triedSeq, seq);
  }

  /** The cursor moved up by the device's own word. */
  noteAck(ackedSeq: number, sentSeq: number): void {
    this.setAside = 0;
    this.repeats = 0;
    this.isRepeat = false;
    // What this round did not come to was sent once less.
    if (this.count > 1) this.triedSeq = Math.min(this.triedSeq, Math.max(ackedSeq, sentSeq));
    if (this.triedSeq <= ackedSeq) this.count = 0;
    if (this.narrowUntilSeq <= ackedSeq) this.narrowUntilSeq = 0;
  }

  /** Stalled, it says that it has all up to its cursor: it lives. */
  wake(): void {
    this.setAside = 0;
    this.trials = 0;
  }

  noteAttached(): void {
    this.trials = 1;
    this.repeats = 0;
    this.isRepeat = false;
  }

  /** False: it asks too often for the next sending not to count. */
  mayRepeat(): boolean {
    if (this.repeats === repeatsMax) return false;
    this.repeats++;
    if (this.isStalled) this.trials = 1;
    else this.isRepeat = true;
    return true;
  }

  isUsedUpBy(firstSeq: number, nowMs: number): boolean {
    const isTried = firstSeq <= this.triedSeq && this.count >= this.limits.attemptsMax;
    return isTried && !this.isStalled && this.hadItsChance(nowMs);
  }

  private hadItsChance(nowMs: number): boolean {
    return nowMs - this.countedAtMs >= this.limits.attemptSpacingMs;
  }

  noteSetAside(): void {
    this.setAside++;
    this.count = 0;
    this.trials = 0;
  }

  toRecord(): TriedRecord {
    const { count, triedSeq, setAside } = this;
    return {
      ...(count > 0 ? { attempts: count, triedSeq } : {}),
      ...(setAside > 0 ? { setAside } : {}),
    };
  }
}
