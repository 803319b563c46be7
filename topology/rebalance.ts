/**
 * The moves that an operator may commit to even out the measured load further than the
 * leader does by itself; and what has become of each since. Pure.
 */
import { nextLoadMove, operatorRule } from "./balance.js";
import { isSame, type Member, type PlacementTable } from "./placement-table.js";
import {
  type Candidate,
  canServe,
  evenedOf,
  nameOf,
  readUnits,
  receiversOf,
  Scales,
  type Unit,
} from "./units.js";
import type { UnitWeights } from "./weights.js";

export interface OrderedMove {
  readonly unit: number;
  /** Under which `from` has it: under another it has been given anew since. */
  readonly epoch: number;
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
  const evened = evenedOf(receiversOf(members, shunned));
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
  while (moves.length < orderedMovesMax && evened.length > 0) {
    const next = nextLoadMove(left, evened, scales, operatorRule);
    if (next === undefined) break;
    const { unit, from, to, reason } = next;
    scales.move(unit, from, to);
    // Each unit moves once: where it went it stays.
    left = left.filter((other) => other !== unit);
    const { index, epoch } = unit;
    moves.push({ unit: index, epoch, from: nameOf(from), to: nameOf(to), reason });
  }
  return { moves, before, after: weigh() };
}

/**
 * Pending until its new owner serves the unit; dropped when it does not apply any more, or
 * that one cannot serve it. What was begun and came back is not begun again: it would go
 * to and fro, and nothing is evened out while an order is pending.
 */
export type OrderState =
  | { readonly state: "pending" | "done" }
  | { readonly state: "dropped"; readonly why: string };

export function judgeOrder(
  order: OrderedMove,
  unit: Unit,
  receivers: readonly Candidate[],
): OrderState {
  const { from, to, epoch } = order;
  const { owner } = unit;
  const dropped = (why: string): OrderState => ({ state: "dropped", why });
  const cannot = `${to.nodeId} cannot serve it`;
  if (owner !== undefined && isSame(owner, to)) {
    if (!unit.isMoving) return { state: "done" };
    return canServe(owner, unit) ? { state: "pending" } : dropped(cannot);
  }
  if (owner === undefined || !isSame(owner, from)) {
    return dropped(`${from.nodeId} does not own it any more`);
  }
  if (unit.epoch !== epoch) return dropped(`${from.nodeId} has been given it anew`);
  const receiver = receivers.find((member) => isSame(member, to));
  if (receiver === undefined) {
    return dropped(`${to.nodeId} is gone, in drain, or did not start what it was given`);
  }
  return canServe(receiver, unit) ? { state: "pending" } : dropped(cannot);
}
