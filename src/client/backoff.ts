/** How long to wait before the next attempt: full jitter, doubling up to a cap. */
import { fullJitterMs, type Random } from "../base/random.js";

export interface BackoffLimits {
  /** The first wait is in [0, baseMs). */
  readonly baseMs: number;
  readonly capMs: number;
}

export class Backoff {
  private failures = 0;

  constructor(
    private readonly random: Random,
    private limits: BackoffLimits,
  ) {}

  nextMs(): number {
    const { baseMs, capMs } = this.limits;
    return fullJitterMs(this.random, this.failures++, baseMs, capMs);
  }

  /** Other bounds from now on; the attempts made still count. */
  change(limits: BackoffLimits): void {
    this.limits = limits;
  }

  get baseMs(): number {
    return this.limits.baseMs;
  }

  /** Called once things have gone well for a while. */
  reset(): void {
    this.failures = 0;
  }

  /** Attempts since the last reset. */
  get attempts(): number {
    return this.failures;
  }
}
