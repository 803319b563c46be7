/**
 * The keys of a volume, all binary and sorted bytewise:
 *
 *   01 shard                                    fence and reservation
 *   02 shard session-key 00 01                  the session's record
 *   02 shard session-key 00 02                  the highest seq dropped since
 *   02 shard session-key 00 03 seq              an entry
 *   02 shard session-key 00 04 id               an idempotency key
 *   03 shard atMs session-key                   something due
 *   04 shard                                    the newest changes, still growing
 *   05 shard number                             older changes from `number` on, sealed
 *   06 shard                                    the number up to which changes are published
 *   10                                          the floor of generations, once restored
 *
 * shard is 2 bytes, numbers are 8, big-endian. What is written together lies
 * together: LMDB copies each page that a transaction touches, so a push should touch
 * its session's page and one that many shards share. Session keys hold no 00, so no
 * key is the prefix of another's range.
 */
import type { SessionKey, Shard } from "../protocol/shards.js";
import type { WriteBatch } from "./lmdb-bytes.js";

const fenceKind = 1;
const sessionKind = 2;
const dueKind = 3;
const tailKind = 4;
const sealedKind = 5;
const floorKind = 16;
const publishedKind = 6;

export const sessionPart = { record: 1, droppedSeq: 2, entry: 3, idempotencyKey: 4 } as const;

export function fenceKey(batch: WriteBatch, shard: Shard): WriteBatch {
  return batch.startKey().u8(fenceKind).u16(shard);
}

export function sessionPartKey(
  batch: WriteBatch,
  shard: Shard,
  key: SessionKey,
  part: number,
): WriteBatch {
  return batch.startKey().u8(sessionKind).u16(shard).rawText(key).u8(0).u8(part);
}

export function entryKey(
  batch: WriteBatch,
  shard: Shard,
  key: SessionKey,
  seq: number,
): WriteBatch {
  return sessionPartKey(batch, shard, key, sessionPart.entry).u64(seq);
}

export function dueKey(batch: WriteBatch, shard: Shard, atMs: number, key: SessionKey): WriteBatch {
  return batch.startKey().u8(dueKind).u16(shard).u64(atMs).rawText(key);
}

export function tailKey(batch: WriteBatch, shard: Shard): WriteBatch {
  return batch.startKey().u8(tailKind).u16(shard);
}

export function sealedKey(batch: WriteBatch, shard: Shard, first: number): WriteBatch {
  return batch.startKey().u8(sealedKind).u16(shard).u64(first);
}

export function floorKey(batch: WriteBatch): WriteBatch {
  return batch.startKey().u8(floorKind);
}

export function floorReadKey(): Uint8Array {
  return new Uint8Array([floorKind]);
}

export function publishedKey(batch: WriteBatch, shard: Shard): WriteBatch {
  return batch.startKey().u8(publishedKind).u16(shard);
}

export function publishedReadKey(shard: Shard): Uint8Array {
  return readKey(publishedKind, shard);
}

/** Bytes before the part of a key of `key`'s range: kind, shard, session key, 00. */
export function partOffset(key: SessionKey): number {
  return 3 + key.length + 1;
}

/** Where atMs stands in the key of something due; the session's key follows it. */
export const dueOffset = 3;

export function shardIn(key: Uint8Array): Shard {
  return new DataView(key.buffer, key.byteOffset).getUint16(1) as Shard;
}

/** The number that stands at `offset`, or as the key's last 8 bytes. */
export function numberIn(key: Uint8Array, offset = key.length - 8): number {
  const view = new DataView(key.buffer, key.byteOffset + offset);
  return view.getUint32(0) * 2 ** 32 + view.getUint32(4);
}

export interface KeyRange {
  readonly start: Uint8Array;
  /** Not itself in the range. */
  readonly end: Uint8Array;
}

export function fenceReadKey(shard: Shard): Uint8Array {
  return readKey(fenceKind, shard);
}

export function fenceRange(from: Shard, count: number): KeyRange {
  return { start: readKey(fenceKind, from), end: readKey(fenceKind, from + count) };
}

export function sessionRange(shard: Shard, key: SessionKey): KeyRange {
  const start = readKey(sessionKind, shard, `${key}\0`);
  const end = readKey(sessionKind, shard, `${key}\u0001`);
  return { start, end };
}

/** All parts of all sessions of a shard. */
export function shardSessionsRange(shard: Shard): KeyRange {
  return { start: readKey(sessionKind, shard), end: readKey(sessionKind, shard + 1) };
}

/** Of a key in that range: the session's own key, and which part this is. */
export function splitSessionKey(key: Uint8Array): { session: string; part: number } {
  const end = key.indexOf(0, 3);
  const session = Buffer.from(key.buffer, key.byteOffset + 3, end - 3).toString("latin1");
  return { session, part: key[end + 1] ?? 0 };
}

/** A session's entries from `fromSeq` on. */
export function sessionEntriesRange(shard: Shard, key: SessionKey, fromSeq: number): KeyRange {
  const { entry } = sessionPart;
  return {
    start: readKey(sessionKind, shard, key + String.fromCharCode(0, entry), fromSeq),
    end: readKey(sessionKind, shard, key + String.fromCharCode(0, entry + 1)),
  };
}

/** All of the shard's sessions whose keys come after `afterKey`. */
export function sessionsRange(shard: Shard, afterKey: string): KeyRange {
  const start = afterKey === "" ? "" : `${afterKey}\u0001`;
  return { start: readKey(sessionKind, shard, start), end: readKey(sessionKind, shard + 1) };
}

/** Where the session's key stands in a key of its parts; it ends with a 00. */
export const sessionOffset = 3;

export function sessionPartReadKey(shard: Shard, key: SessionKey, part: number): Uint8Array {
  return readKey(sessionKind, shard, key + String.fromCharCode(0, part));
}

export function dueRange(shard: Shard, untilMs: number): KeyRange {
  // Session keys start above 00, so the next millisecond alone ends this one's.
  const end = Math.min(Math.max(Math.floor(untilMs) + 1, 0), Number.MAX_SAFE_INTEGER);
  return { start: readKey(dueKind, shard), end: readKey(dueKind, shard, "", end) };
}

export function tailReadKey(shard: Shard): Uint8Array {
  return readKey(tailKind, shard);
}

/** Sealed changes of `shard` whose first number is from `first` to below `end`. */
export function sealedRange(shard: Shard, first: number, end = 2 ** 53 - 1): KeyRange {
  return {
    start: readKey(sealedKind, shard, "", first),
    end: readKey(sealedKind, shard, "", end),
  };
}

function readKey(kind: number, shard: number, ascii = "", number?: number): Uint8Array {
  const length = 3 + ascii.length + (number === undefined ? 0 : 8);
  const bytes = Buffer.allocUnsafe(length);
  bytes[0] = kind;
  bytes.writeUInt16BE(shard, 1);
  bytes.write(ascii, 3, "latin1");
  if (number !== undefined) {
    bytes.writeUInt32BE(Math.floor(number / 2 ** 32), length - 8);
    bytes.writeUInt32BE(number % 2 ** 32, length - 4);
  }
  return bytes;
}
