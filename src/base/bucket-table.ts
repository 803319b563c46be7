/**
 * Token buckets of many keys in bounded memory: `ways` places for each of some sets, and
 * a key's set is given by its hash. A full bucket needs no place, so the one that gives
 * way to a new key is the fullest of its set: who has taken least is forgiven what it
 * took, who has taken most stays, and nobody is counted for another (keys are compared).
 *
 * What a key can gain by being forgotten is at most what the fullest of its set had taken.
 */
import type { Rate } from "./token-bucket.js";
import { taken, waitMs } from "./token-bucket.js";

const ways = 8;

export class BucketTable {
  private readonly bucketKeys: (string | undefined)[];
  private readonly fullAtMs: Float64Array;
  private readonly sets: number;
  /** Of the last `waitMs`. */
  private place = 0;

  /** Rounded up to a power of two of sets. */
  constructor(placesMax: number) {
    let sets = 1;
    while (sets * ways < placesMax) sets *= 2;
    this.sets = sets;
    this.bucketKeys = new Array<string | undefined>(sets * ways).fill(undefined);
    this.fullAtMs = new Float64Array(sets * ways);
  }

  get places(): number {
    return this.bucketKeys.length;
  }

  /** Milliseconds until `key` may take one; 0 when it may now. Takes nothing. */
  waitMs(key: string, rate: Rate, nowMs: number): number {
    this.place = this.find(key);
    if (this.bucketKeys[this.place] !== key) return waitMs(0, rate, nowMs);
    return waitMs(this.fullAtMs[this.place] ?? 0, rate, nowMs);
  }

  /** Takes one for the key that `waitMs` was just asked for. */
  take(key: string, rate: Rate, nowMs: number): void {
    const { place } = this;
    const isItsOwn = this.bucketKeys[place] === key;
    const fullAtMs = isItsOwn ? (this.fullAtMs[place] ?? 0) : 0;
    if (!isItsOwn) this.bucketKeys[place] = key;
    this.fullAtMs[place] = taken(fullAtMs, rate, nowMs);
  }

  /** Where the key is, or else the place that gives way to it. */
  private find(key: string): number {
    const first = (hashOf(key) & (this.sets - 1)) * ways;
    let fullest = first;
    for (let place = first; place < first + ways; place++) {
      if (this.bucketKeys[place] === key) return place;
      if ((this.fullAtMs[place] ?? 0) < (this.fullAtMs[fullest] ?? 0)) fullest = place;
    }
    return fullest;
  }
}

/** FNV-1a, mixed once more: the shard is the same hash, and a node has few of the shards. */
function hashOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) {
    hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return hash ^ (hash >>> 13);
}
