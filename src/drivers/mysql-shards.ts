/** The rows of the table `shards`: what a group remembers of its shards. */
import { Fault } from "../base/result.js";
import type { Shard } from "../protocol/shards.js";
import type { Row } from "./mysql-connection.js";
import { numbers, type Sql, sql } from "./mysql-text.js";

export interface StoredShard {
  readonly shard: Shard;
  readonly epoch: number;
  readonly holder: string;
  /** Grows by one with each transaction that touches the shard. */
  readonly version: number;
  readonly lastChange: number;
  readonly publishedChange: number;
  readonly reservedUntilMs: number;
}

export function shardsQuery(shards: readonly Shard[]): Sql {
  return sql`SELECT shard, epoch, holder, version, last_change, published_change, reserved_until_ms
    FROM shards WHERE shard IN (${numbers(shards)}) ORDER BY shard`;
}

/** In shard order, so that two that lock some of the same never wait for each other. */
export function lockingShardsQuery(shards: readonly Shard[]): Sql {
  return sql`SELECT shard, epoch, holder, version, last_change, published_change, reserved_until_ms
    FROM shards WHERE shard IN (${numbers(shards)}) ORDER BY shard FOR UPDATE`;
}

/** Throws Fault("STORE_CORRUPT", "not-done") when a shard has no row: each was made with the table. */
export function readShards(rows: readonly Row[], shards: readonly Shard[]): StoredShard[] {
  if (rows.length !== new Set(shards).size) {
    const message = `of ${shards.length} shards the table has ${rows.length}`;
    throw new Fault("STORE_CORRUPT", "not-done", message);
  }
  return rows.map(([shard, epoch, holder, version, lastChange, published, reservedUntilMs]) => ({
    shard: shard as Shard,
    epoch: epoch as number,
    holder: String(holder),
    version: version as number,
    lastChange: lastChange as number,
    publishedChange: published as number,
    reservedUntilMs: reservedUntilMs as number,
  }));
}
