/**
 * The earliest time at which a shard may have something due, so that looking for what
 * is due costs a networked store nothing while nothing is. Kept by the only writer of
 * the shard; a raised shard starts unknown.
 */
import type { Shard } from "../protocol/shards.js";

export class DueHorizon {
  private readonly shards = new Map<Shard, { earliestMs: number; adds: number }>();

  /** Whether the store must be asked for what is due up to `untilMs`. */
  isWithin(shard: Shard, untilMs: number): boolean {
    const known = this.shards.get(shard);
    return known === undefined || known.earliestMs <= untilMs;
  }

  added(shard: Shard, atMs: number): void {
    const known = this.shards.get(shard);
    if (known === undefined) return;
    known.adds++;
    known.earliestMs = Math.min(known.earliestMs, atMs);
  }

  forget(shard: Shard): void {
    this.shards.delete(shard);
  }

  /** Call with the earliest time that the read found, Infinity for none. */
  startRead(shard: Shard): (earliestMs: number) => void {
    let known = this.shards.get(shard);
    if (known === undefined) {
      // Until the answer is here, each time is within.
      known = { earliestMs: Number.NEGATIVE_INFINITY, adds: 0 };
      this.shards.set(shard, known);
    }
    const { adds } = known;
    return (earliestMs) => {
      const now = this.shards.get(shard);
      // What was added meanwhile may not have been in what was read.
      if (now === known && now.adds === adds) now.earliestMs = earliestMs;
    };
  }
}
