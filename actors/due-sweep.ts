/**
 * Finds the sessions of a group that have something due, a few shards at each look. Where
 * it begins is by chance: a group that moves again and again must not look at the same
 * shards each time, and never at the others.
 */
import type { InboxGroup } from "../src/ports/inbox-store.js";
import type { SessionKey, Shard } from "../src/protocol/shards.js";

/** All 512 shards of a volume within eight looks. */
const shardsPerLook = 64;
const duePerShardMax = 64;
/** Of looks that are skipped after failures in a row: at most 31. */
const skipDoublingsMax = 5;

export class DueSweep {
  private next: number;
  private failures = 0;
  private looksToSkip = 0;

  /** `chance`: 0 to below 1. */
  constructor(
    private readonly inbox: InboxGroup,
    private readonly shards: readonly Shard[],
    chance: number,
  ) {
    this.next = Math.floor(chance * shards.length);
  }

  async look(
    nowMs: number,
    onDue: (shard: Shard, key: SessionKey, atMs: number) => void,
  ): Promise<void> {
    if (this.looksToSkip > 0) {
      this.looksToSkip--;
      return;
    }
    const { inbox, shards } = this;
    for (let count = 0; count < Math.min(shardsPerLook, shards.length); count++) {
      const shard = shards[this.next % shards.length] as Shard;
      const due = await inbox.readDue(shard, nowMs, duePerShardMax);
      this.next++;
      this.failures = 0;
      for (const { key, atMs } of due) onDue(shard, key, atMs);
    }
  }

  /** The store could not be read: what is due waits, and the next looks are fewer. */
  noteFailed(): void {
    this.failures++;
    this.looksToSkip = 2 ** Math.min(this.failures, skipDoublingsMax) - 1;
    // One shard that cannot be read is not to keep the others from being looked at.
    this.next++;
  }
}
