/**
 * What one user has waiting: seqs given, entries not yet let go, idempotency keys.
 * Every change goes into the session's pending write; nothing here knows of devices
 * but how far they have acked.
 *
 * Invariant: entries are ascending by seq, and lastSeq is at least the last one's.
 */

import type {
  DropReason,
  EntrySummary,
  IdempotencyKey,
  StoredEntry,
  StoredSession,
} from "../src/ports/inbox-store.js";
import { packRecord } from "../src/protocol/message-record.js";
import type { LaneOrigin } from "../src/protocol/messages.js";
import type { MsgId } from "../src/protocol/msg-id.js";
import {
  counterAt,
  generationFrom,
  makeGeneration,
  type Position,
  randomCounters,
} from "../src/protocol/position.js";
import type { PushCommand, Target } from "../src/protocol/push-command.js";
import { receiptOf } from "./change-events.js";
import type { Device } from "./device.js";
import type { InboxPolicy } from "./inbox-policy.js";
import {
  type AckedRange,
  abandonedEntries,
  ackedEntries,
  type DeliveryPolicy,
  dueBucketMs,
} from "./inbox-rules.js";
import { digestOf, KeyMemory } from "./key-memory.js";
import { isLaneMark, LaneMarks } from "./lane-marks.js";
import type { Limits } from "./limits.js";
import type { NodeContext } from "./node-context.js";
import type { PendingWrite } from "./pending-write.js";

type Draft<Fields> = { -readonly [Field in keyof Fields]: Fields[Field] };

const noEntries: readonly EntrySummary[] = [];

export class Inbox {
  readonly generation: number;
  lastSeq: number;
  /** Up to here everything given is on disk, or gone again. */
  committedSeq: number;
  /** Also what is not on disk yet. */
  private kept: EntrySummary[] | undefined;
  private bytes: number;
  private keys: KeyMemory | undefined;
  private lanes: LaneMarks | undefined;
  private lastDueMs = 0;

  /**
   * `generationFloor`: the store's. Where nothing is stored the generation is a new one: a
   * client may hold positions of a store that was lost, and they must not count as acks here.
   */
  constructor(
    stored: StoredSession | undefined,
    node: Pick<NodeContext, "idcNumber" | "random" | "clock">,
    generationFloor: number,
    /** What the user was before an erasure: its positions must not count as acks either. */
    erased?: Inbox,
  ) {
    // Keys alone were stored: no generation was.
    this.generation =
      stored === undefined || stored.record.generation === 0
        ? erased === undefined
          ? firstGeneration(node, generationFloor)
          : erased.generation + 1
        : generationFrom(stored.record.generation, generationFloor, node.idcNumber);
    this.lastSeq = stored?.record.lastSeq ?? 0;
    this.committedSeq = this.lastSeq;
    this.kept = stored === undefined ? undefined : [...stored.entries];
    this.bytes = this.entries.reduce((sum, entry) => sum + entry.bytes, 0);
    const marks = stored?.keys.filter(isLaneMark) ?? [];
    const keys = stored?.keys.filter((key) => !isLaneMark(key)) ?? [];
    this.keys = keys.length > 0 ? new KeyMemory(keys) : undefined;
    this.lanes = erased?.lanes ?? (marks.length > 0 ? new LaneMarks(marks) : undefined);
  }

  /** Nothing is kept of an empty one: most are. */
  private get entries(): readonly EntrySummary[] {
    return this.kept ?? noEntries;
  }

  get size(): { readonly messages: number; readonly bytes: number } {
    return { messages: this.entries.length, bytes: this.bytes };
  }

  get summaries(): readonly EntrySummary[] {
    return this.entries;
  }

  isFull({ messagesMax, bytesMax }: InboxPolicy): boolean {
    return this.entries.length >= messagesMax || this.bytes >= bytesMax;
  }

  /** The oldest leave until one more may come. Returns how many. */
  makeRoom({ messagesMax, bytesMax }: InboxPolicy, write: PendingWrite): number {
    let count = 0;
    let bytes = this.bytes;
    for (const entry of this.entries) {
      if (this.entries.length - count < messagesMax && bytes < bytesMax) break;
      bytes -= entry.bytes;
      count++;
    }
    this.drop(this.entries.slice(0, count), "bound", write);
    return count;
  }

