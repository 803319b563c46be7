/**
 * Inboxes in memory, for unit tests and the simulator. The data belongs to the
 * store and not to a group's handle, so that a group opened again finds all of it,
 * as after a restart. Several handles of one group may live at the same time: what
 * the kill of a silent holder is on a real machine, only the fence is here.
 *
 * Every effect happens during the call; the answer comes in a later microtask.
 */
import { accepted, Fault, refused } from "../base/result.js";
import {
  type Change,
  type CommitAnswer,
  type Due,
  type FenceAnswer,
  type FenceRequest,
  type IdempotencyKey,
  type InboxGroup,
  type InboxStore,
  type NumberedChange,
  type SessionNames,
  type SessionRecord,
  type SessionSize,
  type SessionWrite,
  type ShardWrite,
  type StoredEntry,
  type StoredSession,
  unpublishedMax,
} from "../ports/inbox-store.js";
import { groupOfShard, type SessionKey, type Shard } from "../protocol/shards.js";

/** What a commit meets when the simulator or a test wants it to fail. */
export type CommitFault =
  | { readonly outcome: "not-done" }
  | { readonly outcome: "unknown"; readonly takesEffect: boolean };

export class MemoryInbox implements InboxStore {
  private readonly shards = new Map<Shard, ShardData>();
  private readonly faults: CommitFault[] = [];

  constructor(readonly groupCount = 8) {}

  groupOf(shard: Shard): number {
    return groupOfShard(shard, this.groupCount);
  }

  async openGroup(_group: number): Promise<InboxGroup> {
    return new MemoryGroup(this);
  }

  /** Each fault is thrown by one commit, in the order they were given. */
  failCommit(fault: CommitFault): void {
    this.faults.push(fault);
  }

  takeFault(): CommitFault | undefined {
    return this.faults.shift();
  }

  dataOf(shard: Shard): ShardData {
    let data = this.shards.get(shard);
    if (data === undefined) {
      data = new ShardData();
      this.shards.set(shard, data);
    }
    return data;
  }
}

class MemoryGroup implements InboxGroup {
  private isClosed = false;

  constructor(private readonly store: MemoryInbox) {}

  async raise(requests: readonly FenceRequest[]): Promise<readonly FenceAnswer[]> {
    this.checkOpen();
    return requests.map((request) => this.store.dataOf(request.shard).raise(request));
  }

  async commit(writes: readonly ShardWrite[]): Promise<readonly CommitAnswer[]> {
    this.checkOpen();
    const apply = () => writes.map((write) => this.store.dataOf(write.shard).commit(write));
    const fault = this.store.takeFault();
    if (fault === undefined) return apply();
    if (fault.outcome === "unknown" && fault.takesEffect) apply();
    throw new Fault("STORE_UNAVAILABLE", fault.outcome, "an injected fault");
  }

  async loadSession(shard: Shard, key: SessionKey): Promise<StoredSession | undefined> {
    this.checkOpen();
    return this.store.dataOf(shard).sessions.get(key)?.load();
  }

  async namesOf(shard: Shard, key: SessionKey): Promise<SessionNames> {
    this.checkOpen();
    return this.store.dataOf(shard).sessions.get(key)?.names() ?? { seqs: [], keys: [] };
  }

  async readEntries(
    shard: Shard,
    key: SessionKey,
    afterSeq: number,
    countMax: number,
    bytesMax: number,
  ): Promise<readonly StoredEntry[]> {
    this.checkOpen();
    const entries = this.store.dataOf(shard).sessions.get(key)?.sortedEntries() ?? [];
    const read: StoredEntry[] = [];
    let bytes = 0;
    for (const entry of entries) {
      if (entry.seq <= afterSeq) continue;
      bytes += entry.record.length;
      if (read.length === countMax || (read.length > 0 && bytes > bytesMax)) break;
      read.push(entry);
    }
    return read;
  }

  async readDue(shard: Shard, untilMs: number, countMax: number): Promise<readonly Due[]> {
    this.checkOpen();
    const due: Due[] = [];
    for (const [key, times] of this.store.dataOf(shard).due) {
      for (const atMs of times) if (atMs <= untilMs) due.push({ atMs, key });
    }
    return due.sort((a, b) => a.atMs - b.atMs).slice(0, countMax);
  }

  async readChanges(
    shard: Shard,
    afterNumber: number,
    countMax: number,
  ): Promise<readonly NumberedChange[]> {
    this.checkOpen();
    const { changes } = this.store.dataOf(shard);
    const from = changes.findIndex((change) => change.number > afterNumber);
    return from < 0 ? [] : changes.slice(from, from + countMax);
  }

  async listSessions(
    shard: Shard,
    afterKey: string,
    countMax: number,
  ): Promise<readonly SessionSize[]> {
    this.checkOpen();
    const held = [...this.store.dataOf(shard).sessions].filter(([key]) => key > afterKey);
    return held
      .map(([key, session]) => ({ key, ...session.size() }))
      .filter(({ messages }) => messages > 0)
      .sort((a, b) => (a.key < b.key ? -1 : 1))
      .slice(0, countMax);
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }

