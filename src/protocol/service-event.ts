/**
 * What services are told of messages and users (docs/api.md, Events): the payload of an
 * event, who wants which, and the id under which a repeated one is known.
 */
import type { AppEvents } from "./app-settings.js";
import type { MsgId } from "./msg-id.js";
import type { Shard } from "./shards.js";

export const eventVersion = 1;

/** What becomes of a stored message; `bound`: the inbox was full, and it had to make room. */
export const receiptKinds = [
  "stored",
  "acked",
  "expired",
  "collapsed",
  "bound",
  "undeliverable",
  "recalled",
  "opened",
] as const;

export type ReceiptKind = (typeof receiptKinds)[number];
export type PresenceKind = "online" | "offline" | "foreground" | "background";

export interface ServiceEvent {
  readonly v: number;
  readonly kind: ReceiptKind | PresenceKind;
  /** Of the message; absent in presence events. */
  readonly id?: MsgId;
  readonly app: string;
  readonly uid: string;
  /** Which of the user's devices acked, or on which it was opened. */
  readonly device?: string;
  readonly seq?: number;
  /** When it was made of the change, by the clock of the node that published it. */
  readonly atMs: number;
  readonly shard: Shard;
  /** Of the owner that published it. */
  readonly epoch: number;
  /** The number of the change in the shard's log: it orders the shard's events. */
  readonly n: number;
  /** Of several events of one change. */
  readonly index: number;
}

export function wantsReceipt({ receipts }: AppEvents, kind: ReceiptKind): boolean {
  return typeof receipts === "object" ? receipts.includes(kind) : receipts === true;
}

/**
 * The same for every owner of the shard, so that the log knows a repeated one. A restored
 * store (its `floor` of generations) numbers its changes as the lost timeline did.
 */
export function eventId(idc: string, shard: Shard, n: number, index: number, floor = 0): string {
  return floor === 0 ? `${idc}-${shard}-${n}-${index}` : `${idc}-${shard}-${n}-${index}-${floor}`;
}

export function encodeEvent(event: ServiceEvent): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(event));
}