  /** Takes back what is named; what is gone already stays gone. Returns what left. */
  recall(
    which: { readonly id: MsgId } | { readonly collapse: string },
    write: () => PendingWrite,
  ): readonly EntrySummary[] {
    const recalled = this.entries.filter((entry) =>
      "id" in which ? entry.id === which.id : entry.collapse === which.collapse,
    );
    if (recalled.length > 0) this.drop(recalled, "recalled", write());
    return recalled;
  }

  /** Names all that is stored of the user as gone; `dueMs`: the due times in the store. */
  erase(dueMs: readonly number[], write: PendingWrite): void {
    write.remove = true;
    write.drop.push(...this.entries.map((entry) => entry.seq));
    // Marks of lanes stay: they have no content, and without them an ack that was lost brings
    // an erased message back.
    write.forget.push(...(this.keys?.ids ?? []));
    write.removeDue.push(...dueMs);
    write.bytesAdded -= this.bytes;
    write.messagesAdded -= this.entries.length;
    write.changes.push({ kind: "erased" });
  }

  areKeysFull(limits: Limits): boolean {
    return this.keys?.isFull(limits.keysMax) ?? false;
  }

  /** Of this generation, and not above what is on disk. */
  covers(position: Position): boolean {
    return position.generation === this.generation && position.seq <= this.committedSeq;
  }

  /** Gives the command its seq and puts it into the write. */
  append(command: PushCommand, id: MsgId, wallMs: number, write: PendingWrite): StoredEntry {
    const { collapse, target } = command;
    if (collapse !== undefined) this.drop(this.replacedBy(collapse, target), "collapsed", write);
    const ttlMs = command.ttlSeconds * 1_000;
    const seq = ++this.lastSeq;
    const expiresAtMs = wallMs + ttlMs;
    const record = packRecord(id, command);
    // Of every push: spreads would cost more than all else here.
    const entry: Draft<StoredEntry> = { seq, id, expiresAtMs, record };
    const summary: Draft<EntrySummary> = { seq, id, expiresAtMs, bytes: record.length };
    if (collapse !== undefined) {
      entry.collapse = collapse;
      summary.collapse = collapse;
    }
    if (target !== undefined) {
      entry.target = target;
      summary.target = target;
    }
    this.kept ??= [];
    this.kept.push(summary);
    this.bytes += record.length;
    write.append.push(entry);
    write.bytesAdded += record.length;
    write.messagesAdded++;
    write.changes.push({ kind: "stored", seq, id });
    this.noteDue(expiresAtMs, ttlMs, write);
    return entry;
  }

  findKey(id: string, wallMs: number): IdempotencyKey | undefined {
    return this.keys?.find(id, wallMs);
  }

  /** Remembers what a keyed command was answered; nothing for one without a key. */
  rememberKey(
    command: PushCommand,
    answered: { readonly msgId: MsgId; readonly seq: number },
    wallMs: number,
    windowMs: number,
    write: PendingWrite,
  ): void {
    if (command.id === undefined) return;
    this.keys ??= new KeyMemory([]);
    const key = {
      id: command.id,
      digest: digestOf(command),
      untilMs: wallMs + windowMs,
      ...answered,
    };
    write.remember.push(key);
    write.forget.push(...this.keys.remember(key, wallMs));
    this.noteDue(key.untilMs, windowMs, write);
  }

  /** What a message of a lane was given as, or one after it, if it was taken before. */
  takenFromLane(origin: LaneOrigin | undefined): MsgId | undefined {
    return origin && this.lanes?.taken(origin);
  }

  /** The mark is written with what was taken; nothing for what came by no lane. */
  noteLane(origin: LaneOrigin | undefined, id: MsgId, write: PendingWrite): void {
    if (origin === undefined) return;
    this.lanes ??= new LaneMarks([]);
    const mark = this.lanes.note(origin, id);
    write.remember.push(mark);
    const dueMs = this.lanes.nextDue(mark);
    if (dueMs !== undefined) write.addDue.push(dueMs);
  }

  /** Lets go what `device` acked just now, and nobody else must. */
  trim(
    devices: readonly Device[],
    device: Device,
    range: AckedRange,
    policy: DeliveryPolicy,
    write: PendingWrite,
  ): void {
    this.drop(ackedEntries(this.entries, devices, device, range, policy), "acked", write);
  }

  /** Ids of what `device` was sent above `fromSeq`, up to `toSeq`. */
  sentIds(device: Device, fromSeq: number, toSeq: number): MsgId[] {
    return this.entries
      .filter(({ seq, target }) => seq > fromSeq && seq <= toSeq && device.isTargetOf(target))
      .map(({ id }) => id);
  }

