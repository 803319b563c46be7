/**
 * A group of shards in MySQL: a view on a lane, which other groups of this process may
 * share. The lane's faults are the group's, too; a group that met one of unknown
 * outcome stays broken, and is opened again on a new lane.
 */
import { Fault } from "../base/result.js";
import type {
  CommitAnswer,
  Due,
  FenceAnswer,
  FenceRequest,
  InboxGroup,
  NumberedChange,
  SessionNames,
  SessionSize,
  ShardWrite,
  StoredEntry,
  StoredSession,
} from "../ports/inbox-store.js";
import type { SessionKey, Shard } from "../protocol/shards.js";
import { DueHorizon } from "./due-horizon.js";
import type { MysqlLane } from "./mysql-lane.js";
import type { MysqlPool } from "./mysql-pool.js";
import {
  readChangeLog,
  readEarliest,
  readEntries,
  readNames,
  readSession,
  readSizes,
} from "./mysql-reads.js";
import { sessionFrom } from "./session-parts.js";

export class MysqlGroup implements InboxGroup {
  private readonly horizon = new DueHorizon();
  private readonly pending = new Set<Promise<unknown>>();
  private closing: Promise<void> | undefined;
  /** Known once the group is open. */
  generationFloor = 0;

  /** `release` is called when the last of its writes has ended. */
  constructor(
    private readonly lane: MysqlLane,
    private readonly pool: MysqlPool,
    private readonly release: () => Promise<void>,
  ) {}

  async raise(fences: readonly FenceRequest[]): Promise<readonly FenceAnswer[]> {
    this.checkUsable();
    const answers = await this.following(this.lane.raise(fences));
    // Another owner may have written since.
    for (const { shard } of fences) this.horizon.forget(shard);
    return answers;
  }

  async commit(writes: readonly ShardWrite[]): Promise<readonly CommitAnswer[]> {
    this.checkUsable();
    for (const { shard, sessions } of writes) {
      for (const { addDue = [] } of sessions) {
        for (const atMs of addDue) this.horizon.added(shard, atMs);
      }
    }
    return this.following(this.lane.commit(writes));
  }

  async loadSession(shard: Shard, key: SessionKey): Promise<StoredSession | undefined> {
    this.checkUsable();
    return sessionFrom(await readSession(this.pool, shard, key));
  }

  async namesOf(shard: Shard, key: SessionKey): Promise<SessionNames> {
    this.checkUsable();
    return readNames(this.pool, shard, key);
  }

  async readEntries(
    shard: Shard,
    key: SessionKey,
    afterSeq: number,
    countMax: number,
    bytesMax: number,
  ): Promise<readonly StoredEntry[]> {
    this.checkUsable();
    return readEntries(this.pool, shard, key, afterSeq, countMax, bytesMax);
  }

  async readDue(shard: Shard, untilMs: number, countMax: number): Promise<readonly Due[]> {
    this.checkUsable();
    if (!this.horizon.isWithin(shard, untilMs)) return [];
    const endRead = this.horizon.startRead(shard);
    const earliest = await readEarliest(this.pool, shard, countMax);
    endRead(earliest[0]?.atMs ?? Number.POSITIVE_INFINITY);
    return earliest.filter(({ atMs }) => atMs <= untilMs);
  }

  async readChanges(
    shard: Shard,
    afterNumber: number,
    countMax: number,
  ): Promise<readonly NumberedChange[]> {
    this.checkUsable();
    return readChangeLog(this.pool, shard, afterNumber, countMax);
  }

  async listSessions(
    shard: Shard,
    afterKey: string,
    countMax: number,
  ): Promise<readonly SessionSize[]> {
    this.checkUsable();
    return readSizes(this.pool, shard, afterKey, countMax);
  }

  close(): Promise<void> {
    this.closing ??= this.closeOnce();
    return this.closing;
  }

  /** Throws Fault("STORE_UNAVAILABLE", "not-done") when it is closed or broken. */
  checkUsable(): void {
    this.lane.checkUsable();
    if (this.closing === undefined) return;
    throw new Fault("STORE_UNAVAILABLE", "not-done", "the group of shards is closed");
  }

  private async closeOnce(): Promise<void> {
    await Promise.allSettled(this.pending);
    await this.release();
  }

  private following<Answer>(work: Promise<Answer>): Promise<Answer> {
    this.pending.add(work);
    const end = () => void this.pending.delete(work);
    work.then(end, end);
    return work;
  }
}
