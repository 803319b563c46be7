/**
 * Inboxes in MySQL or MariaDB. Any node may open any group; the fences decide who may
 * write. The groups of a node share a few lanes, each a connection and a transaction
 * in flight, so that many small groups still commit together; reads share a few
 * connections of their own.
 */
import { assert } from "../base/assert.js";
import type { InboxStore } from "../ports/inbox-store.js";
import { groupOfShard, type Shard, shardsOfGroup } from "../protocol/shards.js";
import { MysqlConnection, type MysqlPlace } from "./mysql-connection.js";
import { MysqlGroup } from "./mysql-group.js";
import { MysqlLane, type OnWritten } from "./mysql-lane.js";
import { MysqlPool } from "./mysql-pool.js";
import { readGenerationFloor } from "./mysql-restored.js";
import { MysqlWriter } from "./mysql-writer.js";

export interface MysqlInboxOptions {
  readonly place: MysqlPlace;
  readonly groupCount?: number;
  /** Connections for writes. */
  readonly lanesMax?: number;
  /** Connections for reads. */
  readonly readersMax?: number;
  /** For a commit or a read, all waiting included. */
  readonly deadlineMs?: number;
  readonly onWritten?: OnWritten;
}

const defaultGroupCount = 64;
const defaultLanesMax = 2;
const defaultReadersMax = 8;
const waitingReadersMax = 4_096;
const defaultDeadlineMs = 5_000;
/** A raise may wait for locks, and end those who hold them. */
const raiseDeadlineMs = 10_000;

interface OpenLane {
  readonly lane: MysqlLane;
  groupCount: number;
}

export class MysqlInbox implements InboxStore {
  readonly groupCount: number;
  readonly pool: MysqlPool;
  /** By their place; a broken one is replaced when a group is next opened there. */
  private readonly lanes: (OpenLane | undefined)[] = [];
  private readonly deadlineMs: number;

  constructor(private readonly options: MysqlInboxOptions) {
    const { place, readersMax = defaultReadersMax } = options;
    this.groupCount = options.groupCount ?? defaultGroupCount;
    this.deadlineMs = options.deadlineMs ?? defaultDeadlineMs;
    const bounds = { connectionsMax: readersMax, waitingMax: waitingReadersMax };
    this.pool = new MysqlPool(place, { ...bounds, deadlineMs: this.deadlineMs });
  }

  groupOf(shard: Shard): number {
    return groupOfShard(shard, this.groupCount);
  }

  /** Throws Fault("STORE_UNAVAILABLE", "not-done") when MySQL does not answer. */
  async openGroup(group: number): Promise<MysqlGroup> {
    assert(group >= 0 && group < this.groupCount, `there is no group ${group}`);
    const open = this.takeLane(group % (this.options.lanesMax ?? defaultLanesMax));
    const opened = new MysqlGroup(open.lane, this.pool, () => this.leave(open));
    try {
      await open.lane.connect();
      opened.generationFloor = await readGenerationFloor(this.pool, this.deadlineMs);
    } catch (error) {
      await opened.close();
      throw error;
    }
    for (const shard of shardsOfGroup(group, this.groupCount)) open.lane.forget(shard);
    return opened;
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

  /** The lane that a shard's group is on; undefined while none is open there. */
  laneOf(shard: Shard): MysqlLane | undefined {
    const { lanesMax = defaultLanesMax } = this.options;
    return this.lanes[this.groupOf(shard) % lanesMax]?.lane;
  }

  private takeLane(place: number): OpenLane {
    let open = this.lanes[place];
    if (open === undefined || open.lane.isBroken) {
      const writer = new MysqlWriter(this.options.place);
      const bounds = { commitDeadlineMs: this.deadlineMs, raiseDeadlineMs };
      const { onWritten = () => undefined } = this.options;
      open = { lane: new MysqlLane(writer, this.pool, bounds, onWritten), groupCount: 0 };
      this.lanes[place] = open;
    }
    open.groupCount++;
    return open;
  }

  /** The last of its groups closes the lane. */
  private async leave(open: OpenLane): Promise<void> {
    open.groupCount--;
    if (open.groupCount > 0) return;
    const place = this.lanes.indexOf(open);
    if (place >= 0) this.lanes[place] = undefined;
    await open.lane.close();
  }
}
