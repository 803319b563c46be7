/** What a group reads from MySQL; each read is one statement, so it sees one moment. */
import type {
  Due,
  NumberedChange,
  SessionNames,
  SessionSize,
  StoredEntry,
} from "../ports/inbox-store.js";
import type { SessionKey, Shard } from "../protocol/shards.js";
import type { MysqlPool } from "./mysql-pool.js";
import { sql, utf8 } from "./mysql-text.js";
import { noParts, type SessionParts } from "./session-parts.js";
import { readChanges, readEntry, readKey, readRecord, readSummary } from "./stored-bytes.js";

const sessionPart = 1;
const entryPart = 2;
const keyPart = 3;
/** Entries of one read: a page of full records stays small in the server and here. */
const pageMax = 64;

export async function readSession(
  pool: MysqlPool,
  shard: Shard,
  key: SessionKey,
): Promise<SessionParts> {
  const name = utf8(key);
  const rows = await pool.read(
    sql`SELECT ${sessionPart}, dropped_seq, 0, record, NULL FROM sessions
      WHERE shard = ${shard} AND session_key = ${name}
      UNION ALL SELECT ${entryPart}, seq, LENGTH(record), head, NULL FROM entries
      WHERE shard = ${shard} AND session_key = ${name}
      UNION ALL SELECT ${keyPart}, 0, 0, answer, id FROM idempotency_keys
      WHERE shard = ${shard} AND session_key = ${name}`,
  );
  const parts = noParts();
  for (const [part, decimal, bytes, packed, id] of rows) {
    // A column that is signed in one part of the union and unsigned in another is a text.
    const number = Number(decimal);
    if (part === entryPart) {
      parts.entries.push(readSummary(number, packed as Buffer, Number(bytes)));
    } else if (part === keyPart) {
      parts.keys.push(readKey(String(id), packed as Buffer));
    } else {
      parts.droppedSeq = number;
      if (packed !== null) parts.record = readRecord(packed as Buffer);
    }
  }
  return parts;
}

export async function readNames(
  pool: MysqlPool,
  shard: Shard,
  key: SessionKey,
): Promise<SessionNames> {
  const name = utf8(key);
  const rows = await pool.read(
    sql`SELECT ${entryPart}, seq, NULL FROM entries
      WHERE shard = ${shard} AND session_key = ${name}
      UNION ALL SELECT ${keyPart}, 0, id FROM idempotency_keys
      WHERE shard = ${shard} AND session_key = ${name}`,
  );
  const entries = rows.filter(([part]) => part === entryPart);
  const keys = rows.filter(([part]) => part === keyPart);
  const seqs = entries.map(([, seq]) => Number(seq)).sort((one, other) => one - other);
  return { seqs, keys: keys.map(([, , id]) => String(id)) };
}

export async function readEntries(
  pool: MysqlPool,
  shard: Shard,
  key: SessionKey,
  afterSeq: number,
  countMax: number,
  bytesMax: number,
): Promise<readonly StoredEntry[]> {
  const read: StoredEntry[] = [];
  let bytes = 0;
  let after = afterSeq;
  while (read.length < countMax) {
    const pageSize = Math.min(pageMax, countMax - read.length);
    const rows = await pool.read(
      sql`SELECT seq, head, record FROM entries WHERE shard = ${shard}
        AND session_key = ${utf8(key)} AND seq > ${after} ORDER BY seq LIMIT ${pageSize}`,
    );
    for (const [seq, head, record] of rows) {
      const entry = readEntry(seq as number, head as Buffer, record as Buffer);
      bytes += entry.record.length;
      if (read.length > 0 && bytes > bytesMax) return read;
      read.push(entry);
      after = entry.seq;
    }
    if (rows.length < pageSize) break;
  }
  return read;
}

/** The earliest of the shard, due or not. */
export async function readEarliest(
  pool: MysqlPool,
  shard: Shard,
  countMax: number,
): Promise<readonly Due[]> {
  const rows = await pool.read(
    sql`SELECT at_ms, session_key FROM due WHERE shard = ${shard}
      ORDER BY at_ms, session_key LIMIT ${countMax}`,
  );
  return rows.map(([atMs, key]) => ({ atMs: atMs as number, key: String(key) as SessionKey }));
}

export async function readChangeLog(
  pool: MysqlPool,
  shard: Shard,
  afterNumber: number,
  countMax: number,
): Promise<readonly NumberedChange[]> {
  const read: NumberedChange[] = [];
  let after = afterNumber;
  while (read.length < countMax) {
    const rows = await pool.read(
      sql`SELECT last_number, change_count, packed,
        (SELECT published_change FROM shards WHERE shard = ${shard})
        FROM changes WHERE shard = ${shard}
        AND last_number > ${after} ORDER BY last_number LIMIT ${pageMax}`,
    );
    for (const [last, count, packed, published] of rows) {
      after = last as number;
      const least = Math.max(afterNumber, published as number);
      for (const change of readChanges(after, count as number, packed as Buffer)) {
        if (change.number > least && read.length < countMax) read.push(change);
      }
    }
    if (rows.length < pageMax) break;
  }
  return read;
}

export async function readSizes(
  pool: MysqlPool,
  shard: Shard,
  afterKey: string,
  countMax: number,
): Promise<readonly SessionSize[]> {
  const rows = await pool.read(
    sql`SELECT session_key, COUNT(*), CAST(SUM(LENGTH(record)) AS UNSIGNED) FROM entries
      WHERE shard = ${shard} AND session_key > ${utf8(afterKey)}
      GROUP BY session_key ORDER BY session_key LIMIT ${countMax}`,
  );
  return rows.map(([key, messages, bytes]) => ({
    key: String(key) as SessionKey,
    messages: Number(messages),
    bytes: Number(bytes),
  }));
}
