/** The simulator's only source of chance: one seed gives one run. */
import type { Random } from "../../src/base/random.js";

/** sfc32 (Chris Doty-Humphrey, PractRand), seeded through splitmix32. */
export class SeededRandom implements Random {
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  constructor(seed: number) {
    let state = seed | 0;
    const split = (): number => {
      state = (state + 0x9e3779b9) | 0;
      let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      return (mixed ^ (mixed >>> 15)) | 0;
    };
    this.a = split();
    this.b = split();
    this.c = split();
    for (let warm = 0; warm < 12; warm++) this.word();
  }

  next(): number {
    return (this.word() >>> 0) / 2 ** 32;
  }

  /** A whole number below 2^32: breaks ties in the heap. */
  word(): number {
    const sum = (((this.a + this.b) | 0) + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + sum;
    return sum >>> 0;
  }

  /** A whole number in [0, below). */
  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(from: readonly T[]): T {
    const picked = from[this.below(from.length)];
    if (picked === undefined) throw new Error("nothing to pick from");
    return picked;
  }

  /** The time to the next of events that come `everyMs` on average. */
  waitMs(everyMs: number): number {
    return -Math.log(1 - this.next()) * everyMs;
  }
}
