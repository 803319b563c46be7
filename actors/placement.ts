/**
 * The placement of an IDC: every node has this actor, one of them leads. The leader
 * watches every node, and gives shards to nodes by writing the table.
 *
 *   following ──(holder gone, compare-and-set won)──▶ leading
 *       ▲                                                 │
 *       └──(deadline passed, or somebody else wrote)──────┘
 *
 * Invariant: the leader writes only before its deadline, and every write is a
 * compare-and-set on the table's revision. Losing the leader stops nothing placed.
 */
import { ignoreUnknown } from "../src/base/assert.js";
import { randomToken } from "../src/base/random.js";
import { Fault } from "../src/base/result.js";
import type {
  FenceReported,
  MoveDone,
  PlacementChanged,
  ToPlacement,
} from "../src/protocol/messages.js";
import { type Shard, shardCount } from "../src/protocol/shards.js";
import { Actor } from "../src/runtime/actor.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { decodeLeader, encodeLeader, type LeaderRecord } from "../topology/election.js";
import { nodeKey } from "../topology/node-record.js";
import { type Member, PlacementTable } from "../topology/placement-table.js";
import { type Candidate, type PlacementStep, planPlacement, unitShards } from "../topology/plan.js";
import { leaderKey, tableKey } from "./membership.js";
import type { NodeContext } from "./node-context.js";
import { NodeWatch, type Pinged } from "./node-watch.js";
import { nodeNameOf } from "./placement-view.js";

interface WatchTick {
  readonly kind: "WatchTick";
}

export type PlacementMessage = ToPlacement | PlacementChanged | WatchTick | Pinged;

interface Following {
  readonly role: "following";
}

interface Leading {
  readonly role: "leading";
  readonly epoch: number;
  readonly sinceMs: number;
  revision: number;
  deadlineMs: number;
  /** The epoch is in the table: only then are shards given under it. */
  hasWrittenTable: boolean;
}

const placementKind: ActorKind = {
  name: "placement",
  mailbox: { max: 16_384, onFull: "reject" },
  restart: "permanent",
  intensity: { restarts: 20, withinMs: 60_000 },
};

const openMovesMax = 1;
const decisionsKept = 32;

export class Placement extends Actor<PlacementMessage> {
  private phase: Following | Leading = { role: "following" };
  private readonly nodeWatch: NodeWatch;
  /**
   * Given up here, and not yet gone from the view: by name, the revision of the record that
   * was deleted. Under another revision the node has claimed it again, and is back.
   */
  private readonly givenUp = new Map<string, number>();
  private readonly decisions: { at: string; what: string }[] = [];

  constructor(private readonly node: NodeContext) {
    super();
    this.nodeWatch = new NodeWatch(node, (pinged) => this.tellSelf(pinged));
  }

  get kind(): ActorKind {
    return placementKind;
  }

  protected override started(): void {
    this.timer(this.node.limits.probeEveryMs, { kind: "WatchTick" });
  }

  /** Resigns, so that the next leader need not wait. */
  protected override async stopping(): Promise<void> {
    const { phase } = this;
    if (phase.role !== "leading") return;
    this.phase = { role: "following" };
    await this.node.placement.delete(leaderKey, phase.revision);
  }

  async receive(message: PlacementMessage): Promise<void> {
    this.stepDownIfLate();
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
    const { phase } = this;
    if (phase.role === "leading") await this.lead(phase);
    else await this.follow();
  }

  private async lead(leading: Leading): Promise<void> {
    await this.renewWhenDue(leading);
    // It may have stepped down over it: then it judges nobody any more.
    if (this.phase !== leading) return;
    this.nodeWatch.ping(this.node.view.nodes.values());
    await this.removeGoneNodes(leading);
    await this.place();
  }

  private async follow(): Promise<void> {
    const { leader } = this.node.view;
    if (leader === undefined) {
      await this.challenge("nobody leads", undefined);
      return;
    }
    this.nodeWatch.ping([leader]);
    const record = this.node.view.nodes.get(leader.nodeId);
    const isKnown = record?.incarnation === leader.incarnation;
    // A leader whose node record is gone can only be waited for.
    const holder = isKnown ? record : { ...leader, pid: 0, processStart: "" };
    const gone = await this.nodeWatch.goneReason(leaderKey, holder, 0);
    if (gone !== undefined) await this.challenge(gone.reason, gone.revision);
  }

