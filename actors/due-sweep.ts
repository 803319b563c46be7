/**
 * Finds the sessions of a group that have something due, a few shards at each look. Where
 * it begins is by chance: a group that moves again and again must not look at the same
 * shards each time, and never at the others.
 *
 * What stays due when it was given, as of a user whose rows do not read, is gone past: a full
 * page is followed by what is behind it, and the oldest have their turn again after the last.
 */
import type { Due, InboxGroup } from "../src/ports/inbox-store.js";
import type { SessionKey, Shard } from "../src/protocol/shards.js";

/** All 512 shards of a volume within eight looks. */
const shardsPerLook = 64;
const duePerShardMax = 64;
/** Then from the oldest again: so no more than 4,096 rows are read to give a page of them. */
const pagesMax = 64;
/** Of looks that are skipped after failures in a row: at most 31. */
const skipDoublingsMax = 5;

/** How far a round through what is due of a shard has come. */
interface Round {
  readonly last: Due;
  /** Due up to `last` when it was given. */
  readonly rows: number;
  readonly pages: number;
}

export class DueSweep {
  private next: number;
  private failures = 0;
  private looksToSkip = 0;
  /** Only of shards with more due than a page. */
  private readonly rounds = new Map<Shard, Round>();

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
    const { shards } = this;
    for (let count = 0; count < Math.min(shardsPerLook, shards.length); count++) {
      const shard = shards[this.next % shards.length] as Shard;
      const due = await this.nextPage(shard, nowMs);
      this.next++;
      this.failures = 0;
      for (const { key, atMs } of due) onDue(shard, key, atMs);
    }
  }

  private async nextPage(shard: Shard, nowMs: number): Promise<readonly Due[]> {
    const round = this.rounds.get(shard);
    const due = await this.inbox.readDue(shard, nowMs, (round?.rows ?? 0) + duePerShardMax);
    const ahead = round === undefined ? due : due.filter((one) => isBehind(one, round.last));
    const page = ahead.slice(0, duePerShardMax);
    const last = page.at(-1);
    const pages = (round?.pages ?? 0) + 1;
    if (last === undefined || page.length < duePerShardMax || pages === pagesMax) {
      this.rounds.delete(shard);
    } else {
      const rows = due.length - ahead.length + page.length;
      this.rounds.set(shard, { last, rows, pages });
    }
    return page;
  }

  /** The store could not be read: what is due waits, and the next looks are fewer. */
  noteFailed(): void {
    this.failures++;
    this.looksToSkip = 2 ** Math.min(this.failures, skipDoublingsMax) - 1;
    // One shard that cannot be read is not to keep the others from being looked at.
    this.next++;
  }
}

function isBehind(one: Due, { atMs, key }: Due): boolean {
  return one.atMs > atMs || (one.atMs === atMs && one.key > key);
}
