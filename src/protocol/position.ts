/**
 * Where a message stands in its session: (generation, seq).
 *
 * seq starts at 1, grows with each stored message and is never given twice within
 * a generation. A home that cannot prove that it holds the whole tail starts a new
 * generation; clients then resync instead of acking what they never saw.
 * A generation is one safe integer, ordered: zone version (24 bits), IDC (4),
 * counter (20).
 */
export interface Position {
  readonly generation: number;
  readonly seq: number;
}

/** A counter is below this. */
export const generationCounters = 2 ** 20;

export function makeGeneration(zoneVersion: number, idc: number, counter: number): number {
  return zoneVersion * 2 ** 24 + idc * 2 ** 20 + counter;
}

export function isSequence(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
