/**
 * Inboxes in MySQL or MariaDB. Any node may open any group; the fences decide who may
 * write. A group has one connection of its own for writes, so a system has as many of
 * those as groups, however many nodes; reads share a few connections of the node.
 */
import { assert } from "../base/assert.js";
import type { InboxStore } from "../ports/inbox-store.js";
import { type Shard, shardCount } from "../protocol/shards.js";
import { MysqlConnection, type MysqlPlace } from "./mysql-connection.js";
import { MysqlGroup, type OnWritten } from "./mysql-group.js";
import { MysqlPool } from "./mysql-pool.js";
import { MysqlWriter } from "./mysql-writer.js";

export interface MysqlInboxOptions {
  readonly place: MysqlPlace;
  readonly groupCount?: number;
  /** Connections for reads. */
  readonly readersMax?: number;
  /** For a commit or a read, all waiting included. */
  readonly deadlineMs?: number;
}

const defaultGroupCount = 8;
const defaultReadersMax = 8;
const waitingReadersMax = 4_096;
const defaultDeadlineMs = 5_000;
/** A raise may wait for locks, and end those who hold them. */
const raiseDeadlineMs = 10_000;

export class MysqlInbox implements InboxStore {
  readonly groupCount: number;
  private readonly pool: MysqlPool;

  constructor(private readonly options: MysqlInboxOptions) {
    const { place, readersMax = defaultReadersMax } = options;
    this.groupCount = options.groupCount ?? defaultGroupCount;
    const bounds = { connectionsMax: readersMax, waitingMax: waitingReadersMax };
    this.pool = new MysqlPool(place, { ...bounds, deadlineMs: this.deadlineMs });
  }

  groupOf(shard: Shard): number {
    return Math.floor((shard * this.groupCount) / shardCount);
  }

  /** Throws Fault("STORE_UNAVAILABLE", "not-done") when MySQL does not answer. */
  async openGroup(group: number, onWritten: OnWritten = () => undefined): Promise<MysqlGroup> {
    assert(group >= 0 && group < this.groupCount, `there is no group ${group}`);
    const writer = new MysqlWriter(this.options.place);
    await writer.connection(this.deadlineMs);
    const bounds = { commitDeadlineMs: this.deadlineMs, raiseDeadlineMs };
    return new MysqlGroup(writer, this.pool, bounds, onWritten);
  }

  /** Whether what was answered outlives a loss of power at the server. */
  async flushesCommits(): Promise<boolean> {
    const connection = await MysqlConnection.open(this.options.place, this.deadlineMs);
    await connection.end(this.deadlineMs);
    return connection.flushesCommits;
  }

  async close(): Promise<void> {
    await this.pool.close();
  }

  private get deadlineMs(): number {
    return this.options.deadlineMs ?? defaultDeadlineMs;
  }
}
