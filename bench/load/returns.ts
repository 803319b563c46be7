/** When clients of a storm were back, in figures; pure. */
export interface Returns {
  readonly count: number;
  readonly halfS: number;
  readonly ninetyS: number;
  readonly allS: number;
  /** Of the middle eight tenths: neither the first ones nor a late one decide. */
  readonly perSecond: number;
}

export function returnsOf(backMs: readonly number[]): Returns {
  const sorted = Float64Array.from(backMs).sort();
  const count = sorted.length;
  const at = (part: number) => (sorted[Math.max(0, Math.ceil(count * part) - 1)] ?? 0) / 1_000;
  const middleS = at(0.9) - at(0.1);
  const perSecond = middleS > 0 ? (count * 0.8) / middleS : Number.NaN;
  return { count, halfS: at(0.5), ninetyS: at(0.9), allS: at(1), perSecond };
}
