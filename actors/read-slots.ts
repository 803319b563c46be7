/**
 * Reads that may wait, a few at a time for the whole node: an owner that takes over hundreds of
 * shards would ask for all of their change logs at once, before sessions that are waited for.
 */
export class ReadSlots {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  /** Bounded by what its callers have under way, each. */
  constructor(max: number) {
    this.free = max;
  }

  async run<Value>(read: () => Promise<Value>): Promise<Value> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => void this.waiting.push(resolve));
    try {
      return await read();
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.free++;
      else next();
    }
  }
}
