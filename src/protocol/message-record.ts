/**
 * A message as it lies in the inbox and travels to the edge: three msgpack values
 * one after the other, `id` `head` `body`. They are encoded once, where the push
 * is accepted; the edge puts them behind a frame's first fields unread.
 */
import { packValue, unpackValues } from "./codec.js";
import type { MsgId } from "./msg-id.js";
import type { Kind, Notification, Pull, PushCommand } from "./push-command.js";

/** What a client is told beside the body; absent fields are left out, nil when there are none. */
export interface MessageHead {
  readonly type?: string;
  readonly kind?: Kind;
  readonly notification?: Notification;
  readonly enc?: string;
  readonly pull?: Pull;
}

const nil = packValue(null);
/** msgpack's header of a text that is shorter than 32 bytes, its length in the low bits. */
const shortText = 0xa0;

/** Into bytes of its own, by one allocation: it is done for every push, and they stay. */
export function packRecord(id: MsgId, command: PushCommand): Uint8Array {
  const head = packHead(command);
  const { body } = command;
  const headAt = 1 + id.length;
  const record = new Uint8Array(headAt + head.length + body.length);
  record[0] = shortText | id.length;
  // A MsgID is 16 characters of ASCII.
  for (let at = 0; at < id.length; at++) record[at + 1] = id.charCodeAt(at);
  record.set(head, headAt);
  record.set(body, headAt + head.length);
  return record;
}

/** Without decoding the rest. */
export function msgIdOfRecord(record: Uint8Array): MsgId {
  return String.fromCharCode(...record.subarray(1, 17)) as MsgId;
}

export function unpackRecord(record: Uint8Array): {
  id: MsgId;
  head: MessageHead | null;
  body: unknown;
} {
  const [id, head, body] = unpackValues(record);
  return { id: id as MsgId, head: (head ?? null) as MessageHead | null, body };
}

function packHead(command: PushCommand): Uint8Array {
  const { type, kind, notification, enc, pull } = command;
  const plain = kind === "transparent";
  if (plain && !type && !notification && !enc && !pull) return nil;
  return packValue({
    ...(type === undefined ? {} : { type }),
    ...(plain ? {} : { kind }),
    ...(notification === undefined ? {} : { notification }),
    ...(enc === undefined ? {} : { enc }),
    ...(pull === undefined ? {} : { pull }),
  });
}
