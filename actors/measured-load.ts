/**
 * What the nodes carry, as they report it to the leader. Soft: it is in memory only, and
 * a new leader waits for the first reports before it evens anything out.
 */
import type { LoadReported } from "../src/protocol/messages.js";
import type { Shard } from "../src/protocol/shards.js";
import { isSame, type Member, type PlacementTable } from "../topology/placement-table.js";

import type { UnitLoads } from "../topology/weights.js";
import { loadWindowMs } from "./load-meter.js";

/** As the node of that name reported it last. */
export interface UnitLoad extends Member {
  readonly perSecond: number;
  readonly sessions: number;
  readonly heardMs: number;
}

/** A unit of which nobody has reported for so long counts as idle. */
const forgottenMs = 60_000;

export class MeasuredLoad {
  private readonly units = new Map<number, UnitLoad>();

  constructor(private readonly unitCount: number) {}

  take({ nodeId, incarnation, groups }: LoadReported, nowMs: number): void {
    for (const { group, perSecond, sessions, ageMs } of groups) {
      if (!this.isUnit(group) || !(perSecond >= 0)) continue;
      const known = this.units.get(group);
      // Measured for a moment only, it says less than what was known before it moved.
      const isYoung = known !== undefined && ageMs < loadWindowMs;
      const load = isYoung ? Math.max(known.perSecond, perSecond) : perSecond;
      this.units.set(group, { nodeId, incarnation, perSecond: load, sessions, heardMs: nowMs });
    }
  }

  /** Every unit that somebody serves has been reported by its owner. */
  isComplete(table: PlacementTable, members: readonly Member[]): boolean {
    for (let unit = 0; unit < this.unitCount; unit++) {
      const owner = table.ownerOf(unit as Shard);
      if (owner?.state !== "serving" || !members.some((one) => isSame(one, owner))) continue;
      const load = this.units.get(unit);
      if (load === undefined || !isSame(load, owner)) return false;
    }
    return true;
  }

  loads(nowMs: number): UnitLoads {
    for (const [unit, { heardMs }] of this.units) {
      if (nowMs - heardMs >= forgottenMs) this.units.delete(unit);
    }
    return new Map([...this.units].map(([unit, { perSecond }]) => [unit, perSecond]));
  }

  of(unit: number): UnitLoad | undefined {
    return this.units.get(unit);
  }

  private isUnit(group: number): boolean {
    return Number.isInteger(group) && group >= 0 && group < this.unitCount;
  }
}