  // ---- election ----

  /** `revision`: of the record that was judged; one written since makes it fail. */
  private async challenge(reason: string, revision: number | undefined): Promise<void> {
    const { view, placement, nodeId, incarnation, limits, clock } = this.node;
    // Who cannot hold its own lease must not lead.
    if (!view.isLeaseHeld(clock.monotonicMs()) || !view.isLoaded) return;
    const sentMs = clock.monotonicMs();
    const epoch = view.floor.masterEpoch + 1;
    const record = encodeLeader({ nodeId, incarnation, epoch, leaseMs: limits.leaseMs });
    const won =
      revision === undefined
        ? await placement.create(leaderKey, record)
        : await placement.update(leaderKey, record, revision);
    if (!won.ok) return;
    this.phase = {
      role: "leading",
      epoch,
      sinceMs: clock.monotonicMs(),
      revision: won.value,
      deadlineMs: sentMs + limits.leaseMs,
      hasWrittenTable: false,
    };
    // What was silent for a follower may long have come back.
    this.nodeWatch.forget();
    this.decide(`leads under epoch ${epoch}: ${reason}`);
  }

  private async renewWhenDue(leading: Leading): Promise<void> {
    const { placement, nodeId, incarnation, limits, clock } = this.node;
    const sentMs = clock.monotonicMs();
    if (leading.deadlineMs - sentMs > (limits.leaseMs * 2) / 3) return;
    const record = encodeLeader({
      nodeId,
      incarnation,
      epoch: leading.epoch,
      leaseMs: limits.leaseMs,
    });
    const renewed = await placement.update(leaderKey, record, leading.revision);
    if (!renewed.ok) {
      // It may be an own renewal of unknown outcome that did take effect.
      const present = await placement.get(leaderKey);
      const holder = present === undefined ? undefined : decodeLeader(present.value);
      const isOwn = holder?.ok && holder.value.incarnation === incarnation;
      if (present !== undefined && isOwn && holder.value.epoch === leading.epoch) {
        leading.revision = present.revision;
      } else {
        this.stepDown("somebody else wrote the lease");
      }
      return;
    }
    leading.revision = renewed.value;
    leading.deadlineMs = sentMs + limits.leaseMs;
  }

  private stepDownIfLate(): void {
    const { phase } = this;
    if (phase.role !== "leading" || this.node.clock.monotonicMs() < phase.deadlineMs) return;
    this.stepDown("the lease was not renewed in time");
  }

