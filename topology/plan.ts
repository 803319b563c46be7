/**
 * What the placement actor should do next. Pure: the same table, members and
 * limits give the same steps, and none when all is as it should be.
 *
 * The unit that moves is `unitSize` consecutive shards: a volume of 512 with the
 * embedded store, one shard with a networked one.
 */
import { type Shard, shardCount } from "../src/protocol/shards.js";
import type { Member, PlacementTable } from "./placement-table.js";

export type PlacementStep =
  | { readonly kind: "assign"; readonly unit: number; readonly to: Member; readonly reason: string }
  | {
      readonly kind: "release";
      readonly unit: number;
      readonly from: Member;
      readonly reason: string;
    };

export interface PlanLimits {
  readonly unitSize: number;
  /** Units that may be on the move at a time. */
  readonly openMovesMax: number;
}

export function unitShards(unit: number, unitSize: number): Shard[] {
  return Array.from({ length: unitSize }, (_, at) => (unit * unitSize + at) as Shard);
}

export function planPlacement(
  table: PlacementTable,
  members: readonly Member[],
  limits: PlanLimits,
): PlacementStep[] {
  if (members.length === 0) return [];
  const units = readUnits(table, members, limits.unitSize);
  const load = countLoad(units, members);
  // Orphans first: a shard without a live owner is an outage, a shard on its
  // second-best node is only untidy.
  const assignments = units
    .filter((unit) => unit.owner === undefined)
    .map((unit): PlacementStep => {
      const to = leastLoaded(unit.index, members, load);
      load.set(to, (load.get(to) ?? 0) + 1);
      return { kind: "assign", unit: unit.index, to, reason: unit.reason };
    });
  return [...assignments, ...planBalance(units, members, load, limits)];
}

interface Unit {
  readonly index: number;
  /** The live member that serves it; undefined for an orphan. */
  readonly owner: Member | undefined;
  readonly isReleasing: boolean;
  readonly reason: string;
}

function readUnits(table: PlacementTable, members: readonly Member[], unitSize: number): Unit[] {
  return Array.from({ length: shardCount / unitSize }, (_, index) => {
    const first = (index * unitSize) as Shard;
    const owner = table.ownerOf(first);
    const live = owner && members.find((member) => isSame(member, owner));
    return {
      index,
      owner: live,
      isReleasing: live !== undefined && owner?.state === "releasing",
      reason: owner === undefined ? "unassigned" : `${owner.nodeId}.${owner.incarnation} is gone`,
    };
  });
}

function countLoad(units: readonly Unit[], members: readonly Member[]): Map<Member, number> {
  const load = new Map(members.map((member) => [member, 0]));
  for (const { owner, isReleasing } of units) {
    if (owner !== undefined && !isReleasing) load.set(owner, (load.get(owner) ?? 0) + 1);
  }
  return load;
}

function planBalance(
  units: readonly Unit[],
  members: readonly Member[],
  load: Map<Member, number>,
  limits: PlanLimits,
): PlacementStep[] {
  const steps: PlacementStep[] = [];
  let open = units.filter((unit) => unit.isReleasing).length;
  const released = new Set<number>();
  while (open < limits.openMovesMax) {
    const heaviest = extreme(members, load, (a, b) => a > b);
    const lightest = extreme(members, load, (a, b) => a < b);
    // A unit that is on its way will raise the lightest: counted as if it were there.
    const gap = (load.get(heaviest) ?? 0) - (load.get(lightest) ?? 0) - open;
    if (gap < 2) break;
    const unit = units.find(
      (candidate) =>
        candidate.owner === heaviest && !candidate.isReleasing && !released.has(candidate.index),
    );
    if (unit === undefined) break;
    released.add(unit.index);
    load.set(heaviest, (load.get(heaviest) ?? 0) - 1);
    open++;
    steps.push({
      kind: "release",
      unit: unit.index,
      from: heaviest,
      reason: `balance towards ${lightest.nodeId}`,
    });
  }
  return steps;
}

function leastLoaded(unit: number, members: readonly Member[], load: Map<Member, number>): Member {
  return [...members].sort(
    (a, b) => (load.get(a) ?? 0) - (load.get(b) ?? 0) || rendezvous(b, unit) - rendezvous(a, unit),
  )[0] as Member;
}

function extreme(
  members: readonly Member[],
  load: Map<Member, number>,
  isBetter: (a: number, b: number) => boolean,
): Member {
  return members.reduce((best, member) =>
    isBetter(load.get(member) ?? 0, load.get(best) ?? 0) ? member : best,
  );
}

/** Rendezvous weight by node name, so that a restarted node is offered its old units. */
function rendezvous(member: Member, unit: number): number {
  let hash = 0x811c9dc5 ^ unit;
  for (let at = 0; at < member.nodeId.length; at++) {
    hash = Math.imul(hash ^ member.nodeId.charCodeAt(at), 0x01000193);
  }
  // FNV's last bytes barely reach the high bits; mix before comparing.
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

function isSame(a: Member, b: Member): boolean {
  return a.nodeId === b.nodeId && a.incarnation === b.incarnation;
}
