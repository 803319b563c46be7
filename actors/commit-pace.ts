/** How fast the store of one group commits, and so how many pushes may wait for it. */
import type { Clock } from "../src/base/clock.js";
import { nextBound } from "../topology/shedding.js";
import type { Limits } from "./limits.js";

export class CommitPace {
  private startedMs: number | undefined = undefined;
  private pushes = 0;
  /** Pushes that may wait; begins with what memory allows and follows what is measured. */
  bound: number;

  constructor(
    private readonly clock: Clock,
    private readonly limits: Limits,
  ) {
    this.bound = limits.uncommittedMax;
  }

  begin(pushes: number): void {
    this.startedMs = this.clock.monotonicMs();
    this.pushes = pushes;
  }

  /** Returns how long it took. */
  end(): number {
    const tookMs = this.flightMs(this.clock.monotonicMs());
    this.startedMs = undefined;
    const { uncommittedMax, uncommittedMin, commitDrainMs } = this.limits;
    this.bound = nextBound(this.bound, this.pushes, tookMs, {
      most: uncommittedMax,
      least: uncommittedMin,
      promptMs: commitDrainMs / 2,
      drainMs: commitDrainMs,
    });
    return tookMs;
  }

  /** For how long the commit in flight has been under way; 0 when none is. */
  flightMs(nowMs: number): number {
    return this.startedMs === undefined ? 0 : nowMs - this.startedMs;
  }
}
