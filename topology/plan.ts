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
      readonly kind: "move";
      readonly unit: number;
      readonly from: Member;
      readonly to: Member;
      readonly reason: string;
    };

/** A live node; one in drain gets nothing and gives all. */
export interface Candidate extends Member {
  readonly isDraining: boolean;
  /** Why it is treated as in drain, if by its own word. */
  readonly unwell?: string;
  /** It may be about to be unwell: what troubles another may trouble it, too. */
  readonly isInDoubt?: boolean;
  /** Units that it could not serve, by its own word. */
  readonly cannotServe?: readonly number[];
}

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
  members: readonly Candidate[],
  limits: PlanLimits,
): PlacementStep[] {
  const staying = members.filter((member) => !member.isDraining);
  const well = staying.filter((member) => member.isInDoubt !== true);
  // With nobody left to give to, those in drain keep what they have: late beats never.
  const takers = [well, staying, members].find((some) => some.length > 0) ?? [];
  if (takers.length === 0) return [];
  const units = readUnits(table, members, limits.unitSize);
  const load = countLoad(units, members);
  // Orphans first: a shard without a live owner is an outage, a shard on its
  // second-best node is only untidy.
  const assignments = units
    .filter((unit) => unit.owner === undefined)
    .map((unit): PlacementStep => {
      const able = takers.filter((member) => canServe(member, unit));
      const to = leastLoaded(unit.index, able.length > 0 ? able : takers, load);
      load.set(to, (load.get(to) ?? 0) + 1);
      return { kind: "assign", unit: unit.index, to, reason: unit.reason };
    });
  return [...assignments, ...(well.length > 0 ? planMoves(units, well, load, limits) : [])];
}

interface Unit {
  readonly index: number;
  /** The live member that serves it or is about to; undefined for an orphan. */
  readonly owner: Candidate | undefined;
  readonly isMoving: boolean;
  readonly reason: string;
}

function readUnits(table: PlacementTable, members: readonly Candidate[], unitSize: number): Unit[] {
  return Array.from({ length: shardCount / unitSize }, (_, index) => {
    const owner = table.ownerOf((index * unitSize) as Shard);
    const live = owner && members.find((member) => isSame(member, owner));
    return {
      index,
      owner: live,
      isMoving: live !== undefined && owner?.state === "moving",
      reason: owner === undefined ? "unassigned" : `${owner.nodeId}.${owner.incarnation} is gone`,
    };
  });
}

function countLoad(units: readonly Unit[], members: readonly Candidate[]): Map<Candidate, number> {
  const load = new Map(members.map((member) => [member, 0]));
  for (const { owner } of units) {
    if (owner !== undefined) load.set(owner, (load.get(owner) ?? 0) + 1);
  }
  return load;
}

/** Out of nodes in drain, then from the heaviest to the lightest while that evens them out. */
function planMoves(
  units: readonly Unit[],
  takers: readonly Candidate[],
  load: Map<Candidate, number>,
  limits: PlanLimits,
): PlacementStep[] {
  const steps: PlacementStep[] = [];
  const settled = units.filter((unit) => unit.owner !== undefined && !unit.isMoving);
  let room = limits.openMovesMax - units.filter((unit) => unit.isMoving).length;
  const move = (unit: Unit, from: Candidate, reason: string) => {
    const able = takers.filter((member) => canServe(member, unit));
    if (able.length === 0) return;
    const to = leastLoaded(unit.index, able, load);
    load.set(from, (load.get(from) ?? 0) - 1);
    load.set(to, (load.get(to) ?? 0) + 1);
    if (settled.includes(unit)) settled.splice(settled.indexOf(unit), 1);
    room--;
    steps.push({ kind: "move", unit: unit.index, from, to, reason });
  };
  // Not served where it is, nor where it was to go: an outage, which waits for no other move.
  for (const unit of units) {
    if (unit.owner !== undefined && !canServe(unit.owner, unit)) {
      move(unit, unit.owner, `${unit.owner.nodeId} cannot serve it`);
    }
  }
  for (const unit of [...settled]) {
    if (room <= 0) return steps;
    const { owner } = unit;
    if (!owner?.isDraining) continue;
    move(unit, owner, owner.unwell === undefined ? "drain" : `unwell: ${owner.unwell}`);
  }
  while (room > 0) {
    const heaviest = extreme(takers, load, (a, b) => a > b);
    const lightest = extreme(takers, load, (a, b) => a < b);
    if ((load.get(heaviest) ?? 0) - (load.get(lightest) ?? 0) < 2) break;
    const unit = settled.find(
      (candidate) => candidate.owner === heaviest && canServe(lightest, candidate),
    );
    if (unit === undefined) break;
    move(unit, heaviest, "balance");
  }
  return steps;
}

function canServe(member: Candidate, unit: Unit): boolean {
  return member.cannotServe?.includes(unit.index) !== true;
}

function leastLoaded(
  unit: number,
  members: readonly Candidate[],
  load: Map<Candidate, number>,
): Candidate {
  return [...members].sort(
    (a, b) => (load.get(a) ?? 0) - (load.get(b) ?? 0) || rendezvous(b, unit) - rendezvous(a, unit),
  )[0] as Candidate;
}

function extreme(
  members: readonly Candidate[],
  load: Map<Candidate, number>,
  isBetter: (a: number, b: number) => boolean,
): Candidate {
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
