/** What a request to a user's inbox is answered, in the encoding it came in. */
import type { ErrorAnswer } from "./errors.js";
import type { MsgId } from "./msg-id.js";
import type { Target } from "./push-command.js";

export interface InboxEntry {
  readonly id: MsgId;
  readonly seq: number;
  /** As it is stored. */
  readonly bytes: number;
  readonly expiresAtMs: number;
  readonly collapse?: string;
  readonly target?: Target;
  /** Absent also where the answer would have had to read too much for it. */
  readonly type?: string;
}

export interface InboxDevice {
  readonly id: string;
  readonly platform: string;
  /** Its cursor: the seq up to which it needs nothing any more. */
  readonly acked: number;
  /** Of what waits, how much is for it and above its cursor. */
  readonly unacked: number;
  /** How often what it was sent last was sent without an ack. */
  readonly attempts: number;
  /** Messages in a row that were set aside for it. */
  readonly setAside: number;
  /** So many were that it is sent nothing more until it acks. */
  readonly stalled: boolean;
  readonly seenAtMs: number;
  readonly connected: boolean;
}

export interface InboxListed {
  readonly ok: true;
  readonly generation: number;
  readonly lastSeq: number;
  /** All that wait, also those that are not in `entries`. */
  readonly messages: number;
  readonly bytes: number;
  readonly entries: readonly InboxEntry[];
  /** More wait above the last of `entries`: list again `after` it. */
  readonly more: boolean;
  readonly devices: readonly InboxDevice[];
  readonly presence: "connected" | "away" | "unknown";
}

export interface InboxRecalled {
  readonly ok: true;
  /** Taken out of the inbox; empty when nothing of it waits any more. */
  readonly recalled: readonly MsgId[];
}

export interface InboxErased {
  readonly ok: true;
  /** Messages and devices that were there. */
  readonly messages: number;
  readonly devices: number;
}

export type InboxAnswer = InboxListed | InboxRecalled | InboxErased | ErrorAnswer;
