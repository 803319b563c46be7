/**
 * What several commits of one transaction come to: for each shard and session only
 * what stands in the end. So a transaction is a few statements of many rows, and to
 * apply it twice to a copy is the same as once.
 */
import type {
  IdempotencyKey,
  SessionRecord,
  SessionWrite,
  ShardWrite,
  StoredEntry,
} from "../ports/inbox-store.js";
import type { SessionKey, Shard } from "../protocol/shards.js";
import type { SessionChange } from "./stored-bytes.js";

export class NetShard {
  readonly sessions = new Map<SessionKey, NetSession>();
  readonly changes: SessionChange[] = [];
  reserveUntilMs = 0;
  /** 0 where nothing more is published. */
  publishedChange = 0;

  /** The lowest that one of the writes came with: where it passes, all do. */
  epoch = Number.MAX_SAFE_INTEGER;

  constructor(readonly shard: Shard) {}

  /** Answers whether there is anything to store; `reservedUntilMs` is what stands. */
  add(write: ShardWrite, reservedUntilMs: number): boolean {
    this.epoch = Math.min(this.epoch, write.epoch);
    this.reserveUntilMs = Math.max(this.reserveUntilMs, write.reserveUntilMs ?? 0);
    this.publishedChange = Math.max(this.publishedChange, write.publishedChange ?? 0);
    for (const session of write.sessions) this.addSession(session);
    return (
      this.sessions.size > 0 || this.publishedChange > 0 || this.reserveUntilMs > reservedUntilMs
    );
  }

  private addSession(write: SessionWrite): void {
    let session = this.sessions.get(write.key);
    if (session === undefined) {
      session = new NetSession(write.key);
      this.sessions.set(write.key, session);
    }
    session.add(write);
    for (const change of write.changes) this.changes.push({ key: write.key, change });
  }
}

export class NetSession {
  /** All that the session was before goes. */
  isRemoved = false;
  record: SessionRecord | undefined = undefined;
  /** The highest seq dropped; 0 when none was. */
  droppedSeq = 0;
  readonly dropped = new Set<number>();
  readonly appended = new Map<number, StoredEntry>();
  readonly forgotten = new Set<string>();
  readonly remembered = new Map<string, IdempotencyKey>();
  readonly dueRemoved = new Set<number>();
  readonly dueAdded = new Set<number>();

  constructor(readonly key: SessionKey) {}

  add(write: SessionWrite): void {
    if (write.remove === true) {
      this.isRemoved = true;
      this.record = undefined;
      this.droppedSeq = 0;
    }
    this.record = write.record ?? this.record;
    for (const seq of write.drop ?? []) {
      if (write.remove !== true) this.droppedSeq = Math.max(this.droppedSeq, seq);
      this.dropped.add(seq);
      this.appended.delete(seq);
    }
    for (const entry of write.append ?? []) this.appended.set(entry.seq, entry);
    for (const id of write.forget ?? []) {
      this.forgotten.add(id);
      this.remembered.delete(id);
    }
    for (const key of write.remember ?? []) this.remembered.set(key.id, key);
    for (const atMs of write.removeDue ?? []) {
      this.dueRemoved.add(atMs);
      this.dueAdded.delete(atMs);
    }
    for (const atMs of write.addDue ?? []) this.dueAdded.add(atMs);
  }
}