  private stepDown(reason: string): void {
    this.phase = { role: "following" };
    this.decide(`leads no more: ${reason}`);
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
      const gone = await this.nodeWatch.goneReason(key, member, leading.sinceMs);
      if (gone === undefined || this.node.clock.monotonicMs() >= leading.deadlineMs) continue;
      const deleted = await placement.delete(key, gone.revision);
      // Renewed meanwhile: it is not gone.
      if (!deleted.ok) continue;
      this.givenUp.set(name, gone.revision);
      this.decide(`gives up ${name}: ${gone.reason}`);
    }
  }

  private isGivenUp(member: Member): boolean {
    const revision = this.givenUp.get(nodeNameOf(member));
    if (revision === undefined) return false;
    return this.node.view.sightings.get(nodeKey(member.nodeId))?.revision === revision;
  }

  // ---- the table ----

  private async place(): Promise<void> {
    if (this.phase.role !== "leading") return;
    // The view is a moment old; it only decides whether to read the table at all.
    const { table, floor } = this.node.view;
    const isWhole = floor.lift(table) === table;
    const isDone = this.phase.hasWrittenTable && isWhole && this.plan(table).length === 0;
    if (!isDone) await this.changeTable((table) => this.carryOut(table, this.plan(table)));
  }

  private plan(table: PlacementTable): PlacementStep[] {
    return planPlacement(table, this.members(), { unitSize: this.unitSize, openMovesMax });
  }

  private async onMoveDone({ group, epoch }: MoveDone): Promise<void> {
    const shards = unitShards(group, this.unitSize);
    // An epoch is given once: who names it is the owner of the move.
    const isOpen = (table: PlacementTable) =>
      table.epochOf(shards[0] as Shard) === epoch &&
      shards.every((shard) => table.stateOf(shard) === "moving");
    await this.changeTable((table) => (isOpen(table) ? table.withState(shards, "serving") : table));
    await this.place();
  }

  /** The store knows a higher epoch than was given (its data outlived the table): go above. */
  private async onFenceReported(report: FenceReported): Promise<void> {
    const { group, epoch } = report;
    await this.changeTable((table) => {
      const shards = unitShards(group, this.unitSize);
      // From one who owns it no more it is only late: the fence is its successor's.
      const isOwner = shards.every((shard) => table.isOwnedBy(shard, report));
      const isHigher = shards.every((shard) => table.epochOf(shard) > epoch);
      const { nodeId, incarnation } = report;
      if (!isOwner || isHigher) return table;
      return table.withOwner(shards, { nodeId, incarnation }, epoch);
    });
  }

  private async changeTable(change: (table: PlacementTable) => PlacementTable): Promise<void> {
    const { phase } = this;
    if (phase.role !== "leading") return;
    const { placement, clock, limits, random, log } = this.node;
    const isSettling = clock.monotonicMs() - phase.sinceMs < limits.settleMs;
    const entry = await placement.get(tableKey);
    if (entry === undefined && isSettling && this.members().length < 2) return;
    const read = entry === undefined ? undefined : PlacementTable.decode(entry.value);
    if (read !== undefined && !read.ok) {
      log.error("the placement table is not readable and stays as it is", { code: read.code });
      return;
    }
    const stored = read?.value ?? PlacementTable.empty();
    const { floor } = this.node.view;
    // A bucket that was rolled back says less than was seen: nobody's epoch is given twice.
    const table = floor.lift(stored);
    if (table !== stored) this.decide("finds that the table was rolled back");
    if (table.masterEpoch > phase.epoch) {
      this.stepDown("the table was written under a higher epoch");
      return;
    }
    const changed = change(table);
    if (changed === stored && phase.hasWrittenTable) return;
    const bytes = changed.writtenBy(phase.epoch, randomToken(random, 12)).encode();
    if (clock.monotonicMs() >= phase.deadlineMs) return;
    const written =
      entry === undefined
        ? await placement.create(tableKey, bytes)
        : await placement.update(tableKey, bytes, entry.revision);
    // On a conflict the next tick reads again, and learns whether it still leads.
    if (!written.ok) return;
    phase.hasWrittenTable = true;
    floor.note(changed);
  }

  private carryOut(table: PlacementTable, steps: readonly PlacementStep[]): PlacementTable {
    let changed = table;
    for (const step of steps) {
      const shards = unitShards(step.unit, this.unitSize);
      if (step.kind === "assign") {
        changed = changed.withOwner(shards, step.to);
        this.decide(`gives unit ${step.unit} to ${nodeNameOf(step.to)}: ${step.reason}`);
      } else {
        changed = changed.withMove(shards, step.to);
        const [from, to] = [nodeNameOf(step.from), nodeNameOf(step.to)];
        this.decide(`moves unit ${step.unit} from ${from} to ${to}: ${step.reason}`);
      }
    }
    return changed;
  }

  private get unitSize(): number {
    return shardCount / this.node.store.groupCount;
  }

  private members(): Candidate[] {
    return [...this.node.view.nodes.values()]
      .filter((member) => !this.isGivenUp(member))
      .map(({ nodeId, incarnation }) => ({ nodeId, incarnation, isDraining: false }))
      .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  }

  private decide(what: string): void {
    this.node.log.info(`placement ${what}`);
    this.decisions.push({ at: new Date(this.node.clock.wallMs()).toISOString(), what });
    if (this.decisions.length > decisionsKept) this.decisions.shift();
  }

  override inspect(): Record<string, unknown> {
    const { leader } = this.node.view;
    return {
      role: this.phase.role,
      leader: leader === undefined ? null : nodeNameOf(leader as LeaderRecord),
      epoch: leader?.epoch ?? 0,
      decisions: this.decisions.slice(-10),
    };
  }
}
