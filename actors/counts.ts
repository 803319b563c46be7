/** How often of each; what is at zero is not kept. */
export class Counts<Key extends string> {
  private readonly counts = new Map<Key, number>();

  of(key: Key): number {
    return this.counts.get(key) ?? 0;
  }

  add(key: Key, by: number): void {
    const count = this.of(key) + by;
    if (count === 0) this.counts.delete(key);
    else this.counts.set(key, count);
  }

  toRecord(): Record<string, number> {
    return Object.fromEntries(this.counts);
  }
}
