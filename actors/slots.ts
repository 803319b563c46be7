/**
 * What may wait, a few at a time for the whole node: an owner that takes over hundreds of
 * shards would read all of their change logs at once, before sessions that are waited for;
 * an erasure purges every lane.
 */
export class Slots {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  /** Bounded by what its callers have under way, each. */
  constructor(max: number) {
    this.free = max;
  }

  get waitingCount(): number {
    return this.waiting.length;
  }

  async run<Value>(work: () => Promise<Value>): Promise<Value> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => void this.waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.free++;
      else next();
    }
  }
}
