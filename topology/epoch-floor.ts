/**
 * The highest epochs that one node ever saw, the master's and each shard's. A bucket
 * that was rolled back forgets epochs, and would give them a second time; who has seen
 * them does not forget.
 */
import { type Shard, shardCount } from "../src/protocol/shards.js";
import type { PlacementTable } from "./placement-table.js";

export class EpochFloor {
  private master = 0;
  private readonly epochs = new Uint32Array(shardCount);

  get masterEpoch(): number {
    return this.master;
  }

  note(table: PlacementTable): void {
    this.noteMaster(table.masterEpoch);
    for (let number = 0; number < shardCount; number++) {
      const epoch = table.epochOf(number as Shard);
      if (epoch > (this.epochs[number] ?? 0)) this.epochs[number] = epoch;
    }
  }

  noteMaster(epoch: number): void {
    this.master = Math.max(this.master, epoch);
  }

  /**
   * `table`, but shards that were once given under a higher epoch than it says are
   * nobody's, at that epoch: whoever gets them goes above. The same object when it is whole.
   */
  lift(table: PlacementTable): PlacementTable {
    const forgotten: Shard[] = [];
    for (let number = 0; number < shardCount; number++) {
      const shard = number as Shard;
      if (table.epochOf(shard) < (this.epochs[number] ?? 0)) forgotten.push(shard);
    }
    if (forgotten.length === 0) return table;
    return table.withoutOwner(forgotten, (shard) => this.epochs[shard] ?? 0);
  }
}
