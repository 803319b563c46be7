/** A message as the app gets it. */
import type { MessageHead } from "../protocol/message-record.js";
import { decodeMsgId } from "../protocol/msg-id.js";
import type { Position } from "../protocol/position.js";

export interface DeviceMessage {
  /** MsgID: the same message has the same id on every channel and after every reconnect. */
  readonly id: string;
  /** Where it stands in the user's session; absent for at-most-once messages. */
  readonly position?: Position;
  /** When the platform accepted it, in milliseconds since the Unix epoch. */
  readonly acceptedAtMs?: number;
  /** `type`, `kind`, `notification`, `enc`, `pull`, `expiresAtMs`; absent ones were not sent. */
  readonly head: MessageHead;
  /** What the service sent; binary arrives as Uint8Array. */
  readonly body: unknown;
}

export function deviceMessage(
  fields: { readonly id: string; readonly head: MessageHead; readonly body: unknown },
  position?: Position,
): DeviceMessage {
  const { id, head, body } = fields;
  const acceptedAtMs = decodeMsgId(id)?.timeMs;
  return {
    id,
    head,
    body,
    ...(position === undefined ? {} : { position }),
    ...(acceptedAtMs === undefined ? {} : { acceptedAtMs }),
  };
}
