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

/** What a process saw of all numbers, for a comparison with what was accepted. */
export interface Arrived {
  /** By user: the highest number. */
  readonly last: ReadonlyMap<number, number>;
  /** By user: those below it that did not come. */
  readonly missing: ReadonlyMap<number, ReadonlySet<number>>;
}

export interface Pushed {
  /** By user: so many, numbered from 1. */
  readonly sent: Uint32Array;
  /** User and number of those that were refused, or never answered. */
  readonly notAccepted: readonly (readonly [number, number])[];
}

/** Accepted pushes that did not come. */
export function countLost({ sent, notAccepted }: Pushed, { last, missing }: Arrived): number {
  const isMissing = (user: number, number: number) =>
    number > (last.get(user) ?? 0) || missing.get(user)?.has(number) === true;
  let lost = 0;
  for (const [user, count] of sent.entries()) {
    const came = Math.min(count, last.get(user) ?? 0);
    lost += count - came + (missing.get(user)?.size ?? 0);
  }
  for (const [user, number] of notAccepted) {
    if (isMissing(user, number)) lost--;
  }
  return lost;
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

  get arrived(): Arrived {
    return { last: this.last, missing: this.skipped };
  }

  private skip(user: number, from: number, to: number): void {
    const numbers = this.skipped.get(user) ?? new Set<number>();
    for (let number = from; number < to; number++) numbers.add(number);
    this.skipped.set(user, numbers);
  }
}
