/**
 * The plans that operators were given, and the one that was committed and is carried
 * out. In the leader's memory only: after a change of leader a plan is unknown, and what
 * was not yet begun of a committed one is not begun any more.
 */
import type { Member, PlacementTable } from "../topology/placement-table.js";
import { judgeOrder, type OrderedMove } from "../topology/rebalance.js";
import { type Candidate, readUnits, receiversOf } from "../topology/units.js";

export interface OfferedPlan {
  readonly id: string;
  /** Of the table that it was made for: it is for no other. */
  readonly nonce: string;
  readonly moves: readonly OrderedMove[];
}

export interface CommittedPlan {
  readonly plan: string;
  readonly moves: number;
  readonly done: number;
  readonly dropped: number;
}

const offeredMax = 8;

export class OrderedMoves {
  private readonly offered = new Map<string, OfferedPlan>();
  private left: readonly OrderedMove[] = [];
  private latest: CommittedPlan | undefined = undefined;
  private made = 0;

  /** The oldest leaves first. */
  offer(nonce: string, moves: readonly OrderedMove[]): OfferedPlan {
    this.made++;
    const plan = { id: `${nonce}-${this.made}`, nonce, moves };
    this.offered.set(plan.id, plan);
    const [oldest] = this.offered.keys();
    if (this.offered.size > offeredMax && oldest !== undefined) this.offered.delete(oldest);
    return plan;
  }

  find(id: string): OfferedPlan | undefined {
    return this.offered.get(id);
  }

  commit({ id, moves }: OfferedPlan): void {
    this.left = moves;
    this.latest = { plan: id, moves: moves.length, done: 0, dropped: 0 };
  }

  get pending(): readonly OrderedMove[] {
    return this.left;
  }

  /** The one that is carried out, or the last that was. */
  get committed(): CommittedPlan | undefined {
    return this.latest;
  }

  /** Strikes out what is done and what does not apply any more; tells what there is to say. */
  settle(
    table: PlacementTable,
    members: readonly Candidate[],
    unitSize: number,
    shunned: readonly Member[],
  ): string[] {
    const { latest } = this;
    if (latest === undefined || this.left.length === 0) return [];
    const units = readUnits(table, members, unitSize, []);
    const receivers = receiversOf(members, shunned);
    let { done, dropped } = latest;
    const said: string[] = [];
    this.left = this.left.filter((order) => {
      const unit = units[order.unit];
      if (unit === undefined) return false;
      const judged = judgeOrder(order, unit, receivers);
      if (judged.state === "done") done++;
      if (judged.state === "dropped") {
        dropped++;
        said.push(`drops unit ${order.unit} of plan ${latest.plan}: ${judged.why}`);
      }
      return judged.state === "pending";
    });
    this.latest = { ...latest, done, dropped };
    if (this.left.length === 0) {
      said.push(`ends plan ${latest.plan}: ${done} moved, ${dropped} dropped`);
    }
    return said;
  }
}
