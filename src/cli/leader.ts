/** Asks whoever leads the placement, and follows when the leadership passes on meanwhile. */
import type { Clock } from "../base/clock.js";
import { Fault } from "../base/result.js";
import type { DispatcherRequest } from "../protocol/dispatcher-request.js";
import { type ErrorAnswer, errorAnswer } from "../protocol/errors.js";
import type {
  DeskAnswer,
  EdgeRequest,
  LaneRequest,
  PlacementRequest,
} from "../protocol/operator-desk.js";
import type { Fleet, Placement } from "./fleet.js";
import { type Heard, hear } from "./fleet-status.js";

export type LeaderRequest = PlacementRequest | LaneRequest | EdgeRequest | DispatcherRequest;

/** How long a command goes on trying, and by which clock. */
export interface Patience {
  readonly clock: Clock;
  readonly timeoutMs: number;
}

const againMs = 200;

/**
 * A refusal that says to ask again is repeated until the time is up, and so is silence,
 * but for a commit that may have been heard. Throws Fault when nobody answered.
 */
export async function askLeader(
  fleet: Fleet,
  { clock, timeoutMs }: Patience,
  request: LeaderRequest,
): Promise<DeskAnswer | ErrorAnswer> {
  const endMs = clock.monotonicMs() + timeoutMs;
  for (;;) {
    const tried = await tryLeader(fleet, request);
    const isOver = clock.monotonicMs() + againMs >= endMs;
    if (tried instanceof Fault) {
      const mayHaveHappened = tried.outcome === "unknown" && request.kind === "rebalance-commit";
      if (isOver || mayHaveHappened) throw tried;
    } else if (tried.ok || isOver || !isWorthRepeating(tried, request)) {
      return tried;
    }
    await pause(clock, againMs);
  }
}

/** For a command that shows more than what the leader knows. */
export function hearLeader(fleet: Fleet, { leader }: Placement): Promise<Heard<unknown>> {
  return hear(async () => {
    if (leader === undefined) return errorAnswer("NOT_LEADER", "nobody leads the placement");
    return fleet.ask(leader, { kind: "placement" });
  });
}

export function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.after(ms, resolve));
}

async function tryLeader(
  fleet: Fleet,
  request: LeaderRequest,
): Promise<DeskAnswer | ErrorAnswer | Fault> {
  try {
    const { leader } = await fleet.placement();
    if (leader !== undefined) return await fleet.ask(leader, request);
    return new Fault("NOT_LEADER", "not-done", "nobody leads the placement now");
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
}

/** An order whose fate is unknown is safe to repeat where twice is as good as once. */
function isWorthRepeating({ code, retryable }: ErrorAnswer, { kind }: LeaderRequest): boolean {
  return kind === "rebalance-commit" ? code === "NOT_LEADER" || code === "NOT_READY" : retryable;
}
