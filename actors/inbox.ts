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
import type { MsgId } from "../src/protocol/msg-id.js";
import {
  counterAt,
  generationFrom,
  makeGeneration,
  type Position,
  randomCounters,
} from "../src/protocol/position.js";
import type { PushCommand, Target } from "../src/protocol/push-command.js";
import type { Device } from "./device.js";
import { abandonedEntries, ackedEntries, type DeliveryPolicy, dueBucketMs } from "./inbox-rules.js";
import { digestOf, KeyMemory } from "./key-memory.js";
import type { Limits } from "./limits.js";
import type { NodeContext } from "./node-context.js";
import type { PendingWrite } from "./pending-write.js";

export class Inbox {
  readonly generation: number;
  lastSeq: number;
  /** Up to here everything given is on disk, or gone again. */
  committedSeq: number;
  /** Also what is not on disk yet. */
  private entries: EntrySummary[];
  private bytes: number;
  private keys: KeyMemory | undefined;
  private lastDueMs = 0;

  /**
   * `generationFloor`: the store's. Where nothing is stored the generation is a new one: a
   * client may hold positions of a store that was lost, and they must not count as acks here.
   */
  constructor(
    stored: StoredSession | undefined,
    node: Pick<NodeContext, "idcNumber" | "random" | "clock">,
    generationFloor: number,
  ) {
    this.generation =
      stored === undefined
        ? firstGeneration(node, generationFloor)
        : generationFrom(stored.record.generation, generationFloor, node.idcNumber);
    this.lastSeq = stored?.record.lastSeq ?? 0;
    this.committedSeq = this.lastSeq;
    this.entries = [...(stored?.entries ?? [])];
    this.bytes = this.entries.reduce((sum, entry) => sum + entry.bytes, 0);
    this.keys =
      stored !== undefined && stored.keys.length > 0 ? new KeyMemory(stored.keys) : undefined;
  }

  get size(): { readonly messages: number; readonly bytes: number } {
    return { messages: this.entries.length, bytes: this.bytes };
  }

  get summaries(): readonly EntrySummary[] {
    return this.entries;
  }

  isFull(limits: Limits): boolean {
    return this.entries.length >= limits.inboxMessagesMax || this.bytes >= limits.inboxBytesMax;
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
    const entry: StoredEntry = {
      seq: ++this.lastSeq,
      id,
      expiresAtMs: wallMs + ttlMs,
      record: packRecord(id, command),
      ...(collapse === undefined ? {} : { collapse }),
      ...(target === undefined ? {} : { target }),
    };
    const { seq, expiresAtMs, record } = entry;
    const summary = { seq, id, expiresAtMs, bytes: record.length };
    this.entries.push({
      ...summary,
      ...(collapse === undefined ? {} : { collapse }),
      ...(target === undefined ? {} : { target }),
    });
    this.bytes += record.length;
    write.append.push(entry);
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

  /** Lets go what `device` acked just now, from behind `oldSeq`, and nobody else must. */
  trim(
    devices: readonly Device[],
    device: Device,
    oldSeq: number,
    policy: DeliveryPolicy,
    write: PendingWrite,
  ): void {
    this.drop(ackedEntries(this.entries, devices, device, oldSeq, policy), "acked", write);
  }

  /** After a device has left. */
  trimAbandoned(devices: readonly Device[], write: PendingWrite): void {
    this.drop(abandonedEntries(this.entries, devices), "acked", write);
  }

  /** What was due in the bucket `atMs`: expired entries and keys. */
  expire(atMs: number, wallMs: number, write: PendingWrite): void {
    write.removeDue.push(atMs);
    // The wall clock may have been set back since: what is in this bucket is due all the same.
    const dueMs = Math.max(atMs, wallMs);
    this.drop(
      this.entries.filter((entry) => entry.expiresAtMs <= dueMs),
      "expired",
      write,
    );
    if (this.keys !== undefined) write.forget.push(...this.keys.forgetExpired(wallMs));
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
    this.entries = this.entries.filter((entry) => !seqs.has(entry.seq));
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
      write.drop.push(entry.seq);
    }
    write.changes.push({ kind: "dropped", seqs: dropped.map((entry) => entry.seq), reason });
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
