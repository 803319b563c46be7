/** Which events a change of the log makes, for an app with these wishes. Pure. */
import type { Change, DropReason } from "../src/ports/inbox-store.js";
import type { AppEvents } from "../src/protocol/app-settings.js";
import type { MsgId } from "../src/protocol/msg-id.js";
import {
  type PresenceKind,
  type ReceiptKind,
  wantsReceipt,
} from "../src/protocol/service-event.js";
import type { SessionKey } from "../src/protocol/shards.js";
import { presenceSubject, receiptSubject } from "../src/protocol/subjects.js";

/** What an event says, but for what tells it from all others of its shard. */
export interface EventDraft {
  readonly subject: string;
  readonly kind: ReceiptKind | PresenceKind;
  readonly id?: MsgId;
  readonly device?: string;
  readonly seq?: number;
}

/** An entry that all must have acked went without a word: each ack was told by itself. */
const receiptOfDrop: Readonly<Record<DropReason, ReceiptKind | undefined>> = {
  acked: undefined,
  expired: "expired",
  collapsed: "collapsed",
  bound: "bound",
  "set-aside": "undeliverable",
  abandoned: "undeliverable",
  recalled: "recalled",
};

export function receiptOf(reason: DropReason): ReceiptKind | undefined {
  return receiptOfDrop[reason];
}

/** How many `eventsOf` would make, without making them. */
export function countEvents(change: Change, wishes: AppEvents): number {
  switch (change.kind) {
    case "stored":
      return wantsReceipt(wishes, "stored") ? 1 : 0;
    case "acked":
      return wantsReceipt(wishes, "acked") ? (change.ids?.length ?? 0) : 0;
    case "dropped": {
      const receipt = receiptOf(change.reason);
      const isWanted = receipt !== undefined && wantsReceipt(wishes, receipt);
      return isWanted ? (change.ids?.length ?? 0) : 0;
    }
    case "announced":
      return wishes.presence === true ? 1 : 0;
    case "opened":
      return wantsReceipt(wishes, "opened") ? 1 : 0;
    default:
      return 0;
  }
}

/** The event at `index` of those that the change makes; undefined past the last. */
export function eventAt(
  key: SessionKey,
  change: Change,
  wishes: AppEvents,
  index: number,
): EventDraft | undefined {
  if (index >= countEvents(change, wishes)) return undefined;
  switch (change.kind) {
    case "stored": {
      const { id, seq } = change;
      return { subject: receiptSubject(key, id), kind: "stored", id, seq };
    }
    case "acked": {
      const id = change.ids?.[index] as MsgId;
      return { subject: receiptSubject(key, id), kind: "acked", id, device: change.device };
    }
    case "dropped": {
      const id = change.ids?.[index] as MsgId;
      const kind = receiptOf(change.reason) as ReceiptKind;
      const seq = change.seqs[index];
      const draft = { subject: receiptSubject(key, id), kind, id };
      return seq === undefined ? draft : { ...draft, seq };
    }
    case "announced":
      return { subject: presenceSubject(key, change.presence), kind: change.presence };
    case "opened": {
      const { id, device } = change;
      return { subject: receiptSubject(key, id), kind: "opened", id, device };
    }
    default:
      return undefined;
  }
}
