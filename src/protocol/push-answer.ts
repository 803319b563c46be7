/** What a push request is answered with, in the encoding of the command. */
import { packValue } from "./codec.js";
import type { ErrorAnswer } from "./errors.js";
import type { MsgId } from "./msg-id.js";
import type { Encoding } from "./push-command.js";

export interface PushAccepted {
  readonly ok: true;
  readonly id: MsgId;
  /** Position in the user's session; 0 for an at-most-once message, which has none. */
  readonly seq: number;
  /** The answer was given before, to the same idempotency key. */
  readonly duplicate?: true;
}

export type PushAnswer = PushAccepted | ErrorAnswer;

export function pushAccepted(id: MsgId, seq: number, isDuplicate: boolean): PushAccepted {
  return isDuplicate ? { ok: true, id, seq, duplicate: true } : { ok: true, id, seq };
}

export function encodeAnswer(answer: { readonly ok: boolean }, encoding: Encoding): Uint8Array {
  return encoding === "json" ? new TextEncoder().encode(JSON.stringify(answer)) : packValue(answer);
}
