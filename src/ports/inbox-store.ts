/**
 * Where inboxes live. One contract suite (test/contract/inbox-store.ts) holds every
 * implementation to what is said here.
 *
 * The unit that one process opens is a group of shards (a volume with the embedded
 * store). Within a group a commit is atomic per shard, ordered with every commit
 * before it, and on disk when its promise resolves. Every write names its shard and
 * epoch; a write below the shard's fence does nothing and is answered FENCED.
 */
import type { Result } from "../base/result.js";
import type { MsgId } from "../protocol/msg-id.js";
import type { Target } from "../protocol/push-command.js";
import type { SessionKey, Shard } from "../protocol/shards.js";

export interface InboxStore {
  readonly groupCount: number;
  groupOf(shard: Shard): number;
  /**
   * Takes the group for this process. A silent holder on this machine is killed
   * first (embedded store), so call it only for a group that placement assigned.
   * Throws Fault("STORE_UNAVAILABLE", "not-done") when it cannot be had.
   */
  openGroup(group: number): Promise<InboxGroup>;
}

export interface InboxGroup {
  /**
   * Where the counters of generations start, above those of every timeline before: the
   * store was restored from a backup. Absent, or 0, in one that never was.
   */
  readonly generationFloor?: number;
  /**
   * Raises the fences of `shards` to `epoch` and the MsgID reservation to
   * `reserveUntilMs`, whichever is later than what is stored. An equal epoch passes for
   * the holder that the fence has (the same owner again), and is FENCED for any other:
   * one epoch was given twice. Answers stand in the order of the requests.
   */
  raise(requests: readonly FenceRequest[]): Promise<readonly FenceAnswer[]>;
  /**
   * Throws Fault("STORE_UNAVAILABLE", "not-done" | "unknown"); one answer per write, in order.
   * A write that names nothing but its fence changes nothing and needs no disk, but is judged by it
   * and answered behind all commits before it: whether it comes back tells a stalled store.
   */
  commit(writes: readonly ShardWrite[]): Promise<readonly CommitAnswer[]>;
  /** What a session was, undefined for one never stored. */
  loadSession(shard: Shard, key: SessionKey): Promise<StoredSession | undefined>;
  /** What stands under a session's key, by names alone: also what does not read. */
  namesOf(shard: Shard, key: SessionKey): Promise<SessionNames>;
  /**
   * Entries with seq above `afterSeq`, ascending, at most `countMax`, and no more
   * once their records pass `bytesMax` (the first is always returned).
   */
  readEntries(
    shard: Shard,
    key: SessionKey,
    afterSeq: number,
    countMax: number,
    bytesMax: number,
  ): Promise<readonly StoredEntry[]>;
  /** Sessions with something due at or before `untilMs`, earliest first, of one time by key. */
  readDue(shard: Shard, untilMs: number, countMax: number): Promise<readonly Due[]>;
  /**
   * Changes numbered above `afterNumber` and above the published one, ascending. Of more than
   * `unpublishedMax` that wait the oldest may be lost: the first number then tells of the gap.
   */
  readChanges(
    shard: Shard,
    afterNumber: number,
    countMax: number,
  ): Promise<readonly NumberedChange[]>;
  /**
   * Sessions that hold entries, ascending by key above `afterKey` ("" for all), at most `countMax`,
   * and no more once their records pass `bytesMax` (the first is always told, whole).
   */
  listSessions(
    shard: Shard,
    afterKey: string,
    countMax: number,
    bytesMax?: number,
  ): Promise<readonly SessionSize[]>;
  /**
   * A copy of the group as it stands after some commit, made beside the ones that go on, in
   * a folder of this machine where a file `permit` holds the text `permit`: who asks can
   * write there. Absent in stores that are copied by their own means. It keeps nobody: `signal`
   * ends it, and so does `close`, with Fault("NOT_READY", "not-done").
   * Throws Fault("STORE_UNAVAILABLE", "not-done").
   */
  backUp?(folder: string, permit: string, signal?: AbortSignal): Promise<void>;
  /** Resolves when all that was committed is on disk and the group is free for others. */
  close(): Promise<void>;
}

/** What a restore tells each shard of its store, so that nothing of a lost timeline counts. */
export interface RestoreMark {
  readonly generationFloor: number;
  /** Fences are raised to it at least: above each epoch given since the backup. */
  readonly epoch: number;
  /** MsgIDs up to here may have been given since the backup. */
  readonly reserveUntilMs: number;
}

/** Changes that a shard's log keeps while they are not published; older ones are lost to it. */
export const unpublishedMax = 16_384;

export interface FenceRequest {
  readonly shard: Shard;
  readonly epoch: number;
  /** Who owns the shard under this epoch, at most 128 bytes; stands with the fence. */
  readonly holder: string;
  readonly reserveUntilMs: number;
}

export type FenceAnswer = Result<Fence, "FENCED"> & { readonly epoch: number };

