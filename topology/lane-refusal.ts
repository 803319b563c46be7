/**
 * What becomes of a push of a lane that was refused: it is tried again later, or given up
 * for the dead letters. Pure.
 *
 * A refusal that concerns this user or app alone sets the user apart: others go on, and
 * the lane gives more than what is held back. One of the platform's holds all alike.
 */
import type { ErrorAnswer, ErrorCode } from "../src/protocol/errors.js";

export interface LaneRetryRules {
  /** The first pause, doubled with each refusal up to `retryMsMax`; a `retryAfterMs` is kept. */
  readonly retryMs: number;
  readonly retryMsMax: number;
  /** So long is a push refused with one of these before it is given up. */
  readonly holdMs: Readonly<Partial<Record<ErrorCode, number>>>;
  /** With any other, and with all of them together. */
  readonly holdMsMax: number;
}

export interface LaneRefusal {
  readonly refusal: ErrorAnswer;
  /** Refusals of this push, this one included. */
  readonly attempts: number;
  /** Since the lane gave it. */
  readonly waitedMs: number;
  /** Of that, refused with this code and no other. */
  readonly sameCodeMs: number;
  /** What is held back leaves no place for others. */
  readonly isCrowded: boolean;
  /** The lane is one app's own: what refuses the app holds up nobody else in it. */
  readonly isOwnLane: boolean;
}

export type AfterRefusal =
  | { readonly kind: "bury" }
  | { readonly kind: "retry"; readonly delayMs: number; readonly isApart: boolean };

const ofTheUser: readonly ErrorCode[] = ["INBOX_FULL", "KEYS_FULL", "USER_UNREADABLE"];
const ofTheApp: readonly ErrorCode[] = ["QUOTA_EXCEEDED", "RATE_LIMITED", "UNKNOWN_APP"];

/** `chance`: from 0 to below 1. */
export function afterRefusal(
  { refusal, attempts, waitedMs, sameCodeMs, isCrowded, isOwnLane }: LaneRefusal,
  { retryMs, retryMsMax, holdMs, holdMsMax }: LaneRetryRules,
  chance: number,
): AfterRefusal {
  const { code, retryable, retryAfterMs = 0 } = refusal;
  // A record may come later than the first push of its app.
  if (!retryable && code !== "UNKNOWN_APP") return { kind: "bury" };
  if (waitedMs >= holdMsMax || sameCodeMs >= (holdMs[code] ?? holdMsMax)) return { kind: "bury" };
  const isOfTheApp = ofTheApp.includes(code);
  const isApart = isOfTheApp || ofTheUser.includes(code);
  const isInTheWay = isApart && !(isOfTheApp && isOwnLane);
  if (isCrowded && isInTheWay) return { kind: "bury" };
  const backoffMs = Math.min(retryMsMax, retryMs * 2 ** Math.min(attempts - 1, 20));
  const delayMs = Math.max(retryAfterMs, backoffMs * (0.5 + chance / 2));
  return { kind: "retry", delayMs, isApart };
}
