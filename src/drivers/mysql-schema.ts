/**
 * The tables of the networked store, and how a database is brought to them.
 *
 * Each step is repeatable, because MySQL commits every CREATE by itself: a node that
 * dies in the middle leaves a start for the next one. Nodes that start at once take
 * turns by a named lock. A step says which earlier schema's releases still work with it,
 * so that a rolling deploy can go up and down; a schema that this release cannot work
 * with is left alone.
 *
 *   shards            a row for each, always there: fence, version, reservation
 *   sessions          the session's record, and the highest seq dropped since
 *   entries           head and record of each stored message
 *   idempotency_keys  what a publisher's key was answered
 *   due               sessions with something due, by shard and time
 *   changes           the change log, a row for what one commit added to a shard
 *   restores          where generations start, a row for each time that a dump was loaded
 *
 * Keys and texts are bytes; what only this store reads is packed (lmdb-records.ts), each
 * with the version of its layout in front.
 */
import { Fault } from "../base/result.js";
import { shardCount } from "../protocol/shards.js";
import { MysqlConnection, type MysqlPlace } from "./mysql-connection.js";
import { list, packet, type Sql, sql } from "./mysql-text.js";

/** A migration may rebuild a table; nobody serves meanwhile. */
const migrateDeadlineMs = 600_000;
const lockWaitSeconds = 60;
const connectDeadlineMs = 5_000;

const shardRows = Array.from({ length: shardCount }, (_, shard) => sql`(${shard}, '', '')`);

interface Step {
  /** Releases that know this schema, or a later one, work with the tables after the step. */
  readonly leastSchema: number;
  readonly statements: readonly Sql[];
}

/** In order; a step that was released is never edited. Its number is its place, from 1. */
const steps: readonly Step[] = [
  {
    leastSchema: 1,
    statements: [
      sql`CREATE TABLE IF NOT EXISTS shards (
      shard SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
      epoch BIGINT UNSIGNED NOT NULL DEFAULT 0,
      holder VARBINARY(128) NOT NULL,
      writer VARBINARY(64) NOT NULL,
      version BIGINT UNSIGNED NOT NULL DEFAULT 0,
      last_change BIGINT UNSIGNED NOT NULL DEFAULT 0,
      published_change BIGINT UNSIGNED NOT NULL DEFAULT 0,
      reserved_until_ms BIGINT UNSIGNED NOT NULL DEFAULT 0
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC`,
      sql`CREATE TABLE IF NOT EXISTS sessions (
      shard SMALLINT UNSIGNED NOT NULL,
      session_key VARBINARY(200) NOT NULL,
      dropped_seq BIGINT UNSIGNED NOT NULL,
      record MEDIUMBLOB NULL,
      PRIMARY KEY (shard, session_key)
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC`,
      sql`CREATE TABLE IF NOT EXISTS entries (
      shard SMALLINT UNSIGNED NOT NULL,
      session_key VARBINARY(200) NOT NULL,
      seq BIGINT UNSIGNED NOT NULL,
      head VARBINARY(4096) NOT NULL,
      record MEDIUMBLOB NOT NULL,
      PRIMARY KEY (shard, session_key, seq)
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC`,
      sql`CREATE TABLE IF NOT EXISTS idempotency_keys (
      shard SMALLINT UNSIGNED NOT NULL,
      session_key VARBINARY(200) NOT NULL,
      id VARBINARY(256) NOT NULL,
      answer VARBINARY(256) NOT NULL,
      PRIMARY KEY (shard, session_key, id)
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC`,
      sql`CREATE TABLE IF NOT EXISTS due (
      shard SMALLINT UNSIGNED NOT NULL,
      at_ms BIGINT UNSIGNED NOT NULL,
      session_key VARBINARY(200) NOT NULL,
      PRIMARY KEY (shard, at_ms, session_key)
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC`,
      sql`CREATE TABLE IF NOT EXISTS changes (
      shard SMALLINT UNSIGNED NOT NULL,
      last_number BIGINT UNSIGNED NOT NULL,
      change_count INT UNSIGNED NOT NULL,
      packed MEDIUMBLOB NOT NULL,
      PRIMARY KEY (shard, last_number)
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC`,
      sql`INSERT IGNORE INTO shards (shard, holder, writer) VALUES ${list(shardRows)}`,
    ],
  },
  {
    leastSchema: 1,
    statements: [
      sql`CREATE TABLE IF NOT EXISTS restores (
      generation_floor BIGINT UNSIGNED NOT NULL,
      restored_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC`,
    ],
  },
];

