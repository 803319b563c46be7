/**
 * What one session wants stored next. The session adds to it until its shard group
 * takes it into a commit; it learns by `Committed` that all of it is on disk, and
 * only then answers and delivers.
 */

import type {
  Change,
  IdempotencyKey,
  SessionRecord,
  SessionWrite,
  StoredEntry,
} from "../src/ports/inbox-store.js";
import type { InboxAnswer } from "../src/protocol/inbox-answer.js";
import type { ConnectionRef, ReplyTo } from "../src/protocol/messages.js";
import type { MsgId } from "../src/protocol/msg-id.js";
import type { Target } from "../src/protocol/push-command.js";
import type { ReceiptKind } from "../src/protocol/service-event.js";
import type { SessionKey, Shard } from "../src/protocol/shards.js";

/** A push whose answer waits for the commit. */
export interface AwaitingAnswer {
  readonly reply: ReplyTo | undefined;
  readonly id: MsgId;
  readonly seq: number;
  readonly isDuplicate: boolean;
}

export interface ServiceReply {
  readonly reply: ReplyTo | undefined;
  readonly answer: InboxAnswer;
}

/** A session as its writes know it. */
export interface WriteAuthor {
  toRecord(): SessionRecord;
  /** Whether its app's services are told: then changes name the messages. */
  wantsReceipt(kind: ReceiptKind): boolean;
  /** The write is on disk; reaches the session also when it was restarted since. */
  committed(write: PendingWrite): void;
}

export class PendingWrite implements SessionWrite {
  /** What comes later goes into the next write. */
  isTaken = false;
  /** The session's record is to be written, as it stands when the write is taken. */
  isRecordDue = false;
  record?: SessionRecord;
  /** The user is erased by this very write, which says nothing else. */
  remove?: boolean;
  readonly drop: number[] = [];
  readonly append: StoredEntry[] = [];
  readonly remember: IdempotencyKey[] = [];
  readonly forget: string[] = [];
  readonly addDue: number[] = [];
  readonly removeDue: number[] = [];
  readonly changes: Change[] = [];
  readonly answers: AwaitingAnswer[] = [];
  /** What the inbox holds more by this write; below 0 when it holds less. */
  bytesAdded = 0;
  messagesAdded = 0;
  /** What services asked of the inbox, and what they are told when this is on disk. */
  readonly replies: ServiceReply[] = [];
  /** Taken back: devices that are connected are told when this is on disk. */
  readonly recalled: { id: MsgId; target: Target | undefined }[] = [];
  /** Connections of a user who is erased, closed when this is on disk. */
  closes?: readonly ConnectionRef[];
  /** At-most-once messages that had to wait for a MsgID reservation or their key. */
  readonly passing: { record: Uint8Array; target: Target | undefined }[] = [];

  constructor(
    /** The instance that made it: a restarted session is another. */
    readonly author: WriteAuthor,
    readonly shard: Shard,
    readonly key: SessionKey,
  ) {}

  /** Into a commit: everything that the session wanted up to now, and nothing later. */
  take(): void {
    this.isTaken = true;
    if (this.isRecordDue) this.record = this.author.toRecord();
  }
}

/** To the session: `write` is on disk. */
export interface Committed {
  readonly kind: "Committed";
  readonly write: PendingWrite;
}
