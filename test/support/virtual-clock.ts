/**
 * A clock that moves only when a test says so. Timers fire in the order of their
 * times, with what they make runnable run in between.
 */
import type { Cancel, Clock } from "../../src/base/clock.js";

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
}

const ROUNDS_MAX = 10_000;

export class VirtualClock implements Clock {
  private nowMs: number;
  private order = 0;
  private readonly timers = new Set<Timer>();
  private ready: (() => void)[] = [];

  constructor(
    startMs = 1_000,
    private wallStartMs = Date.UTC(2026, 0, 1),
  ) {
    this.nowMs = startMs;
  }

  wallMs(): number {
    return this.wallStartMs + this.nowMs;
  }

  /** Somebody sets the wall clock. */
  jumpWall(byMs: number): void {
    this.wallStartMs += byMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  after(delayMs: number, callback: () => void): Cancel {
    const timer = { atMs: this.nowMs + Math.max(0, delayMs), order: this.order++, callback };
    this.timers.add(timer);
    return () => void this.timers.delete(timer);
  }

  soon(callback: () => void): void {
    this.ready.push(callback);
  }

  get pendingTimers(): number {
    return this.timers.size;
  }

  get pendingSoon(): number {
    return this.ready.length;
  }

  /** One turn of the loop: what is ready now, not what that makes ready. */
  turn(): void {
    const batch = this.ready;
    this.ready = [];
    for (const callback of batch) callback();
  }

  /** Turns until nothing is ready; throws when that never comes. */
  runSoon(): void {
    for (let round = 0; this.ready.length > 0; round++) {
      if (round === ROUNDS_MAX) throw new Error(`still busy after ${ROUNDS_MAX} turns`);
      this.turn();
    }
  }

  /** Moves time on, stopping at each timer on the way; synchronous, so promises wait. */
  advance(ms: number): void {
    const untilMs = this.nowMs + ms;
    this.runSoon();
    for (let next = this.nextBy(untilMs); next !== undefined; next = this.nextBy(untilMs)) {
      this.fire(next);
      this.runSoon();
    }
    this.nowMs = untilMs;
  }

  /** The platform held every timer up for so long; then those that are due fire, late. */
  oversleep(ms: number): void {
    this.nowMs += ms;
    this.advance(0);
  }

  /** Runs all that is ready, with the promises in between, until neither is left; time stands. */
  async settle(): Promise<void> {
    for (let idle = 0, round = 0; idle < 2; round++) {
      if (round === ROUNDS_MAX) throw new Error(`still busy after ${ROUNDS_MAX} rounds`);
      idle = this.ready.length === 0 ? idle + 1 : 0;
      this.runSoon();
      // The real loop turns once, so that every chain of settled promises has run.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Like `advance`, but lets promises run at each stop. */
  async advanceAndSettle(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms;
    await this.settle();
    for (let next = this.nextBy(untilMs); next !== undefined; next = this.nextBy(untilMs)) {
      this.fire(next);
      await this.settle();
    }
    this.nowMs = untilMs;
    await this.settle();
  }

  private nextBy(untilMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.timers) {
      if (timer.atMs > untilMs) continue;
      const isEarlier =
        next === undefined ||
        timer.atMs < next.atMs ||
        (timer.atMs === next.atMs && timer.order < next.order);
      if (isEarlier) next = timer;
    }
    return next;
  }

  private fire(timer: Timer): void {
    this.timers.delete(timer);
    this.nowMs = Math.max(this.nowMs, timer.atMs);
    timer.callback();
  }
}
