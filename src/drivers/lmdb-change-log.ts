/**
 * The change log of one shard.
 *
 * The newest changes grow in one small record, the tail, which is written whole with
 * each commit; a full tail is sealed under the number of its first change. So a
 * commit writes one record per shard, the tails of many shards share a page, and
 * trimming removes a few sealed records instead of one for each change.
 *
 * Invariant: the sealed records and the tail hold every number from `oldest` to
 * `last` once, and `oldest` is at most the one after the published, unless more than
 * unpublishedMax wait for being published.
 */
import { type NumberedChange, unpublishedMax } from "../ports/inbox-store.js";
import type { Shard } from "../protocol/shards.js";
import type { ByteReader, WriteBatch } from "./lmdb-bytes.js";
import { readChange } from "./lmdb-changes.js";
import type { LmdbEnvironment } from "./lmdb-environment.js";
import {
  numberIn,
  publishedKey,
  publishedReadKey,
  sealedKey,
  sealedRange,
  tailKey,
  tailReadKey,
} from "./lmdb-layout.js";
import { putPublished, readPublished, readVersioned, startVersioned } from "./lmdb-records.js";

/** Small enough that several tails share a page of 4 KiB, large enough to seal rarely. */
const tailBytesMax = 512;
/** So many that may go are trimmed at once. */
const trimAt = 256;

export class ShardLog {
  private tail: Uint8Array;
  private tailLength: number;
  /** The lowest number still held; found when trimming first looks for it. */
  private oldest: number | undefined;

  private constructor(
    private readonly shard: Shard,
    private first: number,
    private count: number,
    tail: Uint8Array,
    private publishedNumber: number,
  ) {
    this.tail = tail;
    this.tailLength = tail.length;
  }

  static load(environment: LmdbEnvironment, shard: Shard): ShardLog {
    const stored = readTail(environment, shard);
    const published = readPublishedNumber(environment, shard);
    if (stored === undefined) return new ShardLog(shard, 1, 0, new Uint8Array(), published);
    return new ShardLog(shard, stored.first, stored.count, stored.changes.rest(), published);
  }

  get published(): number {
    return this.publishedNumber;
  }

  /** Up to here all are published: a later `write` trims them. */
  publish(batch: WriteBatch, number: number): void {
    if (number <= this.publishedNumber) return;
    this.publishedNumber = Math.min(number, this.last);
    putPublished(publishedKey(batch, this.shard), this.publishedNumber);
  }

  /** The number of the last change, 0 when there is none. */
  get last(): number {
    return this.first + this.count - 1;
  }

  append(batch: WriteBatch, change: Uint8Array): void {
    if (this.count > 0 && this.tailLength + change.length > tailBytesMax) this.seal(batch);
    const length = this.tailLength + change.length;
    if (length > this.tail.length) {
      const grown = new Uint8Array(Math.max(length, 2 * this.tail.length));
      grown.set(this.tail.subarray(0, this.tailLength));
      this.tail = grown;
    }
    this.tail.set(change, this.tailLength);
    this.tailLength = length;
    this.count += 1;
  }

  /** Called once a transaction, after the last `append`. */
  write(batch: WriteBatch, environment: LmdbEnvironment): void {
    startVersioned(tailKey(batch, this.shard)).f64(this.first).u32(this.count);
    batch.raw(this.tail.subarray(0, this.tailLength)).endPut();
    const keepFrom = Math.max(this.publishedNumber, this.last - unpublishedMax) + 1;
    if (keepFrom - (this.oldest ?? 1) >= trimAt) this.trim(batch, environment, keepFrom);
  }

  private seal(batch: WriteBatch): void {
    startVersioned(sealedKey(batch, this.shard, this.first)).u32(this.count);
    batch.raw(this.tail.subarray(0, this.tailLength)).endPut();
    this.first += this.count;
    this.count = 0;
    this.tailLength = 0;
    // A change may be larger than a tail should stay.
    if (this.tail.length > 2 * tailBytesMax) this.tail = new Uint8Array(tailBytesMax);
  }

  /** Sealed records of this very transaction are not on disk yet; the next trim sees them. */
  private trim(batch: WriteBatch, environment: LmdbEnvironment, keepFrom: number): void {
    const firsts: number[] = [];
    for (const key of environment.keys(sealedRange(this.shard, 0, keepFrom + 1))) {
      firsts.push(numberIn(key));
    }
    // The last one that starts at or before keepFrom may hold keepFrom itself.
    const kept = firsts.pop();
    this.oldest = kept ?? this.oldest ?? 1;
    for (const first of firsts) sealedKey(batch, this.shard, first).endRemoval();
  }
}

/** Reads the log as it is on disk: numbers above `afterNumber` and the published, ascending. */
export function readLog(
  environment: LmdbEnvironment,
  shard: Shard,
  afterNumber: number,
  countMax: number,
): NumberedChange[] {
  const read: NumberedChange[] = [];
  const least = Math.max(afterNumber, readPublishedNumber(environment, shard));
  const take = (first: number, count: number, changes: ByteReader) => {
    for (let number = first; number < first + count && read.length < countMax; number++) {
      const change = readChange(changes);
      if (number > least) read.push({ number, ...change });
    }
  };
  const start = sealedStart(environment, shard, least + 1);
  for (const { key, value } of environment.range(sealedRange(shard, start))) {
    const changes = readVersioned(value);
    take(numberIn(key), changes.u32(), changes);
    if (read.length >= countMax) return read;
  }
  const tail = readTail(environment, shard);
  if (tail !== undefined) take(tail.first, tail.count, tail.changes);
  return read;
}

/** The first number of the sealed record that holds `number`, or `number` itself. */
function sealedStart(environment: LmdbEnvironment, shard: Shard, number: number): number {
  const key = environment.lastKey(sealedRange(shard, 0, number + 1));
  return key === undefined ? number : numberIn(key);
}

function readPublishedNumber(environment: LmdbEnvironment, shard: Shard): number {
  const stored = environment.get(publishedReadKey(shard));
  return stored === undefined ? 0 : readPublished(stored);
}

function readTail(environment: LmdbEnvironment, shard: Shard) {
  const stored = environment.get(tailReadKey(shard));
  if (stored === undefined) return undefined;
  const changes = readVersioned(stored);
  return { first: changes.f64(), count: changes.u32(), changes };
}
