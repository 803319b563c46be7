/**
 * The moves that an operator may commit to even out the measured load further than the
 * leader does by itself; and what has become of each since. Pure.
 */
import { nextLoadMove, operatorRule } from "./balance.js";
import type { Member, PlacementTable } from "./placement-table.js";
import { type Candidate, isSame, readUnits, receiversOf, Scales, type Unit } from "./units.js";
import type { UnitWeights } from "./weights.js";

export interface OrderedMove {
  readonly unit: number;
  readonly from: Member;
  readonly to: Member;
  readonly reason: string;
}

export interface NodeWeight extends Member {
  readonly units: number;
  readonly weight: number;
}

export interface Rebalance {
  readonly moves: readonly OrderedMove[];
  readonly before: readonly NodeWeight[];
  readonly after: readonly NodeWeight[];
}

/** More is planned when these are done. */
export const orderedMovesMax = 256;

export function planRebalance(
  table: PlacementTable,
  members: readonly Candidate[],
  unitSize: number,
  weights: UnitWeights,
  shunned: readonly Member[],
): Rebalance {
  const units = readUnits(table, members, unitSize, weights);
  const scales = new Scales(units, members);
  const receivers = receiversOf(members, shunned);
  const weigh = () =>
    members.map((member) => {
      const { nodeId, incarnation } = member;
      return {
        nodeId,
        incarnation,
        units: scales.countOf(member),
        weight: scales.weightOf(member),
      };
    });
  const before = weigh();
  const moves: OrderedMove[] = [];
  let left = units.filter((unit) => unit.owner !== undefined && !unit.isMoving);
  while (moves.length < orderedMovesMax && receivers.length > 0) {
    const next = nextLoadMove(left, receivers, scales, operatorRule);
    if (next === undefined) break;
    const { unit, from, to, reason } = next;
    scales.move(unit, from, to);
    // Each unit moves once: where it went it stays.
    left = left.filter((other) => other !== unit);
    moves.push({ unit: unit.index, from: nameOf(from), to: nameOf(to), reason });
  }
  return { moves, before, after: weigh() };
}

/** Pending until its new owner serves the unit; dropped when it does not apply any more. */
export type OrderState =
  | { readonly state: "pending" | "done" }
  | { readonly state: "dropped"; readonly why: string };

export function judgeOrder(
  order: OrderedMove,
  unit: Unit,
  receivers: readonly Candidate[],
): OrderState {
  const { from, to } = order;
  if (unit.owner !== undefined && isSame(unit.owner, to)) {
    return { state: unit.isMoving ? "pending" : "done" };
  }
  if (unit.owner === undefined || !isSame(unit.owner, from)) {
    return { state: "dropped", why: `${from.nodeId} does not own it any more` };
  }
  if (!receivers.some((member) => isSame(member, to))) {
    const why = `${to.nodeId} is gone, in drain, or did not start what it was given`;
    return { state: "dropped", why };
  }
  return { state: "pending" };
}

function nameOf({ nodeId, incarnation }: Member): Member {
  return { nodeId, incarnation };
}
