/**
 * Whether a message frame continues what this attach has received.
 *
 * Each frame names in `prev` the seq that was sent before it, so that a frame lost
 * on the way to the client shows, and can never be acked over. A frame that was sent
 * before (seq <= last) never changes the chain, whatever its `prev`.
 */
import type { Position } from "../protocol/position.js";

export interface Link {
  readonly generation: number;
  readonly seq: number;
  readonly prev: number;
}

/**
 * - `take`: it is next; the chain's last becomes its seq.
 * - `duplicate`: received before; acknowledge again, since the ack may be what was lost.
 * - `stale`: of an older generation; ignore.
 * - `resend`: something between is missing; ignore, and ask for what follows the last.
 */
export type Verdict = "take" | "duplicate" | "stale" | "resend";

export function judgeLink(last: Position, link: Link): Verdict {
  if (link.generation < last.generation) return "stale";
  // A newer generation begins with an `attached` frame; this one was lost.
  if (link.generation > last.generation) return "resend";
  if (link.seq <= last.seq) return "duplicate";
  return link.prev === last.seq ? "take" : "resend";
}

/** `position` is at or before `reached`, in the same generation. */
export function isCovered(position: Position, reached: Position | undefined): boolean {
  return reached?.generation === position.generation && position.seq <= reached.seq;
}
