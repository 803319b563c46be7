/**
 * All timers of one system: a wheel, driven by a single timer of the clock that
 * is armed for the earliest entry, so that an idle system never wakes up.
 */
import type { Cancel, Clock } from "../base/clock.js";
import { TimerWheel, WheelEntry } from "../base/timer-wheel.js";

export class Timers {
  private readonly wheel: TimerWheel;
  private armedForMs = Number.POSITIVE_INFINITY;
  private disarm: Cancel | undefined;

  constructor(private readonly clock: Clock) {
    this.wheel = new TimerWheel(clock.monotonicMs());
  }

  get size(): number {
    return this.wheel.size;
  }

  schedule(entry: WheelEntry, delayMs: number): void {
    this.scheduleAt(entry, this.clock.monotonicMs() + delayMs);
  }

  scheduleAt(entry: WheelEntry, atMs: number): void {
    this.wheel.schedule(entry, atMs);
    if (atMs < this.armedForMs) this.arm();
  }

  /** Runs `callback` after `delayMs`; for rare things, since it allocates. */
  after(delayMs: number, callback: () => void): WheelEntry {
    const entry = new CallbackEntry(callback);
    this.schedule(entry, delayMs);
    return entry;
  }

  cancel(entry: WheelEntry): boolean {
    return this.wheel.cancel(entry);
  }

  /** Nothing fires after this. */
  stop(): void {
    for (const entry of [...this.wheel.entries()]) this.wheel.cancel(entry);
    this.disarm?.();
    this.disarm = undefined;
    this.armedForMs = Number.POSITIVE_INFINITY;
  }

  private arm(): void {
    const dueMs = this.wheel.nextDueMs();
    if (dueMs === undefined || dueMs >= this.armedForMs) return;
    this.disarm?.();
    this.armedForMs = dueMs;
    const delayMs = Math.max(0, Math.ceil(dueMs - this.clock.monotonicMs()));
    this.disarm = this.clock.after(delayMs, () => this.onDue());
  }

  private onDue(): void {
    this.disarm = undefined;
    this.armedForMs = Number.POSITIVE_INFINITY;
    this.wheel.advance(this.clock.monotonicMs());
    this.arm();
  }
}

class CallbackEntry extends WheelEntry {
  constructor(private readonly callback: () => void) {
    super();
  }

  onDue(): void {
    this.callback();
  }
}
