/**
 * What is refused first when a node has more to do than it can: low before normal before
 * high. Pure.
 */
import type { Priority } from "../src/protocol/push-command.js";

/**
 * From this pressure on a priority is refused; 1 is a bound that is reached. The lower one
 * has the lower threshold, so nothing is refused while something below it is admitted.
 */
const refusedFrom: Readonly<Record<Priority, number>> = { low: 0.5, normal: 0.8, high: 1 };

/** `pressure`: the highest of what presses, each as a share of its bound. */
export function admits(priority: Priority, pressure: number): boolean {
  return pressure < refusedFrom[priority];
}

export interface BoundRules {
  readonly most: number;
  readonly least: number;
  /** A commit within it is prompt: nothing speaks against more. */
  readonly promptMs: number;
  /** What the bound lets wait is to be committed within it. */
  readonly drainMs: number;
}

/** A commit of fewer says little of how long one of many takes. */
const tellingPushes = 64;

/**
 * How many pushes of a group may wait for their commit, after one of `pushes` took
 * `tookMs`: what the store was seen to commit in `drainMs`. It doubles with each prompt
 * commit of as many as it nearly allows, so it follows a store that recovers, too.
 */
export function nextBound(
  bound: number,
  pushes: number,
  tookMs: number,
  rules: BoundRules,
): number {
  const { most, least, promptMs, drainMs } = rules;
  const measured = (pushes * drainMs) / Math.max(1, tookMs);
  let wanted = bound;
  // What was far from the bound says nothing of it: growing on that would forget the store.
  if (tookMs <= promptMs) wanted = pushes >= bound / 2 ? Math.max(bound * 2, measured) : bound;
  else wanted = pushes >= tellingPushes ? measured : Math.max(measured, bound / 2);
  return Math.round(Math.min(most, Math.max(least, wanted)));
}
