/**
 * Inboxes in MySQL with Redis as the fast reader. MySQL is the truth: a commit is
 * answered by it alone, and all that Redis may do wrong is to be slow or of no help.
 */
import type {
  CommitAnswer,
  Due,
  FenceAnswer,
  FenceRequest,
  InboxGroup,
  InboxStore,
  NumberedChange,
  SessionNames,
  SessionSize,
  ShardWrite,
  StoredEntry,
  StoredSession,
} from "../ports/inbox-store.js";
import type { SessionKey, Shard } from "../protocol/shards.js";
import type { MysqlGroup } from "./mysql-group.js";
import { MysqlInbox, type MysqlInboxOptions } from "./mysql-inbox.js";
import { readEntries, readSession } from "./mysql-reads.js";
import { RedisClient, type RedisPlace } from "./redis-client.js";
import { type CopyBounds, RedisCopy } from "./redis-copy.js";
import { sessionFrom } from "./session-parts.js";

export interface RedisMysqlInboxOptions extends Omit<MysqlInboxOptions, "onWritten"> {
  readonly redis: RedisPlace;
  readonly copy?: Partial<CopyBounds>;
  readonly onProblem?: (message: string) => void;
}

const defaultBounds: CopyBounds = {
  prefix: "belfry",
  ttlMs: 3_600_000,
  sessionBytesMax: 256 * 1024,
};

export class RedisMysqlInbox implements InboxStore {
  readonly client: RedisClient;
  readonly copy: RedisCopy;
  private readonly mysql: MysqlInbox;

  constructor(options: RedisMysqlInboxOptions) {
    this.client = new RedisClient(options.redis, options.onProblem ?? (() => undefined));
    this.mysql = new MysqlInbox({
      ...options,
      onWritten: (written) => this.copy.onWritten(written),
    });
    const { pool } = this.mysql;
    this.copy = new RedisCopy(
      this.client,
      { ...defaultBounds, ...options.copy },
      {
        readSession: (shard, key) => readSession(pool, shard, key),
        readEntries: (shard, key) =>
          readEntries(pool, shard, key, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
      },
    );
  }

  get groupCount(): number {
    return this.mysql.groupCount;
  }

  groupOf(shard: Shard): number {
    return this.mysql.groupOf(shard);
  }

  async openGroup(group: number): Promise<InboxGroup> {
    return new CopiedGroup(await this.mysql.openGroup(group), this.copy);
  }

  flushesCommits(): Promise<boolean> {
    return this.mysql.flushesCommits();
  }

  async close(): Promise<void> {
    this.client.close();
    await this.mysql.close();
  }
}

class CopiedGroup implements InboxGroup {
  constructor(
    private readonly mysql: MysqlGroup,
    private readonly copy: RedisCopy,
  ) {}

  get generationFloor(): number {
    return this.mysql.generationFloor;
  }

  raise(requests: readonly FenceRequest[]): Promise<readonly FenceAnswer[]> {
    return this.mysql.raise(requests);
  }

  commit(writes: readonly ShardWrite[]): Promise<readonly CommitAnswer[]> {
    return this.mysql.commit(writes);
  }

  async loadSession(shard: Shard, key: SessionKey): Promise<StoredSession | undefined> {
    this.mysql.checkUsable();
    const parts = await this.copy.readSession(shard, key);
    return parts === undefined ? this.mysql.loadSession(shard, key) : sessionFrom(parts);
  }

  namesOf(shard: Shard, key: SessionKey): Promise<SessionNames> {
    return this.mysql.namesOf(shard, key);
  }

  async readEntries(
    shard: Shard,
    key: SessionKey,
    afterSeq: number,
    countMax: number,
    bytesMax: number,
  ): Promise<readonly StoredEntry[]> {
    this.mysql.checkUsable();
    const read = await this.copy.readEntries(shard, key, afterSeq, countMax, bytesMax);
    return read ?? this.mysql.readEntries(shard, key, afterSeq, countMax, bytesMax);
  }

  readDue(shard: Shard, untilMs: number, countMax: number): Promise<readonly Due[]> {
    return this.mysql.readDue(shard, untilMs, countMax);
  }

  readChanges(
    shard: Shard,
    afterNumber: number,
    countMax: number,
  ): Promise<readonly NumberedChange[]> {
    return this.mysql.readChanges(shard, afterNumber, countMax);
  }

  listSessions(shard: Shard, afterKey: string, countMax: number): Promise<readonly SessionSize[]> {
    return this.mysql.listSessions(shard, afterKey, countMax);
  }

  close(): Promise<void> {
    return this.mysql.close();
  }
}
