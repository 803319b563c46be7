/**
 * What a volume must know of its shards while it builds a transaction: their fences,
 * the ends of their change logs, and what the transaction itself has changed so far.
 *
 * Invariant: between transactions, memory says what the disk says. A transaction that
 * failed is undone here by reading its shards again.
 */
import { assert } from "../base/assert.js";
import { accepted, refused } from "../base/result.js";
import type {
  CommitAnswer,
  FenceAnswer,
  FenceRequest,
  SessionWrite,
  ShardWrite,
} from "../ports/inbox-store.js";
import type { SessionKey, Shard } from "../protocol/shards.js";
import { WriteBatch } from "./lmdb-bytes.js";
import { ShardLog } from "./lmdb-change-log.js";
import { writeChange } from "./lmdb-changes.js";
import type { LmdbEnvironment } from "./lmdb-environment.js";
import * as layout from "./lmdb-layout.js";
import * as records from "./lmdb-records.js";

interface ShardState {
  fence: records.StoredFence;
  /** Read when it is first needed. */
  log: ShardLog | undefined;
}

const noFence: records.StoredFence = { epoch: 0, reservedUntilMs: 0, holder: "" };

export class ShardTable {
  private readonly states: ShardState[] = [];
  /** Shards of the transaction that is being built or written. */
  private readonly touched = new Set<Shard>();
  private readonly appendedTo = new Map<Shard, ShardLog>();
  /** Highest dropped seqs that this transaction has already put. */
  private readonly droppedSeqs = new Map<SessionKey, number>();
  private readonly scratch = new WriteBatch();

  constructor(
    private readonly environment: LmdbEnvironment,
    private readonly firstShard: Shard,
    shardCount: number,
  ) {
    for (let index = 0; index < shardCount; index++) {
      this.states.push({ fence: noFence, log: undefined });
    }
    for (const { key, value } of environment.range(layout.fenceRange(firstShard, shardCount))) {
      this.stateOf(layout.shardIn(key)).fence = records.readFence(value);
    }
  }

  raise(batch: WriteBatch, request: FenceRequest): FenceAnswer {
    const { shard, epoch, holder } = request;
    const state = this.stateOf(shard);
    const { fence } = state;
    if (epoch < fence.epoch) return fenced(fence);
    if (epoch === fence.epoch && holder !== fence.holder) return fenced(fence);
    const { last: lastChange, published: publishedChange } = this.logOf(shard);
    const reservedUntilMs = Math.max(fence.reservedUntilMs, request.reserveUntilMs);
    this.setFence(batch, shard, { epoch, reservedUntilMs, holder });
    const previousReservedUntilMs = fence.reservedUntilMs;
    const value = { previousReservedUntilMs, lastChange, publishedChange };
    return { ...accepted(value), epoch };
  }

  commit(batch: WriteBatch, write: ShardWrite): CommitAnswer {
    const { shard, sessions, reserveUntilMs = 0 } = write;
    const { fence } = this.stateOf(shard);
    if (write.epoch < fence.epoch) return fenced(fence);
    if (reserveUntilMs > fence.reservedUntilMs) {
      this.setFence(batch, shard, { ...fence, reservedUntilMs: reserveUntilMs });
    }
    this.touched.add(shard);
    for (const session of sessions) this.writeSession(batch, shard, session);
    if (write.publishedChange !== undefined) {
      const log = this.logOf(shard);
      log.publish(batch, write.publishedChange);
      this.appendedTo.set(shard, log);
    }
    return { ...accepted({ lastChange: this.logOf(shard).last }), epoch: fence.epoch };
  }

  /** Writes what stands once a transaction; nothing is added to it afterwards. */
  finish(batch: WriteBatch): void {
    for (const log of this.appendedTo.values()) log.write(batch, this.environment);
  }

  /** The transaction is on disk. */
  settle(): void {
    this.touched.clear();
    this.appendedTo.clear();
    this.droppedSeqs.clear();
  }

  /** The transaction had no effect. */
  undo(): void {
    for (const shard of this.touched) {
      const stored = this.environment.get(layout.fenceReadKey(shard));
      const state = this.stateOf(shard);
      state.fence = stored === undefined ? noFence : records.readFence(stored);
      state.log = undefined;
    }
    this.settle();
  }

