/**
 * The networked store's values: packed as the embedded store packs them
 * (lmdb-records.ts), so that what one of them can keep the other can, too. Only an
 * entry is in two parts: its head, which is read at every activation, and its record.
 */
import { Fault } from "../base/result.js";
import type {
  Change,
  EntrySummary,
  IdempotencyKey,
  NumberedChange,
  SessionRecord,
  StoredEntry,
} from "../ports/inbox-store.js";
import type { SessionKey } from "../protocol/shards.js";
import { type ByteReader, WriteBatch } from "./lmdb-bytes.js";
import { readChange, writeChange } from "./lmdb-changes.js";
import * as records from "./lmdb-records.js";

const scratch = new WriteBatch();
const nothing = new Uint8Array();

function packed(write: (batch: WriteBatch) => void): Buffer {
  scratch.clear();
  write(scratch.startKey());
  return Buffer.from(scratch.written());
}

export function packRecord(record: SessionRecord): Buffer {
  return packed((batch) => records.putSessionRecord(batch, record));
}

export function packHead(entry: StoredEntry): Buffer {
  return packed((batch) => records.putEntry(batch, { ...entry, record: nothing }));
}

export function packKey(key: IdempotencyKey): Buffer {
  return packed((batch) => records.putIdempotencyKey(batch, key));
}

export interface SessionChange {
  readonly key: SessionKey;
  readonly change: Change;
}

export function packChanges(changes: readonly SessionChange[]): Buffer {
  return packed((batch) => {
    records.startVersioned(batch);
    for (const { key, change } of changes) writeChange(batch, key, change);
  });
}

/** Throws Fault("STORE_CORRUPT", "not-done") like all that read here. */
export function readRecord(bytes: Uint8Array): SessionRecord {
  return reading("a session's record", () => records.readSessionRecord(bytes));
}

export function readEntry(seq: number, head: Uint8Array, record: Uint8Array): StoredEntry {
  return reading("an entry", () => ({ ...records.readEntry(seq, head), record }));
}

export function readSummary(seq: number, head: Uint8Array, bytes: number): EntrySummary {
  return reading("an entry", () => ({ ...records.readEntrySummary(seq, head), bytes }));
}

export function readKey(id: string, bytes: Uint8Array): IdempotencyKey {
  return reading("an idempotency key", () => records.readIdempotencyKey(id, bytes));
}

/** The changes that end with the number `last`. */
export function readChanges(last: number, count: number, bytes: Uint8Array): NumberedChange[] {
  return reading("a row of changes", () => {
    const reader: ByteReader = records.readVersioned(bytes);
    const first = last - count + 1;
    return Array.from({ length: count }, (_, at) => ({
      number: first + at,
      ...readChange(reader),
    }));
  });
}

function reading<Value>(what: string, read: () => Value): Value {
  try {
    return read();
  } catch (cause) {
    const message = `${what} in the store cannot be read: ${(cause as Error).message}`;
    throw new Fault("STORE_CORRUPT", "not-done", message, { cause });
  }
}
