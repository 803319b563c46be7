/** Tables, memberships and loads for the properties of planning, and how a plan is carried out. */
import fc from "fast-check";
import { type Shard, shardCount } from "../../src/protocol/shards.js";
import { type Member, PlacementTable } from "../../topology/placement-table.js";
import {
  idleKnowledge,
  type Knowledge,
  type MoveCause,
  type PlacementStep,
  planPlacement,
} from "../../topology/plan.js";
import { type Candidate, unitShards } from "../../topology/units.js";
import { weighUnits } from "../../topology/weights.js";

export const unitSize = 512;
export const unitCount = shardCount / unitSize;
export const limits = { unitSize, openMovesMax: 1 };
export const allShards = Array.from({ length: shardCount }, (_, shard) => shard as Shard);

const memberOf = (index: number): Member => ({ nodeId: `dc1-${index}`, incarnation: "i" });
export const live = (index: number): Candidate => ({ ...memberOf(index), isDraining: false });
export const members = fc
  .uniqueArray(fc.integer({ min: 0, max: 11 }), { minLength: 1, maxLength: 8 })
  .map((indexes) => indexes.map(live));
/** At least one of them stays. */
export const drained = fc
  .tuple(members, fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }))
  .map(([list, flags]): Candidate[] =>
    list.map((member, at) => ({ ...member, isDraining: at > 0 && flags[at] === true })),
  );

/** A table in which each unit is owned by some node, dead or alive, or by nobody. */
export const tables = fc
  .array(fc.option(fc.integer({ min: 0, max: 11 })), { minLength: unitCount, maxLength: unitCount })
  .map((owners) =>
    owners.reduce<PlacementTable>(
      (table, owner, unit) =>
        owner === null ? table : table.withOwner(unitShards(unit, unitSize), memberOf(owner)),
      PlacementTable.empty(),
    ),
  );

/** Of which some units are on their way, from nodes and to nodes that are dead or alive. */
export const movingTables = fc
  .tuple(
    tables,
    fc.array(fc.option(fc.integer({ min: 0, max: 11 })), {
      minLength: unitCount,
      maxLength: unitCount,
    }),
  )
  .map(([start, receivers]) =>
    receivers.reduce<PlacementTable>((table, to, unit) => {
      const first = unit as Shard;
      if (to === null || table.ownerOf(first) === undefined) return table;
      if (table.isOwnedBy(first, memberOf(to))) return table;
      return table.withMove(unitShards(unit, unitSize), memberOf(to));
    }, start),
  );

export const floorPerSecond = 1_000;
/** Of each unit: often nothing, sometimes nearly all. */
export const loads = fc
  .array(fc.oneof(fc.constant(0), fc.nat(500), fc.nat(20_000)), {
    minLength: unitCount,
    maxLength: unitCount,
  })
  .map((list) => new Map(list.map((load, unit) => [unit, load])));

export function knowing(unitLoads: ReadonlyMap<number, number>): Knowledge {
  const weights = weighUnits(unitCount, unitLoads, floorPerSecond);
  return { ...idleKnowledge(unitSize), weights, balance: "load" };
}

/** Carries out steps; what moves is not yet there. */
export function apply(table: PlacementTable, steps: readonly PlacementStep[]): PlacementTable {
  return steps.reduce((changed, step) => {
    const shards = unitShards(step.unit, unitSize);
    return step.kind === "assign"
      ? changed.withOwner(shards, step.to)
      : changed.withMove(shards, step.to);
  }, table);
}

export function carryOut(table: PlacementTable, candidates: readonly Candidate[]): PlacementTable {
  return apply(table, planPlacement(table, candidates, limits));
}

/** Every new owner has said that it serves. */
export function finished(table: PlacementTable): PlacementTable {
  const moving = allShards.filter((shard) => table.stateOf(shard) === "moving");
  return table.withState(moving, "serving");
}

export interface Convergence {
  readonly table: PlacementTable;
  readonly moves: readonly Extract<PlacementStep, { kind: "move" }>[];
  /** What each unit was last moved for. */
  readonly resting: ReadonlyMap<number, MoveCause>;
}

/** Until nothing is left to do, with the memory that a leader has. */
export function converge(
  start: PlacementTable,
  candidates: readonly Candidate[],
  knowledge: Knowledge,
): Convergence {
  const resting = new Map<number, MoveCause>();
  const moves: Extract<PlacementStep, { kind: "move" }>[] = [];
  let table = start;
  for (let round = 0; round < 8 * unitCount; round++) {
    const steps = planPlacement(table, candidates, limits, { ...knowledge, resting });
    if (steps.length === 0) return { table, moves, resting };
    for (const step of steps) {
      if (step.kind !== "move") continue;
      moves.push(step);
      if (step.cause === "count" || step.cause === "load") resting.set(step.unit, step.cause);
    }
    table = finished(apply(table, steps));
  }
  throw new Error("never settles");
}

export function settled(table: PlacementTable, candidates: readonly Candidate[]): PlacementTable {
  return converge(table, candidates, idleKnowledge(unitSize)).table;
}

export function countOf(table: PlacementTable, member: Member): number {
  let count = 0;
  for (let unit = 0; unit < unitCount; unit++) {
    if (table.isOwnedBy(unit as Shard, member)) count++;
  }
  return count;
}

/** What a member carries by `knowledge`. */
export function weightOf(table: PlacementTable, member: Member, { weights }: Knowledge): number {
  return weights.reduce(
    (sum, weight, unit) => (table.isOwnedBy(unit as Shard, member) ? sum + weight : sum),
    0,
  );
}
