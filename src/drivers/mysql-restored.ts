/**
 * Tables into which a dump was loaded know nothing of what came after it; see RestoreMark.
 * Nobody may serve them meanwhile.
 */
import type { RestoreMark } from "../ports/inbox-store.js";
import { MysqlConnection, type MysqlPlace } from "./mysql-connection.js";
import type { MysqlPool } from "./mysql-pool.js";
import { packet, sql, utf8 } from "./mysql-text.js";

const deadlineMs = 60_000;

/** Throws Fault("STORE_UNAVAILABLE"). Nothing is lowered, so it may be repeated. */
export async function markMysqlRestored(place: MysqlPlace, mark: RestoreMark): Promise<void> {
  const { generationFloor, epoch, reserveUntilMs } = mark;
  const connection = await MysqlConnection.open(place, deadlineMs);
  try {
    await connection.run(
      packet([
        sql`START TRANSACTION`,
        sql`INSERT INTO restores (generation_floor) VALUES (${generationFloor})`,
        // A new version as well: what Redis copied of the lost timeline is void.
        sql`UPDATE shards SET epoch = GREATEST(epoch + 1, ${epoch}), version = version + 1,
          holder = ${utf8("a restore")}, writer = ${utf8("")},
          reserved_until_ms = GREATEST(reserved_until_ms, ${reserveUntilMs})`,
        sql`COMMIT`,
      ]),
      deadlineMs,
    );
  } finally {
    await connection.end(deadlineMs);
  }
}

/** 0 where nothing was ever restored. */
export async function readGenerationFloor(
  pool: MysqlPool,
  readDeadlineMs: number,
): Promise<number> {
  const highest = sql`SELECT COALESCE(MAX(generation_floor), 0) FROM restores`;
  const [row] = await pool.read(highest, readDeadlineMs);
  return Number(row?.[0] ?? 0);
}
