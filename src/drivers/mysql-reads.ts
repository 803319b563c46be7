/** What a group reads from MySQL; each read is one statement, so it sees one moment. */
import type {
  Due,
  EntrySummary,
  IdempotencyKey,
  NumberedChange,
  SessionRecord,
  StoredEntry,
  StoredSession,
} from "../ports/inbox-store.js";
import type { SessionKey, Shard } from "../protocol/shards.js";
import type { Row } from "./mysql-connection.js";
import type { MysqlPool } from "./mysql-pool.js";
import { sql, utf8 } from "./mysql-text.js";
import { readChanges, readEntry, readKey, readRecord, readSummary } from "./stored-bytes.js";

const sessionPart = 1;
const entryPart = 2;
const keyPart = 3;
/** Entries of one read: a page of full records stays small in the server and here. */
const pageMax = 64;

export async function loadSession(
  pool: MysqlPool,
  shard: Shard,
  key: SessionKey,
): Promise<StoredSession | undefined> {
  const name = utf8(key);
  const rows = await pool.read(
    sql`SELECT ${sessionPart}, dropped_seq, 0, record, NULL FROM sessions
      WHERE shard = ${shard} AND session_key = ${name}
      UNION ALL SELECT ${entryPart}, seq, LENGTH(record), head, NULL FROM entries
      WHERE shard = ${shard} AND session_key = ${name}
      UNION ALL SELECT ${keyPart}, 0, 0, answer, id FROM idempotency_keys
      WHERE shard = ${shard} AND session_key = ${name}`,
  );
  if (rows.length === 0) return undefined;
  return sessionOf(rows);
}

function sessionOf(rows: readonly Row[]): StoredSession | undefined {
  let record: SessionRecord | undefined;
  let lastSeq = 0;
  const entries: EntrySummary[] = [];
  const keys: IdempotencyKey[] = [];
  for (const [part, number, bytes, packed, id] of rows) {
    const seq = Number(number);
    if (part === keyPart) {
      keys.push(readKey(String(id), packed as Buffer));
      continue;
    }
    lastSeq = Math.max(lastSeq, seq);
    if (part === entryPart) entries.push(readSummary(seq, packed as Buffer, Number(bytes)));
    else if (packed !== null) record = readRecord(packed as Buffer);
  }
  entries.sort((a, b) => a.seq - b.seq);
  const known = record ?? { generation: 0, lastSeq: 0, devices: [] };
  return { record: { ...known, lastSeq: Math.max(known.lastSeq, lastSeq) }, entries, keys };
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
      sql`SELECT last_number, change_count, packed FROM changes WHERE shard = ${shard}
        AND last_number > ${after} ORDER BY last_number LIMIT ${pageMax}`,
    );
    for (const [last, count, packed] of rows) {
      after = last as number;
      for (const change of readChanges(after, count as number, packed as Buffer)) {
        if (change.number > afterNumber && read.length < countMax) read.push(change);
      }
    }
    if (rows.length < pageMax) break;
  }
  return read;
}
