/**
 * What each unit weighs: 1 for being there, and its share of the measured load,
 *
 *   1 + units × load / max(total, floor)
 *
 * so that presence and load count the same when the system is busy, and only presence
 * when it is idle: below the floor, load is noise. Pure.
 */

/** Messages a second that each unit has to handle; one that is not in it has none. */
export type UnitLoads = ReadonlyMap<number, number>;

/** By unit. */
export type UnitWeights = readonly number[];

/** Weights are whole multiples of this, so that their sums are exact in any order. */
const grain = 1 / 1024;

export function weighUnits(
  unitCount: number,
  loads: UnitLoads,
  floorPerSecond: number,
): UnitWeights {
  const total = totalLoad(loads);
  const scale = unitCount / Math.max(total, floorPerSecond);
  return Array.from({ length: unitCount }, (_, unit) => {
    const weight = 1 + (loads.get(unit) ?? 0) * scale;
    return Math.round(weight / grain) * grain;
  });
}

export function totalLoad(loads: UnitLoads): number {
  let total = 0;
  for (const load of loads.values()) total += load;
  return total;
}