export const schemaVersion = steps.length;

export interface Migrated {
  readonly from: number;
  readonly to: number;
}

/**
 * Brings the database to this release's tables. Throws Fault("STORE_NEWER_SCHEMA",
 * "not-done") when they are a later release's, and Fault("STORE_UNAVAILABLE").
 */
export async function migrateMysql(place: MysqlPlace): Promise<Migrated> {
  const connection = await MysqlConnection.open(place, connectDeadlineMs);
  try {
    await takeTurn(connection);
    const { version: from, leastSchema } = await readVersion(connection);
    if (leastSchema > schemaVersion) throw newerSchema(place, from);
    for (const [index, step] of steps.entries()) {
      if (index >= from) await apply(connection, index + 1, step);
    }
    return { from, to: Math.max(from, schemaVersion) };
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    const message = `the tables of ${place.database} were not made: ${(cause as Error).message}`;
    throw new Fault("STORE_UNAVAILABLE", "not-done", message, { cause });
  } finally {
    // The lock goes with the connection.
    await connection.end(connectDeadlineMs);
  }
}

async function takeTurn(connection: MysqlConnection): Promise<void> {
  // Locks are the whole server's, the database is one of several there.
  const turn = sql`SELECT GET_LOCK(CONCAT('belfry.schema.', MD5(DATABASE())), ${lockWaitSeconds})`;
  const [rows] = await connection.run(turn, (lockWaitSeconds + 5) * 1_000);
  if (rows?.[0]?.[0] === 1) return;
  throw new Error(`another node has been making them for ${lockWaitSeconds} s`);
}

async function readVersion(
  connection: MysqlConnection,
): Promise<{ version: number; leastSchema: number }> {
  const [tables] = await connection.run(
    sql`SELECT COUNT(*) FROM information_schema.tables
      WHERE table_schema = DATABASE() AND table_name = 'schema_steps'`,
    migrateDeadlineMs,
  );
  if (tables?.[0]?.[0] === 0) return { version: 0, leastSchema: 0 };
  const newest = sql`SELECT COALESCE(MAX(version), 0), COALESCE(MAX(least_schema), 0)
    FROM schema_steps`;
  const [rows] = await connection.run(newest, migrateDeadlineMs);
  const [version, leastSchema] = rows?.[0] ?? [];
  return { version: Number(version), leastSchema: Number(leastSchema) };
}

async function apply(connection: MysqlConnection, version: number, step: Step): Promise<void> {
  const table = sql`CREATE TABLE IF NOT EXISTS schema_steps (
    version INT UNSIGNED NOT NULL PRIMARY KEY,
    least_schema INT UNSIGNED NOT NULL,
    applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
  ) ENGINE=InnoDB`;
  const done = sql`INSERT INTO schema_steps (version, least_schema)
    VALUES (${version}, ${step.leastSchema})`;
  await connection.run(packet([table, ...step.statements, done]), migrateDeadlineMs);
}

function newerSchema({ database }: MysqlPlace, version: number): Fault {
  const message =
    `the database ${database} has the tables of a later release (schema ${version}, ` +
    `this one knows ${schemaVersion}); nothing was changed`;
  return new Fault("STORE_NEWER_SCHEMA", "not-done", message);
}
