/** A service's push as it goes onto the bus, checked as the platform would check it. */
import { packValue } from "../protocol/codec.js";
import { type ErrorAnswer, errorAnswer } from "../protocol/errors.js";
import {
  decodePushCommand,
  type Fallback,
  type Kind,
  type Notification,
  type Priority,
  type Pull,
  type Target,
} from "../protocol/push-command.js";
import { encodeToken, uidTokenBytesMax } from "../protocol/tokens.js";

/** A push command; fields, bounds and defaults are in docs/api.md. */
export interface Push {
  /** Anything msgpack can carry, bytes too; at most 64 KiB encoded. */
  readonly body?: unknown;
  /** Idempotency key, at most 64 bytes, good for 10 minutes. */
  readonly id?: string;
  readonly qos?: 0 | 1;
  /** Seconds, at most 30 days. */
  readonly ttl?: number;
  readonly collapse?: string;
  readonly type?: string;
  readonly target?: Target;
  readonly pull?: Pull;
  readonly enc?: string;
  readonly kind?: Kind;
  readonly notification?: Notification;
  readonly fallback?: Fallback | false;
  readonly priority?: Priority;
}

/** The bytes, or the refusal that they would get. */
export function encodePush(uid: string, push: Push): Uint8Array | ErrorAnswer {
  if (isBadUid(uid)) return errorAnswer("BAD_UID");
  const given = Object.entries(push).filter(([, value]) => value !== undefined);
  let payload: Uint8Array;
  try {
    payload = packValue(Object.fromEntries(given));
  } catch (cause) {
    return errorAnswer("BAD_COMMAND", `the push cannot be encoded: ${String(cause)}`);
  }
  const read = decodePushCommand(payload);
  return read.ok ? payload : errorAnswer(read.code, read.message);
}

export function isBadUid(uid: string): boolean {
  return uid === "" || encodeToken(uid).length > uidTokenBytesMax;
}
