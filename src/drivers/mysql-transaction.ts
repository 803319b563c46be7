/**
 * One transaction of a group as packets of SQL: usually a single packet that ends with
 * its COMMIT, so that a client that stops in the middle holds no lock.
 *
 * The statement that advances the shards' versions comes first, in shard order, and is
 * the fence: where a fence is above the writer's epoch, or the version is not the one
 * that the writer knows, it assigns NULL to a column that has none, and the server
 * refuses it and everything after it. So a packet that reaches the server late, when
 * its shard was raised again, changes nothing, even under an equal epoch.
 */
import { Fault } from "../base/result.js";
import { unpublishedMax } from "../ports/inbox-store.js";
import type { Shard } from "../protocol/shards.js";
import { list, packet, type Sql, sql, utf8 } from "./mysql-text.js";
import type { NetSession, NetShard } from "./net-writes.js";
import { packChanges, packHead, packKey, packRecord } from "./stored-bytes.js";

/** A shard before the transaction, as far as its writer knows. */
export interface KnownShard {
  readonly version: number;
  readonly lastChange: number;
  readonly publishedChange: number;
}

/** Statements before the one that judges the fences. */
const statementsBeforeFence = 1;
/** The server's number of the error for NULL in a column that has none. */
const nullRefused = 1048;

export function isFenceRefusal(error: { errno: number; doneCount: number }): boolean {
  return error.errno === nullRefused && error.doneCount === statementsBeforeFence;
}

/** Rows of one statement: few enough for the optimizer to find each by its key. */
const rowsMax = 200;
const statementBytesMax = 512 * 1024;
/** A row of the log: few enough changes that a reader's page is no surprise. */
const changesPerRow = 256;
/** A shard's log is trimmed when its number passes a multiple of this. */
const trimEvery = 128;

export interface Packet {
  readonly sql: Sql;
  readonly statementCount: number;
}

/** What a packet has beside its SQL. */
const packetOverhead = 64;

/** Throws Fault("STORE_UNAVAILABLE", "not-done") for a row that no packet can carry. */
export function transactionPackets(
  shards: readonly NetShard[],
  known: (shard: Shard) => KnownShard,
  packetBytesMax: number,
): Packet[] {
  const inOrder = [...shards].sort((a, b) => a.shard - b.shard);
  const rows = new TransactionRows();
  for (const shard of inOrder) rows.addShard(shard, known(shard.shard));
  const statements = [sql`START TRANSACTION`, ...rows.statements(), sql`COMMIT`];
  return packetsOf(statements, packetBytesMax);
}

class TransactionRows {
  private readonly shards: Sql[] = [];
  private readonly removed: Sql[] = [];
  private readonly sessions: Sql[] = [];
  private readonly dropped: Sql[] = [];
  private readonly appended: Sql[] = [];
  private readonly forgotten: Sql[] = [];
  private readonly remembered: Sql[] = [];
  private readonly dueRemoved: Sql[] = [];
  private readonly dueAdded: Sql[] = [];
  private readonly changes: Sql[] = [];
  private readonly trims: Sql[] = [];

  addShard(net: NetShard, known: KnownShard): void {
    const { shard, epoch, reserveUntilMs, changes } = net;
    const { lastChange } = known;
    const newLast = lastChange + changes.length;
    const published = publishedAfter(net, known);
    this.shards.push(
      sql`(${shard},${epoch},'','',${known.version + 1},${newLast},${published},${reserveUntilMs})`,
    );
    for (const session of net.sessions.values()) this.addSession(shard, session);
    for (let at = 0; at < changes.length; at += changesPerRow) {
      const part = changes.slice(at, at + changesPerRow);
      const last = lastChange + at + part.length;
      this.changes.push(sql`(${shard},${last},${part.length},${packChanges(part)})`);
    }
    const isNumberRound = Math.floor(newLast / trimEvery) !== Math.floor(lastChange / trimEvery);
    const trimTo = Math.max(published, newLast - unpublishedMax);
    if (trimTo <= 0 || (!isNumberRound && published === known.publishedChange)) return;
    this.trims.push(sql`DELETE FROM changes WHERE shard = ${shard} AND last_number <= ${trimTo}`);
  }

  private addSession(shard: Shard, session: NetSession): void {
    const key = utf8(session.key);
    const { record, droppedSeq } = session;
    if (session.isRemoved) this.removed.push(sql`(${shard},${key})`);
    if (record !== undefined || droppedSeq > 0) {
      const packed = record === undefined ? null : packRecord(record);
      this.sessions.push(sql`(${shard},${key},${droppedSeq},${packed})`);
    }
    for (const seq of session.dropped) {
      if (!session.appended.has(seq)) this.dropped.push(sql`(${shard},${key},${seq})`);
    }
    for (const entry of session.appended.values()) {
      const row = sql`(${shard},${key},${entry.seq},${packHead(entry)},${entry.record})`;
      this.appended.push(row);
    }
    for (const id of session.forgotten) {
      if (session.remembered.has(id)) continue;
      this.forgotten.push(sql`(${shard},${key},${utf8(id)})`);
    }
    for (const [id, remembered] of session.remembered) {
      this.remembered.push(sql`(${shard},${key},${utf8(id)},${packKey(remembered)})`);
    }
    this.addDue(shard, key, session);
  }

