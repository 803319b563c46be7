/**
 * What a supervisor does about a child that ended: pure, after OTP's supervisor.
 * The intensity counts the restarts of all children together, that of a group
 * once; the backoff grows with one child's restarts in a row, with a group or not.
 */
import { fullJitterMs, type Random } from "../base/random.js";
import { type ActorKind, DEFAULT_BACKOFF, DEFAULT_INTENSITY } from "./kind.js";

/** "group": stopped because a sibling is restarted; see `SupervisionStrategy`. */
export type EndCause = "crashed" | "self" | "parent" | "passivated" | "group";

export type RestartPlan =
  | { readonly act: "leave" }
  | { readonly act: "restart"; readonly delayMs: number }
  | { readonly act: "escalate" };

export interface RestartHistory {
  /** Of all the supervisor's children; older than the window may be left out. */
  readonly restartsAtMs: readonly number[];
  /** Restarts of this child in a row, each within the window of the one before. */
  readonly attempt: number;
}

export function planRestart(
  child: ActorKind,
  supervisor: ActorKind,
  cause: EndCause,
  history: RestartHistory,
  nowMs: number,
  random: Random,
): RestartPlan {
  if (!wantsRestart(child, cause)) return { act: "leave" };
  const { restarts, withinMs } = supervisor.intensity ?? DEFAULT_INTENSITY;
  const recent = history.restartsAtMs.filter((atMs) => atMs > nowMs - withinMs).length;
  if (recent >= restarts) return { act: "escalate" };
  const { baseMs, capMs } = supervisor.backoff ?? DEFAULT_BACKOFF;
  return { act: "restart", delayMs: fullJitterMs(random, history.attempt, baseMs, capMs) };
}

export function wantsRestart(child: ActorKind, cause: EndCause): boolean {
  switch (child.restart) {
    case "permanent":
      return cause === "crashed" || cause === "self" || cause === "group";
    case "transient":
      return cause === "crashed" || cause === "group";
    case "temporary":
      return false;
  }
}