export interface Fence {
  /** MsgIDs up to here may have been given by the owner before; start above. */
  readonly previousReservedUntilMs: number;
  /** The number of the shard's last change, 0 when there is none. */
  readonly lastChange: number;
  /** The number up to which its changes are published, 0 when none is. */
  readonly publishedChange: number;
}

export interface ShardWrite {
  readonly shard: Shard;
  readonly epoch: number;
  /** Extends the MsgID reservation. */
  readonly reserveUntilMs?: number;
  /** Changes up to here are published, and may be trimmed; a lower one than before does nothing. */
  readonly publishedChange?: number;
  readonly sessions: readonly SessionWrite[];
}

/** All parts of one session's write take effect together; `remove`, then `drop`, then the rest. */
export interface SessionWrite {
  readonly key: SessionKey;
  /**
   * The session's record and its lastSeq go, as if nothing had been stored; entries, keys and
   * due times are to be named by this very write.
   */
  readonly remove?: boolean;
  /** Replaces the stored record. */
  readonly record?: SessionRecord;
  readonly drop?: readonly number[];
  readonly append?: readonly StoredEntry[];
  readonly remember?: readonly IdempotencyKey[];
  readonly forget?: readonly string[];
  readonly addDue?: readonly number[];
  readonly removeDue?: readonly number[];
  /** Numbered by the store in the order given, in the same transaction. */
  readonly changes: readonly Change[];
}

export type CommitAnswer = Result<{ readonly lastChange: number }, "FENCED"> & {
  readonly epoch: number;
};

export interface SessionRecord {
  readonly generation: number;
  /** The highest seq ever given; survives every trim. */
  readonly lastSeq: number;
  readonly devices: readonly DeviceRecord[];
  /** What services were told last of the user; absent is "offline". */
  readonly announced?: Presence;
}

export type Presence = "offline" | "online" | "foreground" | "background";

export interface DeviceRecord {
  readonly id: string;
  readonly platform: string;
  /** The device's connect counter: the highest attach wins. */
  readonly connect: number;
  readonly ackedSeq: number;
  readonly seenAtMs: number;
  /** How often what is above `ackedSeq`, up to `triedSeq`, was sent without being acked; absent is 0. */
  readonly attempts?: number;
  readonly triedSeq?: number;
  /** Messages in a row that were set aside for it, since its last ack; absent is 0. */
  readonly setAside?: number;
}

export interface StoredEntry {
  readonly seq: number;
  readonly id: MsgId;
  readonly expiresAtMs: number;
  readonly collapse?: string;
  readonly target?: Target;
  /** `packRecord`'s bytes. */
  readonly record: Uint8Array;
}

/** What a publisher's idempotency key was answered; forgotten after `untilMs`. */
export interface IdempotencyKey {
  readonly id: string;
  /** Tells another command under the same key. */
  readonly digest: number;
  readonly msgId: MsgId;
  readonly seq: number;
  readonly untilMs: number;
}

export interface StoredSession {
  /** `lastSeq` covers the entries appended since the record was last written. */
  readonly record: SessionRecord;
  /** Ascending by seq, without the records. */
  readonly entries: readonly EntrySummary[];
  readonly keys: readonly IdempotencyKey[];
}

/** Of its entries and of its idempotency keys. */
export interface SessionNames {
  readonly seqs: readonly number[];
  readonly keys: readonly string[];
}

export interface EntrySummary {
  readonly seq: number;
  readonly id: MsgId;
  readonly bytes: number;
  readonly expiresAtMs: number;
  readonly collapse?: string;
  readonly target?: Target;
}

export interface Due {
  readonly atMs: number;
  readonly key: SessionKey;
}

/** `ids` are those of the messages concerned, where somebody wants to be told of them. */
export type Change =
  | { readonly kind: "stored"; readonly seq: number; readonly id: MsgId }
  /** The device's cursor stands at `seq`. */
  | {
      readonly kind: "acked";
      readonly device: string;
      readonly seq: number;
      readonly ids?: readonly MsgId[];
    }
  | {
      readonly kind: "dropped";
      readonly seqs: readonly number[];
      readonly reason: DropReason;
      readonly ids?: readonly MsgId[];
    }
  | { readonly kind: "device-added"; readonly device: string; readonly platform: string }
  | { readonly kind: "device-removed"; readonly device: string; readonly reason: string }
  | { readonly kind: "announced"; readonly presence: Presence }
  /** A person opened the message on this device, by its client's word. */
  | { readonly kind: "opened"; readonly device: string; readonly id: MsgId }
  /** The user was erased: nothing of before is to be kept anywhere. */
  | { readonly kind: "erased" };

/**
 * `set-aside`: sent too often without an ack. `bound`: the inbox was full. `abandoned`: the
 * devices that had not acked it are gone.
 */
export type DropReason =
  | "acked"
  | "expired"
  | "collapsed"
  | "bound"
  | "set-aside"
  | "recalled"
  | "abandoned";

export interface SessionSize {
  readonly key: SessionKey;
  readonly messages: number;
  /** Of their records. */
  readonly bytes: number;
}

export interface NumberedChange {
  readonly number: number;
  readonly key: SessionKey;
  readonly change: Change;
}