  private addDue(shard: Shard, key: Uint8Array, { dueAdded, dueRemoved }: NetSession): void {
    for (const atMs of dueRemoved) {
      if (!dueAdded.has(atMs)) this.dueRemoved.push(sql`(${shard},${atMs},${key})`);
    }
    for (const atMs of dueAdded) this.dueAdded.push(sql`(${shard},${atMs},${key})`);
  }

  statements(): Sql[] {
    return [
      ...inParts(
        this.shards,
        (rows) => sql`INSERT INTO shards
          (shard, epoch, holder, writer, version, last_change, published_change,
            reserved_until_ms)
          VALUES ${rows} ON DUPLICATE KEY UPDATE
          version = IF(VALUES(epoch) >= epoch AND VALUES(version) = version + 1,
            VALUES(version), NULL),
          last_change = VALUES(last_change),
          published_change = VALUES(published_change),
          reserved_until_ms = GREATEST(reserved_until_ms, VALUES(reserved_until_ms))`,
        // One statement, whose place in the packet says that it was the fence that refused.
        Number.POSITIVE_INFINITY,
      ),
      ...inParts(
        this.removed,
        (rows) => sql`DELETE FROM sessions WHERE (shard, session_key) IN (${rows})`,
      ),
      ...inParts(
        this.dropped,
        (rows) => sql`DELETE FROM entries WHERE (shard, session_key, seq) IN (${rows})`,
      ),
      ...inParts(
        this.sessions,
        (rows) => sql`INSERT INTO sessions (shard, session_key, dropped_seq, record)
          VALUES ${rows} ON DUPLICATE KEY UPDATE
          dropped_seq = GREATEST(dropped_seq, VALUES(dropped_seq)),
          record = COALESCE(VALUES(record), record)`,
      ),
      ...inParts(
        this.appended,
        (rows) => sql`REPLACE INTO entries (shard, session_key, seq, head, record) VALUES ${rows}`,
      ),
      ...inParts(
        this.forgotten,
        (rows) => sql`DELETE FROM idempotency_keys WHERE (shard, session_key, id) IN (${rows})`,
      ),
      ...inParts(
        this.remembered,
        (rows) => sql`REPLACE INTO idempotency_keys (shard, session_key, id, answer)
          VALUES ${rows}`,
      ),
      ...inParts(
        this.dueRemoved,
        (rows) => sql`DELETE FROM due WHERE (shard, at_ms, session_key) IN (${rows})`,
      ),
      ...inParts(
        this.dueAdded,
        (rows) => sql`REPLACE INTO due (shard, at_ms, session_key) VALUES ${rows}`,
      ),
      ...inParts(
        this.changes,
        (rows) => sql`INSERT INTO changes (shard, last_number, change_count, packed)
          VALUES ${rows}`,
      ),
      ...this.trims,
    ];
  }
}

/** What stands of the shard's published changes once the transaction is through. */
export function publishedAfter(net: NetShard, { lastChange, publishedChange }: KnownShard): number {
  const newLast = lastChange + net.changes.length;
  return Math.max(publishedChange, Math.min(net.publishedChange, newLast));
}

function inParts(
  rows: readonly Sql[],
  statement: (rows: ReturnType<typeof list>) => Sql,
  countMax = rowsMax,
): Sql[] {
  const statements: Sql[] = [];
  let start = 0;
  let bytes = 0;
  for (let at = 0; at < rows.length; at++) {
    bytes += rows[at]?.length ?? 0;
    const isFull = at - start + 1 >= countMax || bytes >= statementBytesMax;
    if (!isFull && at + 1 < rows.length) continue;
    statements.push(statement(list(rows.slice(start, at + 1))));
    start = at + 1;
    bytes = 0;
  }
  return statements;
}

/** Several only where the server would not take all in one. */
function packetsOf(statements: readonly Sql[], bytesMax: number): Packet[] {
  const packets: Packet[] = [];
  let waiting: Sql[] = [];
  let bytes = 0;
  const end = () => {
    packets.push({ sql: packet(waiting), statementCount: waiting.length });
    waiting = [];
    bytes = 0;
  };
  for (const statement of statements) {
    if (statement.length + packetOverhead > bytesMax) throw tooLarge(statement.length, bytesMax);
    if (waiting.length > 0 && bytes + statement.length + packetOverhead > bytesMax) end();
    waiting.push(statement);
    bytes += statement.length + 2;
  }
  end();
  return packets;
}

function tooLarge(bytes: number, bytesMax: number): Fault {
  const message = `a statement of ${bytes} bytes is above the server's max_allowed_packet, ${bytesMax}`;
  return new Fault("STORE_UNAVAILABLE", "not-done", message);
}
