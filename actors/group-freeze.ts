/**
 * How far a group is on its way out: the shards that still have sessions, told again and
 * again to freeze until none has (see freeze.ts).
 */
import type { Shard } from "../src/protocol/shards.js";

/** The group, as its freeze knows it. */
export interface FreezingGroup {
  hasShard(shard: Shard): boolean;
  freezeShard(shard: Shard): void;
  /** No session is left, and none will be made. */
  drained(): void;
}

export class GroupFreeze {
  /** Shards that still have sessions; undefined while the group does not freeze. */
  private thawed: Set<Shard> | undefined = undefined;

  constructor(private readonly group: FreezingGroup) {}

  get hasBegun(): boolean {
    return this.thawed !== undefined;
  }

  begin(shards: Iterable<Shard>): void {
    this.thawed = new Set(shards);
    this.tellShards();
  }

  /** Again after a while: a full mailbox did not take it, a crash has forgotten it. */
  tellShards(): void {
    const { thawed, group } = this;
    if (thawed === undefined) return;
    for (const shard of thawed) {
      if (group.hasShard(shard)) group.freezeShard(shard);
      else thawed.delete(shard);
    }
    if (thawed.size === 0) group.drained();
  }

  onShardFrozen(shard: Shard): void {
    if (this.thawed?.delete(shard) && this.thawed.size === 0) this.group.drained();
  }
}
