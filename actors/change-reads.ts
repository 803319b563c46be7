/**
 * Reads that failed, of the change logs of one group: the shard alone rests, longer each time.
 * A log that the store has and cannot make sense of is read change by change after a few
 * tries, and what cannot be read by itself is passed over: else nothing after it were told.
 */
import type { Fault } from "../src/base/result.js";
import type { Shard } from "../src/protocol/shards.js";

/** The store's word that what it has is no change; whatever else may pass. */
const corrupt = "STORE_CORRUPT";
const triesMax = 5;
const restMs = 200;
const restMsMax = 10_000;

interface Trouble {
  failures: number;
  /** So many of them in a row said that it is corrupt. */
  corrupt: number;
}

export class ChangeReads {
  private readonly troubles = new Map<Shard, Trouble>();
  unreadable = 0;

  /** Shards whose last read failed. */
  get failing(): number {
    return this.troubles.size;
  }

  /** How many changes are to be asked for. */
  countFor(shard: Shard, countMax: number): number {
    return this.isSuspect(shard) ? 1 : countMax;
  }

  noteRead(shard: Shard): void {
    const trouble = this.troubles.get(shard);
    // Of a log that is read one by one the next may be the bad one.
    if (trouble !== undefined && !this.isSuspect(shard)) this.troubles.delete(shard);
  }

  /** All of it is read. */
  noteEnd(shard: Shard): void {
    this.troubles.delete(shard);
  }

  /** Returns how long the shard rests; undefined where the change is to be passed over instead. */
  noteFailed(shard: Shard, fault: Fault): number | undefined {
    if (this.isSuspect(shard) && fault.code === corrupt) {
      this.unreadable++;
      return undefined;
    }
    const trouble = this.troubles.get(shard) ?? { failures: 0, corrupt: 0 };
    trouble.failures++;
    trouble.corrupt = fault.code === corrupt ? trouble.corrupt + 1 : 0;
    this.troubles.set(shard, trouble);
    return Math.min(restMsMax, restMs * 2 ** Math.min(trouble.failures - 1, 20));
  }

  private isSuspect(shard: Shard): boolean {
    return (this.troubles.get(shard)?.corrupt ?? 0) >= triesMax;
  }
}
