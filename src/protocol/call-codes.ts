/**
 * Why the platform gives a client's call no answer: codes of the frame `answer`, beside those
 * that services give. `outcome` says what the caller may believe of what the call was for.
 * Every entry is documented in docs/protocol.md; a test holds the two together.
 */
export const callCodes = {
  NO_SERVICE: { outcome: "not-done", meaning: "no service takes calls of this route now" },
  NOT_ALLOWED: { outcome: "refused", meaning: "the token does not name this route" },
  TOO_LARGE: { outcome: "not-done", meaning: "the call is larger than the bus takes" },
  OVERLOADED: { outcome: "not-done", meaning: "too many calls are under way" },
  UNAVAILABLE: { outcome: "not-done", meaning: "the edge cannot reach services now" },
  TIMEOUT: { outcome: "unknown", meaning: "no answer by the call's deadline" },
  ANSWER_LOST: { outcome: "unknown", meaning: "the edge lost its way to services meanwhile" },
  ANSWER_TOO_LARGE: {
    outcome: "unknown",
    meaning: "the answer is above 256 KiB, or above what waits to be sent to this client already",
  },
  BAD_ANSWER: { outcome: "unknown", meaning: "what the service answered does not read" },
} as const;

export type CallCode = keyof typeof callCodes;
export type CallOutcome = "not-done" | "unknown" | "refused";

/** A code that is none of the platform's is the service's own: it refused. */
export function outcomeOf(code: string): CallOutcome {
  return Object.hasOwn(callCodes, code) ? callCodes[code as CallCode].outcome : "refused";
}
