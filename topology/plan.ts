/**
 * What the placement actor should do next. Pure: the same table, members, limits and
 * knowledge give the same steps, and none when all is as it should be.
 *
 * In this order, as far as moves are allowed at a time: orphans, moves that never end,
 * nodes in drain, what operators have committed, even numbers, even load.
 */
import { shardCount } from "../src/protocol/shards.js";
import { automaticRule, type BalanceMove, nextCountMove, nextLoadMove } from "./balance.js";
import { isSame, type Member, type PlacementTable } from "./placement-table.js";
import { judgeOrder, type OrderedMove } from "./rebalance.js";
import {
  type Candidate,
  canServe,
  evenedOf,
  readUnits,
  receiversOf,
  Scales,
  takersOf,
  type Unit,
} from "./units.js";
import { type UnitWeights, weighUnits } from "./weights.js";

export type PlacementStep =
  | {
      readonly kind: "assign";
      readonly unit: number;
      readonly to: Member;
      readonly reason: string;
      /** Who was given the unit before, lives, and never served it. */
      readonly failed?: Member;
    }
  | {
      readonly kind: "move";
      readonly unit: number;
      readonly from: Member;
      readonly to: Member;
      readonly cause: MoveCause;
      readonly reason: string;
    };

export type MoveCause = "trouble" | "drain" | "operator" | "count" | "load";

export interface PlanLimits {
  readonly unitSize: number;
  /** Units that may be on the move at a time. */
  readonly openMovesMax: number;
}

/** What the leader knows beside the table. It is soft: a new leader begins with none of it. */
export interface Knowledge {
  readonly weights: UnitWeights;
  /**
   * none: what the nodes carry is not known, or a plan of an operator's is carried out.
   * count: by number only. load: by load as well.
   */
  readonly balance: "none" | "count" | "load";
  /** Units that were evened out lately, and by which rule: they are not to go round in circles. */
  readonly resting: ReadonlyMap<number, MoveCause>;
  /** Nodes that lately did not start what they were given. */
  readonly shunned: readonly Member[];
  /** Moving units whose new owner has had its time, with the epoch of that move. */
  readonly overdue: ReadonlyMap<number, number>;
  /** What an operator committed, in order. */
  readonly ordered: readonly OrderedMove[];
}

/** Of a system without load, in which nothing has gone wrong. */
export function idleKnowledge(unitSize: number): Knowledge {
  return {
    weights: weighUnits(shardCount / unitSize, new Map(), 1),
    balance: "count",
    resting: new Map(),
    shunned: [],
    overdue: new Map(),
    ordered: [],
  };
}

export function planPlacement(
  table: PlacementTable,
  members: readonly Candidate[],
  limits: PlanLimits,
  knowledge: Knowledge = idleKnowledge(limits.unitSize),
): PlacementStep[] {
  const takers = takersOf(members, knowledge.shunned);
  if (takers.length === 0) return [];
  const units = readUnits(table, members, limits.unitSize, knowledge.weights);
  const scales = new Scales(units, members);
  // Orphans first: a shard without a live owner is an outage, a shard on its
  // second-best node is only untidy.
  const assigned = [
    ...giveOrphans(units, takers, scales),
    ...endFailedMoves(units, takers, scales, knowledge),
  ];
  const receivers = receiversOf(members, knowledge.shunned);
  return [...assigned, ...planMoves(units, assigned, receivers, scales, limits, knowledge)];
}

function giveOrphans(
  units: readonly Unit[],
  takers: readonly Candidate[],
  scales: Scales,
): PlacementStep[] {
  const share = Math.ceil(units.length / takers.length);
  // Among them those first that somebody had, before others fill that node up.
  return units
    .filter((unit) => unit.owner === undefined)
    .sort((a, b) => Number(heirOf(b) !== undefined) - Number(heirOf(a) !== undefined))
    .map((unit) => {
      const able = takers.filter((member) => canServe(member, unit));
      const some = able.length > 0 ? able : takers;
      const to = takenBack(unit, some, scales, share) ?? scales.lightest(unit, some);
      scales.add(unit, to);
      return { kind: "assign", unit: unit.index, to, reason: unit.reason };
    });
}

/** The live member that was to hand the orphan over, or that goes on for its owner. */
function heirOf({ from, successor }: Unit): Candidate | undefined {
  return from ?? successor;
}

/**
 * A bus that fails all nodes must not shuffle what they have open: who rejoined has its
 * units again, within its fair share. And who was to hand a unit over still has it open,
 * so it keeps it, in drain or not: anybody else would kill it for it.
 */
function takenBack(
  unit: Unit,
  takers: readonly Candidate[],
  scales: Scales,
  share: number,
): Candidate | undefined {
  const { from, successor } = unit;
  if (from !== undefined && mayHaveBack(from, unit, takers)) return from;
  if (successor === undefined || !takers.includes(successor)) return undefined;
  return scales.countOf(successor) < share ? successor : undefined;
}

/** Not by its own word that it cannot serve it, while another can. */
function mayHaveBack(from: Candidate, unit: Unit, others: readonly Candidate[]): boolean {
  return canServe(from, unit) || !others.some((member) => canServe(member, unit));
}

/**
 * A unit whose new owner cannot serve it, or did not start it in time: back to whom it came
 * from, who has it still, if that one can serve it; else to another. Given, not moved: the
 * failed one never had it, and would hand over as its own what the giver has received, too.
 * With nobody able an overdue one goes back all the same: the move ends, others may begin.
 */
