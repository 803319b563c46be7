/**
 * Repeats what may be repeated until it is accepted, refused for good, or a deadline is
 * near: with full jitter, and not before a refusal said that it makes sense.
 */
import type { Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";
import { Fault } from "../base/result.js";
import type { ErrorAnswer } from "../protocol/errors.js";
import { Backoff, type BackoffLimits } from "./backoff.js";

export interface Repetition {
  readonly clock: Clock;
  readonly random: Random;
  readonly backoff: BackoffLimits;
  /** Of one attempt. */
  readonly timeoutMs: number;
  /** Monotonic. */
  readonly endMs: number;
}

/** Resolves to the last answer; rejects with the last Fault when that was the end of it. */
export async function repeat<Accepted extends { readonly ok: true }>(
  { clock, random, backoff: limits, timeoutMs, endMs }: Repetition,
  attempt: (timeoutMs: number) => Promise<Accepted | ErrorAnswer>,
): Promise<Accepted | ErrorAnswer> {
  const backoff = new Backoff(random, limits);
  for (;;) {
    const leftMs = Math.max(1, endMs - clock.monotonicMs());
    const outcome = await settle(attempt(Math.min(timeoutMs, leftMs)));
    if (!(outcome instanceof Fault) && (outcome.ok || !outcome.retryable)) return outcome;
    const pauseMs = Math.max(backoff.nextMs(), retryAfterMs(outcome));
    if (clock.monotonicMs() + pauseMs >= endMs) {
      if (outcome instanceof Fault) throw outcome;
      return outcome;
    }
    await new Promise<void>((resolve) => void clock.after(pauseMs, resolve));
  }
}

async function settle<Value>(attempt: Promise<Value>): Promise<Value | Fault> {
  try {
    return await attempt;
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
}

/** Some refusals say when they may be over. */
function retryAfterMs(outcome: object): number {
  const value = (outcome as { readonly retryAfterMs?: unknown }).retryAfterMs;
  return typeof value === "number" && value > 0 ? value : 0;
}
