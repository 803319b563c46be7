/**
 * What operators ask of the leader: to look, to take a node out of service and back in,
 * to even out the load. Every order is noted among the decisions with what came of it;
 * one that is refused changes nothing.
 */
import { unreachable } from "../src/base/assert.js";
import { accepted, Fault, type Refusal, type Result, refused } from "../src/base/result.js";
import type { PlacementRequest } from "../src/protocol/operator-desk.js";
import { decideDrain } from "../topology/drain.js";
import { PlacementTable } from "../topology/placement-table.js";
import { planRebalance } from "../topology/rebalance.js";
import type { Candidate } from "../topology/units.js";
import type { Decisions } from "./decisions.js";
import type { LeaderMemory } from "./leader-memory.js";
import type { Leadership } from "./leadership.js";
import { tableKey } from "./membership.js";
import type { NodeContext } from "./node-context.js";
import { reportPlacement } from "./placement-report.js";
import type { TableChange } from "./table-writer.js";

/** What of the placement actor an order needs. */
export interface PlacementOffice {
  readonly memory: () => LeaderMemory;
  readonly members: (table: PlacementTable) => Candidate[];
  readonly changeTable: (change: (table: PlacementTable) => PlacementTable) => Promise<TableChange>;
}

export class OperatorOrders {
  constructor(
    private readonly node: NodeContext,
    private readonly leadership: Leadership,
    private readonly decisions: Decisions,
    private readonly office: PlacementOffice,
  ) {}

  async carryOut(request: PlacementRequest): Promise<Result<unknown>> {
    if (this.leadership.current === undefined) return this.notLeader();
    const answer = await this.tryTo(request);
    if (request.kind !== "placement") this.note(request, answer);
    return answer;
  }

  /** What the bucket does not confirm may have happened all the same. */
  private async tryTo(request: PlacementRequest): Promise<Result<unknown>> {
    try {
      return await this.answer(request);
    } catch (cause) {
      if (!(cause instanceof Fault)) throw cause;
      if (cause.outcome === "not-done") return refused("NOT_READY", cause.message);
      return refused("TIMEOUT", `the fate is unknown: ${cause.message}`);
    }
  }

  private answer(request: PlacementRequest): Promise<Result<unknown>> {
    switch (request.kind) {
      case "placement":
        return this.view();
      case "drain":
      case "undrain":
        return this.setDrain(request.node, request.kind === "drain");
      case "rebalance-plan":
        return this.planRebalance();
      case "rebalance-commit":
        return this.commitRebalance(request.plan);
      default:
        return unreachable(request);
    }
  }

  private async setDrain(nodeId: string, isDraining: boolean): Promise<Result<unknown>> {
    let refusal: Refusal | undefined;
    let isChanged: boolean | undefined;
    const change = await this.office.changeTable((table) => {
      const decided = decideDrain(table, this.office.members(table), nodeId, isDraining);
      if (!decided.ok) refusal = decided;
      isChanged = decided.ok && decided.value !== table;
      return decided.ok ? decided.value : table;
    });
    if (isChanged === undefined) return this.notWritable();
    if (refusal !== undefined) return refusal;
    if (isChanged && change !== "written") return refused("CONFLICT", "the table was changed");
    return accepted({ node: nodeId, isDraining, changed: isChanged });
  }

  private async planRebalance(): Promise<Result<unknown>> {
    const read = await this.readTable();
    if (!read.ok) return read;
    const { table } = read.value;
    const memory = this.office.memory();
    const nowMs = this.node.clock.monotonicMs();
    const { unitSize } = memory;
    const members = this.office.members(table);
    const weights = memory.weights(nowMs);
    const rebalance = planRebalance(table, members, unitSize, weights, memory.shunned(nowMs));
    const isEmpty = rebalance.moves.length === 0;
    const plan = isEmpty ? null : memory.orders.offer(table.nonce, rebalance.moves).id;
    return accepted({ plan, nonce: table.nonce, unitSize, ...rebalance });
  }

  /** Always a write, so that of two committed for the same table one is outdated. */
  private async commitRebalance(id: string): Promise<Result<unknown>> {
    const { orders } = this.office.memory();
    const plan = orders.find(id);
    if (plan === undefined) return refused("PLAN_UNKNOWN", `no plan ${id} is known; plan again`);
    const { committed, pending } = orders;
    if (pending.length > 0) {
      return refused("CONFLICT", `plan ${committed?.plan} is still being carried out`);
    }
    let nonce: string | undefined;
    const change = await this.office.changeTable((table) => {
      nonce = table.nonce;
      return nonce === plan.nonce ? table.writtenBy(table.masterEpoch, nonce) : table;
    });
    if (nonce === undefined) return this.notWritable();
    if (nonce !== plan.nonce || change !== "written") {
      return refused("PLAN_OUTDATED", "the placement has changed since; plan again");
    }
    orders.commit(plan);
    return accepted({ plan: id, moves: plan.moves });
  }

  private async view(): Promise<Result<unknown>> {
    const { current } = this.leadership;
    const read = await this.readTable();
    if (!read.ok) return read;
    if (current === undefined) return this.notLeader();
    const members = this.office.members(read.value.table);
    const { node, decisions } = this;
    const memory = this.office.memory();
    return accepted(reportPlacement(node, current, memory, members, read.value, decisions));
  }

  private async readTable(): Promise<
    Result<{ readonly table: PlacementTable; readonly revision: number }, "NOT_READY">
  > {
    const entry = await this.node.placement.get(tableKey);
    const read = entry && PlacementTable.decode(entry.value);
    if (entry === undefined || !read?.ok) return refused("NOT_READY", "there is no readable table");
    return accepted({ table: read.value, revision: entry.revision });
  }

  private notWritable(): Result<never, "NOT_LEADER" | "NOT_READY"> {
    if (this.leadership.current === undefined) return this.notLeader();
    return refused("NOT_READY", "the table cannot be written now");
  }

  private notLeader(): Result<never, "NOT_LEADER"> {
    const leader = this.node.view.leader?.nodeId;
    const isOther = leader !== undefined && leader !== this.node.nodeId;
    return refused("NOT_LEADER", isOther ? `${leader} leads, by its record` : "nobody leads now");
  }

  private note(request: PlacementRequest, answer: Result<unknown>): void {
    const { kind, ...what } = request;
    const asked = [kind, ...Object.values(what)].join(" ");
    const outcome = answer.ok ? "done" : `refused, ${answer.code}: ${answer.message}`;
    this.decisions.note(`is asked by an operator: ${asked}; ${outcome}`);
  }
}
