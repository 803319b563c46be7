/**
 * The placement of an IDC: every node has this actor, one of them leads (`Leadership`).
 * The leader watches every node, and gives shards to nodes by writing the table.
 *
 * Invariant: the leader writes only before its deadline, and every write is a
 * compare-and-set on the table's revision. Losing the leader stops nothing placed.
 */
import { ignoreUnknown } from "../src/base/assert.js";
import { Fault } from "../src/base/result.js";
import type {
  FenceReported,
  LoadReported,
  MoveDone,
  OperatePlacement,
  PlacementChanged,
  ToPlacement,
} from "../src/protocol/messages.js";
import { type Shard, shardCount } from "../src/protocol/shards.js";
import { Actor } from "../src/runtime/actor.js";
import type { Asker } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { isSucceeded, type LeaderRecord } from "../topology/election.js";
import { healthOf, nodeKey } from "../topology/node-record.js";
import type { Member, PlacementTable } from "../topology/placement-table.js";
import { type PlacementStep, planPlacement } from "../topology/plan.js";
import { type Candidate, unitShards } from "../topology/units.js";
import { Decisions } from "./decisions.js";
import { LeaderMemory } from "./leader-memory.js";
import { Leadership, type Leading } from "./leadership.js";
import { leaderKey } from "./membership.js";
import type { NodeContext } from "./node-context.js";
import { NodeWatch, type Pinged } from "./node-watch.js";
import { OperatorOrders } from "./operator-orders.js";
import { nodeNameOf } from "./placement-view.js";
import { TableWriter } from "./table-writer.js";

interface WatchTick {
  readonly kind: "WatchTick";
}

export type PlacementMessage = ToPlacement | PlacementChanged | WatchTick | Pinged;

const placementKind: ActorKind = {
  name: "placement",
  mailbox: { max: 16_384, onFull: "reject" },
  restart: "permanent",
  intensity: { restarts: 20, withinMs: 60_000 },
};

const openMovesMax = 1;
const decisionsShown = 10;

export class Placement extends Actor<PlacementMessage> {
  private readonly decisions: Decisions;
  private readonly leadership: Leadership;
  private readonly table: TableWriter;
  private readonly nodeWatch: NodeWatch;
  /**
   * Given up here, and not yet gone from the view: by name, the revision of the record that
   * was deleted. Under another revision the node has claimed it again, and is back. Undefined
   * where the record was left to a newer Belfry, who renews it as another incarnation.
   */
  private readonly givenUp = new Map<string, number | undefined>();
  /** Of this term; begun anew with each. */
  private memory: LeaderMemory;
  private readonly orders: OperatorOrders;
  private leaderlessSinceMs: number | undefined = undefined;

  constructor(private readonly node: NodeContext) {
    super();
    this.decisions = new Decisions(node);
    this.leadership = new Leadership(node, this.decisions);
    this.table = new TableWriter(node, this.leadership, this.decisions);
    this.memory = this.emptyMemory();
    this.orders = new OperatorOrders(node, this.leadership, this.decisions, {
      memory: () => this.memory,
      members: (table) => this.members(table),
      changeTable: (change) => this.table.change(change),
    });
    this.nodeWatch = new NodeWatch(node, (pinged) => this.tellSelf(pinged));
  }

  get kind(): ActorKind {
    return placementKind;
  }

  protected override started(): void {
    this.timer(this.node.limits.probeEveryMs, { kind: "WatchTick" });
  }

  protected override stopping(): Promise<void> {
    return this.leadership.resign("this node stops");
  }

  async receive(message: PlacementMessage, from?: Asker): Promise<void> {
    this.leadership.stepDownIfLate();
    switch (message.kind) {
      case "WatchTick":
        this.timer(this.node.limits.probeEveryMs, message);
        await this.guarded(() => this.onWatchTick());
        return;
      case "Pinged":
        this.nodeWatch.onPinged(message);
        return;
      case "PlacementChanged":
        await this.guarded(() => this.place());
        return;
      case "MoveDone":
        await this.guarded(() => this.onMoveDone(message));
        return;
      case "FenceReported":
        await this.guarded(() => this.onFenceReported(message));
        return;
      case "LoadReported":
        this.onLoadReported(message);
        return;
      case "OperatePlacement":
        await this.guarded(() => this.onOperate(message, from));
        return;
      default:
        ignoreUnknown(message);
    }
  }

  /** The bus or the store failing is no reason to crash: the tick comes again. */
  private async guarded(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (cause) {
      if (!(cause instanceof Fault)) throw cause;
      this.node.log.warn("placement step failed", { code: cause.code, error: cause.message });
    }
  }

  private async onWatchTick(): Promise<void> {
    const leading = this.leadership.current;
    if (leading === undefined) await this.follow();
    else await this.lead(leading);
  }