  private setFence(batch: WriteBatch, shard: Shard, fence: records.StoredFence): void {
    this.touched.add(shard);
    this.stateOf(shard).fence = fence;
    records.putFence(layout.fenceKey(batch, shard), fence);
  }

  private writeSession(batch: WriteBatch, shard: Shard, write: SessionWrite): void {
    const { key, record } = write;
    if (write.remove === true) this.removeSession(batch, shard, key);
    if (write.drop !== undefined && write.drop.length > 0) {
      if (write.remove !== true) this.rememberDropped(batch, shard, write);
      for (const seq of write.drop) layout.entryKey(batch, shard, key, seq).endRemoval();
    }
    if (record !== undefined) {
      const recordKey = layout.sessionPartKey(batch, shard, key, layout.sessionPart.record);
      records.putSessionRecord(recordKey, record);
    }
    for (const entry of write.append ?? []) {
      records.putEntry(layout.entryKey(batch, shard, key, entry.seq), entry);
    }
    this.writeIdempotencyKeys(batch, shard, write);
    for (const atMs of write.removeDue ?? []) {
      layout.dueKey(batch, shard, atMs, key).endRemoval();
    }
    for (const atMs of write.addDue ?? []) {
      records.putNothing(layout.dueKey(batch, shard, atMs, key));
    }
    this.appendChanges(batch, shard, write);
  }

  private removeSession(batch: WriteBatch, shard: Shard, key: SessionKey): void {
    const { record, droppedSeq } = layout.sessionPart;
    layout.sessionPartKey(batch, shard, key, record).endRemoval();
    layout.sessionPartKey(batch, shard, key, droppedSeq).endRemoval();
    this.droppedSeqs.set(key, 0);
  }

  /** Keeps lastSeq above dropped entries where no record written with the drop does. */
  private rememberDropped(batch: WriteBatch, shard: Shard, write: SessionWrite): void {
    const { key, record, drop = [] } = write;
    let highest = 0;
    for (const seq of drop) highest = Math.max(highest, seq);
    if (record !== undefined && record.lastSeq >= highest) return;
    const known = this.droppedSeqs.get(key) ?? this.storedDroppedSeq(shard, key);
    if (known >= highest) return;
    this.droppedSeqs.set(key, highest);
    const partKey = layout.sessionPartKey(batch, shard, key, layout.sessionPart.droppedSeq);
    records.putDroppedSeq(partKey, highest);
  }

  private storedDroppedSeq(shard: Shard, key: SessionKey): number {
    const stored = this.environment.get(
      layout.sessionPartReadKey(shard, key, layout.sessionPart.droppedSeq),
    );
    return stored === undefined ? 0 : records.readDroppedSeq(stored);
  }

  private writeIdempotencyKeys(batch: WriteBatch, shard: Shard, write: SessionWrite): void {
    const part = layout.sessionPart.idempotencyKey;
    for (const id of write.forget ?? []) {
      layout.sessionPartKey(batch, shard, write.key, part).rawText(id).endRemoval();
    }
    for (const remembered of write.remember ?? []) {
      layout.sessionPartKey(batch, shard, write.key, part).rawText(remembered.id);
      records.putIdempotencyKey(batch, remembered);
    }
  }

  private appendChanges(batch: WriteBatch, shard: Shard, write: SessionWrite): void {
    if (write.changes.length === 0) return;
    const log = this.logOf(shard);
    this.appendedTo.set(shard, log);
    for (const change of write.changes) {
      this.scratch.clear();
      writeChange(this.scratch, write.key, change);
      log.append(batch, this.scratch.written());
    }
  }

  private logOf(shard: Shard): ShardLog {
    const state = this.stateOf(shard);
    state.log ??= ShardLog.load(this.environment, shard);
    return state.log;
  }

  private stateOf(shard: Shard): ShardState {
    const state = this.states[shard - this.firstShard];
    assert(state !== undefined, `shard ${shard} is not one of this group`);
    return state;
  }
}

function fenced({ epoch, holder }: records.StoredFence) {
  return { ...refused("FENCED", `the shard's fence is ${epoch}, held by ${holder}`), epoch };
}
