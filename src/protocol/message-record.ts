/**
 * A message as it lies in the inbox and travels to the edge: three msgpack values
 * one after the other, `id` `head` `body`. They are encoded once, where the push
 * is accepted; the edge puts them behind a frame's first fields unread.
 */

import { concatBytes, packValue, unpackValues } from "./codec.js";
import type { MsgId } from "./msg-id.js";
import type { Kind, Notification, Pull, PushCommand } from "./push-command.js";

/** What a client is told beside the body; absent fields are left out, nil when there are none. */
export interface MessageHead {
  readonly type?: string;
  readonly kind?: Kind;
  readonly notification?: Notification;
  readonly enc?: string;
  readonly pull?: Pull;
  readonly expiresAtMs?: number;
}

const nil = packValue(null);

export function packRecord(id: MsgId, command: PushCommand, expiresAtMs?: number): Uint8Array {
  return concatBytes([packValue(id), packHead(command, expiresAtMs), command.body]);
}

export function unpackRecord(record: Uint8Array): {
  id: MsgId;
  head: MessageHead | null;
  body: unknown;
} {
  const [id, head, body] = unpackValues(record);
  return { id: id as MsgId, head: (head ?? null) as MessageHead | null, body };
}

function packHead(command: PushCommand, expiresAtMs: number | undefined): Uint8Array {
  const { type, kind, notification, enc, pull } = command;
  const plain = kind === "transparent";
  if (plain && !type && !notification && !enc && !pull && expiresAtMs === undefined) return nil;
  return packValue({
    ...(type === undefined ? {} : { type }),
    ...(plain ? {} : { kind }),
    ...(notification === undefined ? {} : { notification }),
    ...(enc === undefined ? {} : { enc }),
    ...(pull === undefined ? {} : { pull }),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
  });
}
