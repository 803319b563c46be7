/**
 * What a leader knows beside the table: loads, since when units are on the move, what it
 * moved lately, who failed, which plans operators were given. One object a term: a new
 * leader begins with none of it, and the table alone is what lasts.
 */
import { shardCount } from "../src/protocol/shards.js";
import { OpenMoves } from "../topology/open-moves.js";
import type { Member, PlacementTable } from "../topology/placement-table.js";
import type { Knowledge, MoveCause, PlacementStep } from "../topology/plan.js";
import type { Candidate } from "../topology/units.js";
import { totalLoad, type UnitWeights, weighUnits } from "../topology/weights.js";
import type { Limits } from "./limits.js";
import { MeasuredLoad } from "./measured-load.js";
import { OrderedMoves } from "./ordered-moves.js";
import { nodeNameOf } from "./placement-view.js";

export class LeaderMemory {
  readonly load: MeasuredLoad;
  readonly openMoves: OpenMoves;
  readonly orders = new OrderedMoves();
  /** By unit, until when; and by node name. */
  private readonly rested = new Map<
    number,
    { readonly cause: MoveCause; readonly untilMs: number }
  >();
  private readonly failed = new Map<
    string,
    { readonly member: Member; readonly untilMs: number }
  >();
  private lastMoveMs: number;

  constructor(
    readonly unitSize: number,
    private readonly limits: Limits,
    private readonly sinceMs: number,
  ) {
    this.load = new MeasuredLoad(shardCount / unitSize);
    this.openMoves = new OpenMoves(unitSize);
    // A leader that has just begun has seen nothing yet that it could call a load.
    this.lastMoveMs = sinceMs;
  }

  knowledge(table: PlacementTable, members: readonly Candidate[], nowMs: number): Knowledge {
    return {
      weights: this.weights(nowMs),
      balance: this.balance(table, members, nowMs),
      resting: this.resting(nowMs),
      shunned: this.shunned(nowMs),
      overdue: this.openMoves.overdue(nowMs, this.limits.moveStuckMs),
      ordered: this.orders.pending,
    };
  }

  weights(nowMs: number): UnitWeights {
    const { loadFloorPerSecond } = this.limits;
    return weighUnits(shardCount / this.unitSize, this.load.loads(nowMs), loadFloorPerSecond);
  }

  /** Nodes that lately were given a unit and did not serve it. */
  shunned(nowMs: number): Member[] {
    for (const [name, { untilMs }] of this.failed) if (nowMs >= untilMs) this.failed.delete(name);
    return [...this.failed.values()].map(({ member }) => member);
  }

  /** A step is about to be written. */
  note(step: PlacementStep, nowMs: number): void {
    const { moveRestMs, shunMs } = this.limits;
    this.lastMoveMs = nowMs;
    if (step.kind === "move") {
      this.rested.set(step.unit, { cause: step.cause, untilMs: nowMs + moveRestMs });
    } else if (step.failed !== undefined) {
      const { nodeId, incarnation } = step.failed;
      const member = { nodeId, incarnation };
      this.failed.set(nodeNameOf(member), { member, untilMs: nowMs + shunMs });
    }
  }

  private balance(
    table: PlacementTable,
    members: readonly Candidate[],
    nowMs: number,
  ): Knowledge["balance"] {
    if (this.orders.pending.length > 0) return "none";
    const { loadGraceMs, loadPauseMs, loadFloorPerSecond } = this.limits;
    // Without the loads, numbers would undo what the last leader evened out by them.
    const isLate = nowMs - this.sinceMs >= loadGraceMs;
    if (!isLate && !this.load.isComplete(table, members)) return "none";
    const isBusy = totalLoad(this.load.loads(nowMs)) >= loadFloorPerSecond;
    return isBusy && nowMs - this.lastMoveMs >= loadPauseMs ? "load" : "count";
  }

  private resting(nowMs: number): Map<number, MoveCause> {
    for (const [unit, { untilMs }] of this.rested) if (nowMs >= untilMs) this.rested.delete(unit);
    return new Map([...this.rested].map(([unit, { cause }]) => [unit, cause]));
  }
}