  private async lead(leading: Leading): Promise<void> {
    if (this.isSomebodyFitter()) {
      await this.leadership.resign("its event loop lags");
      return;
    }
    await this.leadership.renewWhenDue(leading);
    // It may have stepped down over it: then it judges nobody any more.
    if (this.leadership.current !== leading) return;
    this.nodeWatch.ping(this.node.view.nodes.values());
    await this.removeGoneNodes(leading);
    await this.place();
  }

  private async follow(): Promise<void> {
    const { leader, nodes, sightings, unreadable } = this.node.view;
    if (unreadable.get(leaderKey) === "another version") return;
    // Of noise only the age counts: its leader may be on its way to write it again.
    if (leader === undefined || unreadable.has(leaderKey)) {
      await this.challengeNobody();
      return;
    }
    this.leaderlessSinceMs = undefined;
    const judged = sightings.get(leaderKey);
    if (judged !== undefined && nodeNameOf(leader) === nodeNameOf(this.node)) {
      // Written with unknown outcome, or not resigned: nobody else would take it for a lease.
      await this.challenge("its own record stands", judged.revision);
      return;
    }
    if (judged !== undefined && isSucceeded(leader, nodes, this.node)) {
      await this.challenge(`${nodeNameOf(leader)} has rejoined`, judged.revision);
      return;
    }
    this.nodeWatch.ping([leader]);
    const record = nodes.get(leader.nodeId);
    const isKnown = record?.incarnation === leader.incarnation;
    // A leader whose node record is gone can only be waited for.
    const holder = isKnown ? record : { ...leader, pid: 0, processStart: "" };
    const gone = await this.nodeWatch.goneReason(leaderKey, holder, 0);
    if (gone !== undefined) await this.challenge(gone.reason, gone.revision);
  }

  private async challengeNobody(): Promise<void> {
    const { view, clock, limits } = this.node;
    const nowMs = clock.monotonicMs();
    this.leaderlessSinceMs ??= nowMs;
    // Not for ever: the other one may be gone, and only a leader would notice.
    if (nowMs - this.leaderlessSinceMs < limits.leaseMs && this.isSomebodyFitter()) return;
    const unreadable = view.sightings.get(leaderKey);
    if (unreadable === undefined) return this.challenge("nobody leads", undefined);
    const staleMs = nowMs - unreadable.sinceMs;
    if (staleMs < limits.leaseMs + limits.leaseMarginMs) return;
    await this.challenge("the leader's record is not readable and stale", unreadable.revision);
  }

  /** A loop that lags makes all that a leader does late. */
  private isSomebodyFitter(): boolean {
    const { view, nodeId, clock } = this.node;
    if (!view.health.isLoopLate) return false;
    return [...view.nodes.values()].some((other) => {
      const seen = view.sightings.get(nodeKey(other.nodeId));
      // A record outlives its node: who does not renew it may be gone, and leads nobody.
      const isThere = seen !== undefined && clock.monotonicMs() - seen.sinceMs < other.leaseMs / 2;
      return other.nodeId !== nodeId && other.unwell === undefined && isThere;
    });
  }

  private async challenge(reason: string, revision: number | undefined): Promise<void> {
    if (!(await this.leadership.challenge(reason, revision))) return;
    // What was silent for a follower may long have come back.
    this.nodeWatch.forget();
    this.memory = this.emptyMemory();
  }

  private emptyMemory(): LeaderMemory {
    return new LeaderMemory(this.unitSize, this.node.limits, this.node.clock.monotonicMs());
  }

  // ---- watching nodes ----

  /** Takes the record away; every node learns by its watch that this one is gone. */
  private async removeGoneNodes(leading: Leading): Promise<void> {
    const { view, nodeId, placement } = this.node;
    const present = new Set(
      [...view.nodes.values()].filter((member) => this.isGivenUp(member)).map(nodeNameOf),
    );
    for (const name of this.givenUp.keys()) if (!present.has(name)) this.givenUp.delete(name);
    for (const member of view.nodes.values()) {
      const name = nodeNameOf(member);
      if (member.nodeId === nodeId || this.isGivenUp(member)) continue;
      const key = nodeKey(member.nodeId);
      // Not since it leads: the leader before it may sleep, and has been waited for already.
      const gone = await this.nodeWatch.goneReason(key, member, view.leaseHeldSinceMs);
      if (gone === undefined || this.node.clock.monotonicMs() >= leading.deadlineMs) continue;
      // What cannot be read now is left as it is; its lease has run out all the same.
      const isLeft = view.unreadable.get(key) === "another version";
      const deleted = isLeft ? undefined : await placement.delete(key, gone.revision);
      // Renewed meanwhile: it is not gone.
      if (deleted?.ok === false) continue;
      this.givenUp.set(name, isLeft ? undefined : gone.revision);
      this.decisions.note(`gives up ${name}: ${gone.reason}`);
    }
  }

  private isGivenUp(member: Member): boolean {
    const name = nodeNameOf(member);
    if (!this.givenUp.has(name)) return false;
    const revision = this.givenUp.get(name);
    const seen = this.node.view.sightings.get(nodeKey(member.nodeId))?.revision;
    return revision === undefined || revision === seen;
  }

