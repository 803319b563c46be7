/**
 * Whether each user's messages arrive once each and in order, by the publisher's own
 * numbers; pure. One for all users of a client process.
 */
export interface ArrivalCounts {
  readonly unique: number;
  readonly doubled: number;
  readonly outOfOrder: number;
  /** Skipped so far and not yet come. */
  readonly missing: number;
}

export class ArrivalCheck {
  private readonly last = new Map<number, number>();
  private readonly skipped = new Map<number, Set<number>>();
  private unique = 0;
  private doubled = 0;
  private outOfOrder = 0;

  note(user: number, number: number): void {
    const last = this.last.get(user) ?? 0;
    if (number === last + 1) {
      this.last.set(user, number);
      this.unique++;
    } else if (number > last) {
      this.skip(user, last + 1, number);
      this.last.set(user, number);
      this.unique++;
    } else if (this.skipped.get(user)?.delete(number) === true) {
      this.outOfOrder++;
      this.unique++;
    } else {
      this.doubled++;
    }
  }

  counts(): ArrivalCounts {
    let missing = 0;
    for (const numbers of this.skipped.values()) missing += numbers.size;
    const { unique, doubled, outOfOrder } = this;
    return { unique, doubled, outOfOrder, missing };
  }

  private skip(user: number, from: number, to: number): void {
    const numbers = this.skipped.get(user) ?? new Set<number>();
    for (let number = from; number < to; number++) numbers.add(number);
    this.skipped.set(user, numbers);
  }
}