  /** After devices have left; of those that stay, at least one is to be left. */
  trimAbandoned(removed: readonly Device[], devices: readonly Device[], write: PendingWrite): void {
    this.drop(abandonedEntries(this.entries, removed, devices), "abandoned", write);
  }

  /** The first on disk that the device has not acked and that is still worth sending to it. */
  firstFor(device: Device, wallMs: number): EntrySummary | undefined {
    return this.entries.find(
      ({ seq, target, expiresAtMs }) =>
        seq > device.ackedSeq &&
        seq <= this.committedSeq &&
        expiresAtMs > wallMs &&
        device.isTargetOf(target),
    );
  }

  /** One device's cursor has gone over it unacked: it goes, unless another still needs it. */
  setAside(entry: EntrySummary, devices: readonly Device[], write: PendingWrite): boolean {
    const isNeeded = devices.some(
      (other) => other.ackedSeq < entry.seq && other.isTargetOf(entry.target),
    );
    if (!isNeeded) this.drop([entry], "set-aside", write);
    return !isNeeded;
  }

  /** What was due in the bucket `atMs`: expired entries and keys. */
  expire(atMs: number, wallMs: number, write: PendingWrite): void {
    write.removeDue.push(atMs);
    // After a clock was set back the same bucket may be needed again.
    if (atMs === this.lastDueMs) this.lastDueMs = 0;
    // The wall clock may have been set back since: what is in this bucket is due all the same.
    const dueMs = Math.max(atMs, wallMs);
    this.drop(
      this.entries.filter((entry) => entry.expiresAtMs <= dueMs),
      "expired",
      write,
    );
    if (this.keys !== undefined) write.forget.push(...this.keys.forgetDue(dueMs));
    if (this.lanes !== undefined) write.forget.push(...this.lanes.forgetExpired(wallMs));
  }

  /** A newer push replaces those of its key that are for the same devices. */
  private replacedBy(collapse: string, target: Target | undefined): EntrySummary[] {
    return this.entries.filter(
      (older) =>
        older.collapse === collapse &&
        older.target?.device === target?.device &&
        older.target?.platform === target?.platform,
    );
  }

  private drop(dropped: readonly EntrySummary[], reason: DropReason, write: PendingWrite): void {
    if (dropped.length === 0) return;
    const seqs = new Set(dropped.map((entry) => entry.seq));
    const left = this.entries.filter((entry) => !seqs.has(entry.seq));
    this.kept = left.length === 0 ? undefined : left;
    // A write's drops come before its appends: what still waits to be appended is taken out.
    const kept = write.append.filter((entry) => !seqs.has(entry.seq));
    if (kept.length < write.append.length) write.append.splice(0, write.append.length, ...kept);
    this.noteDropped(dropped, reason, write);
  }

  private noteDropped(
    dropped: readonly EntrySummary[],
    reason: DropReason,
    write: PendingWrite,
  ): void {
    for (const entry of dropped) {
      this.bytes -= entry.bytes;
      write.bytesAdded -= entry.bytes;
      write.messagesAdded--;
      write.drop.push(entry.seq);
    }
    const seqs = dropped.map((entry) => entry.seq);
    const receipt = receiptOf(reason);
    const isTold = receipt !== undefined && write.author.wantsReceipt(receipt);
    if (isTold) {
      write.changes.push({ kind: "dropped", seqs, reason, ids: dropped.map(({ id }) => id) });
    } else {
      write.changes.push({ kind: "dropped", seqs, reason });
    }
    // The highest seq may have gone with its entry: the record carries it on.
    write.isRecordDue = true;
  }

  /** Due times are rounded up into buckets, so that a busy session has few of them. */
  private noteDue(atMs: number, spanMs: number, write: PendingWrite): void {
    const bucket = dueBucketMs(atMs, spanMs);
    if (bucket === this.lastDueMs) return;
    this.lastDueMs = bucket;
    write.addDue.push(bucket);
  }
}

/**
 * Random, because the clock of a store's first node may be wrong; but above the floor of a
 * restored store, where a lost timeline may have given any of the random ones.
 */
function firstGeneration(
  { idcNumber, random, clock }: Pick<NodeContext, "idcNumber" | "random" | "clock">,
  floor: number,
): number {
  const counter =
    floor === 0
      ? 1 + Math.floor(random.next() * (randomCounters - 1))
      : Math.max(floor + 1, counterAt(clock.wallMs()));
  return makeGeneration(0, idcNumber, counter);
}
