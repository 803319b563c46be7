/**
 * How many pushes of lanes a group may have in flight, found by measuring: while answers
 * come in time and the bound is what holds it back, one more for each round of answers;
 * when they come late, a part less, once a round (AIMD, as TCP). Pure.
 */

export interface LimitRules {
  readonly min: number;
  readonly max: number;
  /** Answers that took longer are late. */
  readonly targetMs: number;
}

export interface LimitState {
  readonly limit: number;
  /** It is not lowered again before: answers of before the last time tell nothing new. */
  readonly restsUntilMs: number;
}

export interface LimitSample {
  readonly nowMs: number;
  readonly tookMs: number;
  /** In flight when it was answered. */
  readonly inFlight: number;
}

const lowered = 0.8;

export function startLimit({ min, max }: LimitRules): LimitState {
  return { limit: Math.min(max, 8 * min), restsUntilMs: Number.NEGATIVE_INFINITY };
}

export function nextLimit(
  state: LimitState,
  { nowMs, tookMs, inFlight }: LimitSample,
  { min, max, targetMs }: LimitRules,
): LimitState {
  const { limit, restsUntilMs } = state;
  if (tookMs > targetMs) {
    if (nowMs < restsUntilMs) return state;
    return { limit: Math.max(min, limit * lowered), restsUntilMs: nowMs + tookMs };
  }
  if (inFlight < limit * lowered) return state;
  return { limit: Math.min(max, limit + 1 / limit), restsUntilMs };
}
