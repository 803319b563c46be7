/**
 * Where a message stands in its session: (generation, seq).
 *
 * seq starts at 1, grows with each stored message and is never given twice within
 * a generation. A home that cannot prove that it holds the whole tail starts a new
 * generation; clients then resync instead of acking what they never saw.
 * A generation is one safe integer, ordered: zone version (20 bits), IDC (4), counter (29).
 * Counters below 2^24 are random, of sessions in a store that was never restored; above
 * are times, in steps of four seconds until 2092. So a restored copy, which cannot know
 * what was given after it was made, starts with a generation that no timeline had before:
 * a lost one's counters are random, or times before this restore's.
 */
export interface Position {
  readonly generation: number;
  readonly seq: number;
}

/** A random counter is below this. */
export const randomCounters = 2 ** 20;

const idcUnit = 2 ** 29;
const zoneUnit = 2 ** 33;
const timedFrom = 2 ** 24;
const stepMs = 4_000;
const firstStepMs = Date.UTC(2026, 0, 1);

export function makeGeneration(zoneVersion: number, idc: number, counter: number): number {
  return zoneVersion * zoneUnit + idc * idcUnit + counter;
}

/** The counter of a generation that starts at `wallMs`. */
export function counterAt(wallMs: number): number {
  const steps = Math.floor((wallMs - firstStepMs) / stepMs);
  return Math.min(timedFrom + Math.max(steps, 0), idcUnit - 1);
}

/**
 * What a session goes on under in a store whose generations start at the counter `floor`:
 * its own when it began there, else a new one, the same at each load.
 */
export function generationFrom(stored: number, floor: number, idc: number): number {
  if (stored % idcUnit >= floor) return stored;
  return makeGeneration(Math.floor(stored / zoneUnit), idc, floor);
}

export function isSequence(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
