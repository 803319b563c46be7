/** Reads what a node answered: JSON from a process that may be of another version. */
import { Fault } from "../base/result.js";
import { isMap } from "../protocol/codec.js";
import { type ErrorAnswer, type ErrorCode, errorTable } from "../protocol/errors.js";
import type { InboxAnswer } from "../protocol/inbox-answer.js";
import type { DeskAnswer } from "../protocol/operator-desk.js";
import type { PushAnswer } from "../protocol/push-answer.js";

/** Throws Fault("BAD_ANSWER", "unknown") for what is no answer. */
export function decodeDeskAnswer(bytes: Uint8Array): DeskAnswer | ErrorAnswer {
  const answer = readAnswer(bytes);
  return answer.ok === true ? { ok: true, value: answer.value } : errorOf(answer);
}

/** Throws Fault("BAD_ANSWER", "unknown") for what is no answer. */
export function decodePushAnswer(bytes: Uint8Array): PushAnswer {
  const answer = readAnswer(bytes);
  return answer.ok === true ? (answer as unknown as PushAnswer) : errorOf(answer);
}

/** Throws Fault("BAD_ANSWER", "unknown") for what is no answer. */
export function decodeInboxAnswer(bytes: Uint8Array): InboxAnswer {
  const answer = readAnswer(bytes);
  return answer.ok === true ? (answer as unknown as InboxAnswer) : errorOf(answer);
}

function readAnswer(bytes: Uint8Array): Record<string, unknown> {
  let answer: unknown;
  try {
    answer = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    answer = undefined;
  }
  if (isMap(answer) && typeof answer.ok === "boolean") return answer;
  throw new Fault("BAD_ANSWER", "unknown", "the answer does not decode; is it of this version?");
}

/** A later platform may have codes that this command does not know. */
function errorOf({ code, message, retryable }: Record<string, unknown>): ErrorAnswer {
  const known = typeof code === "string" && code in errorTable;
  const fallback = known && errorTable[code as ErrorCode].retryable;
  return {
    ok: false,
    code: String(code) as ErrorCode,
    message: String(message),
    retryable: typeof retryable === "boolean" ? retryable : fallback,
  };
}