function endFailedMoves(
  units: readonly Unit[],
  takers: readonly Candidate[],
  scales: Scales,
  { overdue, resting }: Knowledge,
): PlacementStep[] {
  return units.flatMap((unit): PlacementStep[] => {
    const { index, owner: failed, epoch, from } = unit;
    if (!unit.isMoving || failed === undefined) return [];
    const isOverdue = overdue.get(index) === epoch;
    if (!isOverdue && canServe(failed, unit)) return [];
    const able = takers.filter((member) => member !== failed && canServe(member, unit));
    const others = able.filter((member) => member !== from);
    // Who could not serve it before it moved says no more of it, and would fail again.
    const wasTrouble = resting.get(index) === "trouble" && others.length > 0;
    const isBack = from !== undefined && !wasTrouble && mayHaveBack(from, unit, able);
    const isBetter = isBack && (isOverdue || canServe(from, unit));
    const some = wasTrouble ? others : able;
    if (!isBetter && some.length === 0) return [];
    const to = isBetter ? from : scales.lightest(unit, some);
    scales.move(unit, failed, to);
    if (!isOverdue) {
      return [{ kind: "assign", unit: index, to, reason: `${failed.nodeId} cannot serve it` }];
    }
    const reason = `${failed.nodeId}.${failed.incarnation} did not start it in time`;
    return [{ kind: "assign", unit: index, to, reason, failed }];
  });
}

function planMoves(
  units: readonly Unit[],
  assigned: readonly PlacementStep[],
  receivers: readonly Candidate[],
  scales: Scales,
  limits: PlanLimits,
  knowledge: Knowledge,
): PlacementStep[] {
  if (receivers.length === 0) return [];
  // One step a unit: the table is not yet what an assignment makes of it.
  const given = new Set(assigned.map(({ unit }) => unit));
  const room = limits.openMovesMax - units.filter((unit) => unit.isMoving).length;
  const rest = units.filter(({ index }) => !given.has(index));
  return new MovePlan(rest, receivers, scales, room, knowledge).steps();
}

/** The moves of one plan, from the most to the least urgent while there is room. */
class MovePlan {
  private readonly planned: PlacementStep[] = [];
  private readonly troubled: readonly Unit[];
  private readonly even: readonly Candidate[];
  private settled: Unit[];

  constructor(
    units: readonly Unit[],
    private readonly receivers: readonly Candidate[],
    private readonly scales: Scales,
    private room: number,
    private readonly knowledge: Knowledge,
  ) {
    this.even = evenedOf(receivers);
    this.settled = units.filter((unit) => unit.owner !== undefined && !unit.isMoving);
    this.troubled = this.settled.filter((unit) => unit.owner && !canServe(unit.owner, unit));
  }

  steps(): PlacementStep[] {
    this.relieve();
    this.drain();
    this.obey();
    const { balance } = this.knowledge;
    if (balance !== "none") this.repeat("count", () => this.nextCountMove());
    if (balance === "load") this.repeat("load", () => this.nextLoadMove());
    return this.planned;
  }

  /** Not served where it is: an outage, which waits for no other move. */
  private relieve(): void {
    for (const unit of this.troubled) {
      const { owner: from } = unit;
      const to = this.ableFor(unit);
      if (from === undefined || to === undefined) continue;
      this.move({ unit, from, to, reason: `${from.nodeId} cannot serve it` }, "trouble");
    }
  }

  private drain(): void {
    for (const unit of [...this.settled]) {
      if (this.room <= 0) return;
      const { owner: from } = unit;
      if (from === undefined || !from.isDraining || this.receivers.includes(from)) continue;
      const to = this.ableFor(unit);
      const reason = from.unwell === undefined ? "drain" : `unwell: ${from.unwell}`;
      if (to !== undefined) this.move({ unit, from, to, reason }, "drain");
    }
  }

  private ableFor(unit: Unit): Candidate | undefined {
    // With nobody well left, those in drain have no better place among them.
    const able = this.receivers.filter((member) => !member.isDraining && canServe(member, unit));
    return able.length === 0 ? undefined : this.scales.lightest(unit, able);
  }

  private obey(): void {
    for (const order of this.knowledge.ordered) {
      if (this.room <= 0) return;
      const unit = this.settled.find(({ index }) => index === order.unit);
      if (unit === undefined) continue;
      if (judgeOrder(order, unit, this.receivers).state !== "pending") continue;
      const to = this.receivers.find((member) => isSame(member, order.to));
      const { owner: from } = unit;
      if (from === undefined || to === undefined) continue;
      this.move({ unit, from, to, reason: order.reason }, "operator");
    }
  }

  private nextCountMove(): BalanceMove | undefined {
    const { even, scales } = this;
    if (even.length === 0) return undefined;
    const { resting } = this.knowledge;
    // What was moved for its load stays; what was moved by number moves when nothing else can.
    const fresh = this.settled.filter(({ index }) => !resting.has(index));
    const others = this.settled.filter(({ index }) => resting.get(index) !== "load");
    return nextCountMove(fresh, even, scales) ?? nextCountMove(others, even, scales);
  }

  private nextLoadMove(): BalanceMove | undefined {
    const fresh = this.settled.filter(({ index }) => !this.knowledge.resting.has(index));
    if (this.even.length === 0) return undefined;
    return nextLoadMove(fresh, this.even, this.scales, automaticRule);
  }

  private repeat(cause: MoveCause, next: () => BalanceMove | undefined): void {
    while (this.room > 0) {
      const move = next();
      if (move === undefined) return;
      this.move(move, cause);
    }
  }

  private move({ unit, from, to, reason }: BalanceMove, cause: MoveCause): void {
    this.scales.move(unit, from, to);
    this.settled = this.settled.filter((other) => other !== unit);
    this.room--;
    this.planned.push({ kind: "move", unit: unit.index, from, to, cause, reason });
  }
}