  private checkOpen(): void {
    if (!this.isClosed) return;
    throw new Fault("STORE_UNAVAILABLE", "not-done", "the group of shards is closed");
  }
}

class ShardData {
  readonly sessions = new Map<SessionKey, SessionData>();
  readonly due = new Map<SessionKey, Set<number>>();
  readonly changes: NumberedChange[] = [];
  private epoch = 0;
  private holder = "";
  private reservedUntilMs = 0;
  private lastChange = 0;
  private publishedChange = 0;

  raise({ epoch, holder, reserveUntilMs }: FenceRequest): FenceAnswer {
    if (epoch < this.epoch) return this.fenced();
    if (epoch === this.epoch && holder !== this.holder) return this.fenced();
    const fence = {
      previousReservedUntilMs: this.reservedUntilMs,
      lastChange: this.lastChange,
      publishedChange: this.publishedChange,
    };
    this.epoch = epoch;
    this.holder = holder;
    this.reservedUntilMs = Math.max(this.reservedUntilMs, reserveUntilMs);
    return { ...accepted(fence), epoch };
  }

  commit(write: ShardWrite): CommitAnswer {
    if (write.epoch < this.epoch) return this.fenced();
    this.reservedUntilMs = Math.max(this.reservedUntilMs, write.reserveUntilMs ?? 0);
    for (const session of write.sessions) this.apply(session);
    this.publish(write.publishedChange ?? 0);
    return { ...accepted({ lastChange: this.lastChange }), epoch: this.epoch };
  }

  private fenced() {
    const { epoch, holder } = this;
    return { ...refused("FENCED", `the shard's fence is ${epoch}, held by ${holder}`), epoch };
  }

  private apply(write: SessionWrite): void {
    const session = this.sessions.get(write.key) ?? new SessionData();
    this.sessions.set(write.key, session);
    session.apply(write);
    this.applyDue(write);
    for (const change of write.changes) this.log(write.key, change);
  }

  private applyDue(write: SessionWrite): void {
    const times = this.due.get(write.key) ?? new Set();
    for (const atMs of write.removeDue ?? []) times.delete(atMs);
    for (const atMs of write.addDue ?? []) times.add(atMs);
    if (times.size > 0) this.due.set(write.key, times);
    else this.due.delete(write.key);
  }

  private log(key: SessionKey, change: Change): void {
    this.lastChange += 1;
    this.changes.push({ number: this.lastChange, key, change });
    if (this.changes.length >= 2 * unpublishedMax) {
      this.changes.splice(0, this.changes.length - unpublishedMax);
    }
  }

  private publish(number: number): void {
    this.publishedChange = Math.max(this.publishedChange, Math.min(number, this.lastChange));
    const kept = this.changes.findIndex((change) => change.number > this.publishedChange);
    this.changes.splice(0, kept < 0 ? this.changes.length : kept);
  }
}

class SessionData {
  private record: SessionRecord | undefined;
  private readonly entries = new Map<number, StoredEntry>();
  private readonly keys = new Map<string, IdempotencyKey>();
  /** The highest seq ever appended or dropped, so that no trim brings it back. */
  private seqMax = 0;

  apply(write: SessionWrite): void {
    if (write.remove === true) this.record = undefined;
    this.record = write.record ?? this.record;
    for (const seq of write.drop ?? []) {
      this.seqMax = Math.max(this.seqMax, seq);
      this.entries.delete(seq);
    }
    if (write.remove === true) this.seqMax = 0;
    for (const entry of write.append ?? []) {
      this.seqMax = Math.max(this.seqMax, entry.seq);
      this.entries.set(entry.seq, { ...entry, record: new Uint8Array(entry.record) });
    }
    for (const id of write.forget ?? []) this.keys.delete(id);
    for (const key of write.remember ?? []) this.keys.set(key.id, key);
  }

  /** Undefined when nothing was ever stored, or only keys that are forgotten. */
  load(): StoredSession | undefined {
    if (this.record === undefined && this.seqMax === 0 && this.keys.size === 0) return undefined;
    const record = this.record ?? { generation: 0, lastSeq: 0, devices: [] };
    return {
      record: { ...record, lastSeq: Math.max(record.lastSeq, this.seqMax) },
      entries: this.sortedEntries().map(({ seq, id, record, expiresAtMs, collapse, target }) => ({
        seq,
        id,
        bytes: record.length,
        expiresAtMs,
        ...(collapse === undefined ? {} : { collapse }),
        ...(target === undefined ? {} : { target }),
      })),
      keys: [...this.keys.values()],
    };
  }

  names(): SessionNames {
    return { seqs: [...this.entries.keys()].sort((a, b) => a - b), keys: [...this.keys.keys()] };
  }

  size(): { readonly messages: number; readonly bytes: number } {
    let bytes = 0;
    for (const entry of this.entries.values()) bytes += entry.record.length;
    return { messages: this.entries.size, bytes };
  }

  sortedEntries(): StoredEntry[] {
    return [...this.entries.values()].sort((a, b) => a.seq - b.seq);
  }
}
