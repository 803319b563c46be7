/**
 * The codes a service may get as the answer to a push, and an operator to a
 * request. `retryable` says that the same request may succeed later unchanged.
 * Every entry is documented in docs/api.md; a test holds the two together.
 */
export const errorTable = {
  BAD_ENCODING: { retryable: false, meaning: "the bytes are neither a JSON nor a msgpack map" },
  BAD_COMMAND: { retryable: false, meaning: "a field is missing or of the wrong type or range" },
  BAD_UID: { retryable: false, meaning: "the uid is empty, too long or not canonically encoded" },
  BODY_TOO_LARGE: { retryable: false, meaning: "the body is above 64 KiB encoded" },
  UNKNOWN_APP: { retryable: false, meaning: "no app of this name is registered" },
  UNSUPPORTED: { retryable: false, meaning: "a kind, value or version this node does not know" },
  WRONG_SHARD: { retryable: false, meaning: "the subject names a shard the user is not in" },
  KEY_REUSED: { retryable: false, meaning: "the idempotency key came with another command" },
  KEYS_FULL: { retryable: true, meaning: "the memory of idempotency keys is at its bound" },
  RATE_LIMITED: {
    retryable: true,
    meaning: "the app or the user is pushed to faster than it may be",
  },
  QUOTA_EXCEEDED: { retryable: true, meaning: "the app has as much stored as it may" },
  INBOX_FULL: { retryable: true, meaning: "the user's inbox is at its bound" },
  USER_UNREADABLE: {
    retryable: true,
    meaning: "what is stored of this user does not read; nothing was stored",
  },
  OVERLOADED: { retryable: true, meaning: "a queue on the way is full" },
  NOT_READY: { retryable: true, meaning: "the shard is being taken over" },
  STORE_UNAVAILABLE: { retryable: true, meaning: "the store did not confirm; the fate is unknown" },
  LANE_UNKNOWN: { retryable: false, meaning: "no stream takes what is published on this lane" },
  LANE_FULL: { retryable: true, meaning: "the lane's stream is at its bound" },
  NOT_FOUND: { retryable: false, meaning: "what was asked for does not exist" },
  NOT_LEADER: { retryable: true, meaning: "this node does not lead the placement; ask who does" },
  LAST_NODE: { retryable: false, meaning: "no other node would be left to take what this one has" },
  PLAN_UNKNOWN: { retryable: false, meaning: "the leader knows no plan of this id" },
  PLAN_OUTDATED: { retryable: false, meaning: "the placement has changed since the plan was made" },
  CONFLICT: { retryable: true, meaning: "somebody else changed it first; read again" },
  TIMEOUT: { retryable: true, meaning: "no answer within the deadline; the fate is unknown" },
  INTERNAL: { retryable: true, meaning: "an error of ours; it is in the log" },
} as const;

export type ErrorCode = keyof typeof errorTable;

export interface ErrorAnswer {
  readonly ok: false;
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  /** Before that it would be refused again. */
  readonly retryAfterMs?: number;
}

export function errorAnswer(code: ErrorCode, message?: string, retryAfterMs?: number): ErrorAnswer {
  const { retryable, meaning } = errorTable[code];
  const answer = { ok: false, code, message: message ?? meaning, retryable } as const;
  return retryAfterMs === undefined ? answer : { ...answer, retryAfterMs };
}