  // ---- the table ----

  private async place(): Promise<void> {
    const leading = this.leadership.current;
    if (leading === undefined) return;
    const { view, clock } = this.node;
    this.memory.openMoves.note(view.table, clock.monotonicMs());
    const { orders } = this.memory;
    // The view is a moment old; it only decides whether to read the table at all.
    const isWhole = view.floor.lift(view.table) === view.table;
    const isSettled = leading.hasWrittenTable && isWhole && orders.pending.length === 0;
    const isDone = isSettled && this.plan(view.table).length === 0;
    if (isDone) return;
    let steps: readonly PlacementStep[] = [];
    try {
      const change = await this.table.change((table) => {
        this.settleOrders(table);
        steps = this.plan(table);
        return this.carryOut(table, steps);
      });
      if (change !== "written") return;
    } catch (cause) {
      // It may stand in the table: who failed with a unit must not be given it at once again.
      if (isUnknown(cause)) for (const step of steps) this.noteStep(step);
      throw cause;
    }
    for (const step of steps) this.noteStep(step);
  }

  private plan(table: PlacementTable): PlacementStep[] {
    const members = this.members(table);
    const knowledge = this.memory.knowledge(table, members, this.node.clock.monotonicMs());
    return planPlacement(table, members, { unitSize: this.unitSize, openMovesMax }, knowledge);
  }

  private settleOrders(table: PlacementTable): void {
    const { orders, unitSize } = this.memory;
    const shunned = this.memory.shunned(this.node.clock.monotonicMs());
    for (const said of orders.settle(table, this.members(table), unitSize, shunned)) {
      this.decisions.note(said);
    }
  }

  // ---- what others report and ask ----

  private onLoadReported(report: LoadReported): void {
    if (this.leadership.current === undefined) return;
    this.memory.load.take(report, this.node.clock.monotonicMs());
  }

  private async onOperate({ request }: OperatePlacement, from: Asker | undefined): Promise<void> {
    if (from === undefined) return;
    const answer = await this.orders.carryOut(request);
    if (answer.ok) from.answer(answer.value);
    else from.refuse(answer.code, answer.message);
    await this.place();
  }

  private async onMoveDone({ group, epoch }: MoveDone): Promise<void> {
    const shards = unitShards(group, this.unitSize);
    // An epoch is given once: who names it is the owner of the move.
    const isOpen = (table: PlacementTable) =>
      table.epochOf(shards[0] as Shard) === epoch &&
      shards.every((shard) => table.stateOf(shard) === "moving");
    await this.table.change((table) =>
      isOpen(table) ? table.withState(shards, "serving") : table,
    );
    await this.place();
  }

  /** The store knows a higher epoch than was given (its data outlived the table): go above. */
  private async onFenceReported(report: FenceReported): Promise<void> {
    const { group, epoch } = report;
    await this.table.change((table) => {
      const shards = unitShards(group, this.unitSize);
      // From one who owns it no more it is only late: the fence is its successor's.
      const isOwner = shards.every((shard) => table.isOwnedBy(shard, report));
      const isHigher = shards.every((shard) => table.epochOf(shard) > epoch);
      const { nodeId, incarnation } = report;
      if (!isOwner || isHigher) return table;
      return table.withOwner(shards, { nodeId, incarnation }, epoch);
    });
  }

  private carryOut(table: PlacementTable, steps: readonly PlacementStep[]): PlacementTable {
    return steps.reduce((changed, { kind, unit, to }) => {
      const shards = unitShards(unit, this.unitSize);
      return kind === "assign" ? changed.withOwner(shards, to) : changed.withMove(shards, to);
    }, table);
  }

  private noteStep(step: PlacementStep): void {
    this.memory.note(step, this.node.clock.monotonicMs());
    const to = nodeNameOf(step.to);
    if (step.kind === "assign") {
      this.decisions.note(`gives unit ${step.unit} to ${to}: ${step.reason}`);
    } else {
      const from = nodeNameOf(step.from);
      this.decisions.note(`moves unit ${step.unit} from ${from} to ${to}: ${step.reason}`);
    }
  }

  private get unitSize(): number {
    return shardCount / this.node.store.groupCount;
  }

  private members(table: PlacementTable): Candidate[] {
    return [...this.node.view.nodes.values()]
      .filter((member) => !this.isGivenUp(member))
      .map((member) => {
        const isDraining = member.unwell !== undefined || table.isDraining(member.nodeId);
        return { ...healthOf(member), isDraining };
      })
      .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  }

  override inspect(): Record<string, unknown> {
    const { leader } = this.node.view;
    return {
      role: this.leadership.current === undefined ? "following" : "leading",
      leader: leader === undefined ? null : nodeNameOf(leader as LeaderRecord),
      epoch: leader?.epoch ?? 0,
      decisions: this.decisions.latest(decisionsShown),
    };
  }
}

function isUnknown(cause: unknown): boolean {
  return cause instanceof Fault && cause.outcome === "unknown";
}
