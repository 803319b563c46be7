/**
 * A first-in, first-out queue in a circular array that grows by doubling up to
 * `max` entries and never shrinks by itself.
 *
 * Invariant: slots outside [head, head + size) hold undefined, so that nothing
 * that was taken out is kept alive.
 */
export class Ring<T> {
  private slots: (T | undefined)[];
  private head = 0;
  private count = 0;

  /** `max` may be Infinity for a queue that something else bounds. */
  constructor(
    readonly max: number,
    initialCapacity = 16,
  ) {
    let capacity = 1;
    while (capacity < initialCapacity) capacity *= 2;
    this.slots = new Array<T | undefined>(capacity).fill(undefined);
  }

  get size(): number {
    return this.count;
  }

  /** False, and nothing kept, when the ring holds `max` entries. */
  push(value: T): boolean {
    if (this.count >= this.max) return false;
    if (this.count === this.slots.length) this.grow();
    this.slots[(this.head + this.count) & (this.slots.length - 1)] = value;
    this.count++;
    return true;
  }

  /** The oldest entry, or undefined when the ring is empty. */
  shift(): T | undefined {
    if (this.count === 0) return undefined;
    const value = this.slots[this.head];
    this.slots[this.head] = undefined;
    this.head = (this.head + 1) & (this.slots.length - 1);
    this.count--;
    return value;
  }

  /** The entry `offset` places behind the oldest, left where it is. */
  at(offset: number): T | undefined {
    if (offset < 0 || offset >= this.count) return undefined;
    return this.slots[(this.head + offset) & (this.slots.length - 1)];
  }

  clear(): void {
    this.slots.fill(undefined);
    this.head = 0;
    this.count = 0;
  }

  private grow(): void {
    const old = this.slots;
    const grown = new Array<T | undefined>(old.length * 2).fill(undefined);
    for (let at = 0; at < this.count; at++) grown[at] = old[(this.head + at) & (old.length - 1)];
    this.slots = grown;
    this.head = 0;
  }
}
