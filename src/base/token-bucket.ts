/**
 * A rate with a burst, as one number: the time at which the bucket will be full again
 * (GCRA, ITU-T I.371). One push moves it on by `1000 / perSecond` milliseconds; a push
 * that would move it further than the burst ahead of now is refused. A time that has
 * passed is a full bucket, so one that is forgotten then loses nothing.
 *
 * Times are of one monotonic clock.
 */
export interface Rate {
  /** 0 lets nothing through. */
  readonly perSecond: number;
  /** Pushes that a full bucket lets through at once, at least 1. */
  readonly burst: number;
}

/** Milliseconds until the next one is let through; 0 when it is now. */
export function waitMs(fullAtMs: number, { perSecond, burst }: Rate, nowMs: number): number {
  if (perSecond <= 0) return Number.POSITIVE_INFINITY;
  const stepMs = 1_000 / perSecond;
  const overMs = Math.max(fullAtMs, nowMs) + stepMs - nowMs - burst * stepMs;
  // Less than a nanosecond is the rounding of the sums.
  return overMs > 1e-6 ? overMs : 0;
}

/** When the bucket is full again, after one was let through. */
export function taken(fullAtMs: number, { perSecond }: Rate, nowMs: number): number {
  return Math.max(fullAtMs, nowMs) + 1_000 / perSecond;
}
