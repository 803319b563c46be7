/**
 * Whether this node does its business: every second it asks each group that it is to
 * serve for a write that went through, and one of the group's shards for an answer, and
 * looks how late its own timer comes. What it concludes stands in the node's record.
 *
 *   a group does not serve       ──▶ cannotServe: the leader gives that group to another
 *   one does not, and none does  ──▶ in doubt, too: it is given no other for a while
 *   two do not, and none does    ──▶ unwell: it is the node; the leader takes all it has
 *   the event loop lags          ──▶ unwell, and another node leads
 *
 * One group alone says nothing of the node: a damaged volume opens nowhere, and would
 * make one node after the other hand over all it has.
 */
import { unreachable } from "../src/base/assert.js";
import type {
  GroupProof,
  HealthJudged,
  NodeVerdict,
  ProbeGroup,
  ProbeShard,
} from "../src/protocol/messages.js";
import { shardCount } from "../src/protocol/shards.js";
import { Actor } from "../src/runtime/actor.js";
import { type Address, addressOn } from "../src/runtime/address.js";
import type { AskResult } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { type Health, isRelapse, judge, wellFromTheStart } from "../topology/health.js";
import { type GroupDuty, readDuties } from "./group-duty.js";
import { GroupHealth } from "./group-health.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";

interface ProbeTick {
  readonly kind: "ProbeTick";
}

/** Both asks of one group's probe have ended. */
interface GroupProbed {
  readonly kind: "GroupProbed";
  readonly group: number;
  readonly proof: AskResult<GroupProof>;
  readonly shard: AskResult<unknown>;
}

export type HealthMessage = ProbeTick | GroupProbed;

const healthKind: ActorKind = {
  name: "health",
  mailbox: { max: 8_192, onFull: "reject" },
  restart: "permanent",
};

/** A networked store has thousands of groups: they take turns, far below `storeStallMaxMs`. */
const groupsPerTickMin = 64;
const ticksForAll = 4;
/** Named in the node's record, which every node reads. */
const cannotServeMax = 64;

export class NodeHealth extends Actor<HealthMessage> {
  private readonly groups = new Map<number, GroupHealth>();
  private loop: Health = wellFromTheStart;
  private store: Health = wellFromTheStart;
  private dueMs = 0;
  private lateMs = 0;
  private turn = 0;
  /** Some group serves, by its last probe. */
  private works = false;

  constructor(private readonly node: NodeContext) {
    super();
  }

  get kind(): ActorKind {
    return healthKind;
  }

  protected override started(): void {
    this.armTick();
  }

  private armTick(): void {
    const { clock, limits } = this.node;
    this.dueMs = clock.monotonicMs() + limits.healthProbeEveryMs;
    this.timer(limits.healthProbeEveryMs, { kind: "ProbeTick" });
  }

  receive(message: HealthMessage): void {
    switch (message.kind) {
      case "ProbeTick":
        this.onProbeTick();
        return;
      case "GroupProbed":
        this.onGroupProbed(message);
        return;
      default:
        unreachable(message);
    }
  }

  private onProbeTick(): void {
    const { clock } = this.node;
    const nowMs = clock.monotonicMs();
    this.lateMs = nowMs - this.dueMs;
    this.armTick();
    const { duties } = this;
    this.judgeGroups(duties, nowMs);
    this.judgeNode(duties, nowMs);
    this.tellVerdict();
    this.probeSome([...duties.keys()]);
  }

  /** What the table says that this node serves, or takes over; without its lease, nothing. */
  private get duties(): ReadonlyMap<number, GroupDuty> {
    const { view, clock, store } = this.node;
    const duties = view.isLeaseHeld(clock.monotonicMs())
      ? readDuties(view.table, this.node, (shard) => store.groupOf(shard))
      : new Map<number, GroupDuty>();
    for (const [group, duty] of duties) if (duty.kind === "give") duties.delete(group);
    return duties;
  }

  private judgeGroups(duties: ReadonlyMap<number, GroupDuty>, nowMs: number): void {
    const { limits } = this.node;
    for (const [group, duty] of duties) {
      const known = this.groups.get(group) ?? new GroupHealth(limits);
      this.groups.set(group, known);
      // The old owner may take all of its deadline first.
      const waitMs = duty.kind === "take" ? limits.moveDeadlineMs : 0;
      known.assign(epochOf(duty), nowMs, limits.openMaxMs + waitMs);
      known.judge(nowMs);
    }
    for (const [group, known] of this.groups) {
      if (duties.has(group)) continue;
      known.rest(nowMs);
      const isForgotten = known.reason === undefined && !isRelapse(known.health, nowMs);
      if (isForgotten) this.groups.delete(group);
    }
  }

  private judgeNode(duties: ReadonlyMap<number, GroupDuty>, nowMs: number): void {
    const { limits } = this.node;
    const lag =
      this.lateMs > limits.loopLagMaxMs
        ? `the event loop lags by ${Math.round(this.lateMs)} ms`
        : undefined;
    this.loop = judge(this.loop, lag, nowMs, limits);
    const failing = this.failing;
    this.works = [...duties.keys()].some((group) => this.groups.get(group)?.isProven);
    const [first] = failing;
    const isNode = failing.length > 1 && first !== undefined && !this.works;
    const stuck = isNode ? `${failing.length} groups do not serve, ${describe(first)}` : undefined;
    // Each group has had its bad probes in a row.
    this.store = judge(this.store, stuck, nowMs, { ...limits, badProbesMax: 1 });
  }

  private get failing(): (readonly [number, GroupHealth])[] {
    return [...this.groups].filter(([, known]) => known.reason !== undefined);
  }

  /** A bad probe that has not been judged yet, or nothing that would speak for this node. */
  private get isInDoubt(): boolean {
    const isLoop = this.loop.reason === undefined && this.loop.contrary > 0;
    const isUnproven = this.failing.length > 0 && !this.works;
    return isLoop || isUnproven || [...this.groups.values()].some((known) => known.isInDoubt);
  }

  private tellVerdict(): void {
    const { view, log } = this.node;
    const verdict: NodeVerdict = {
      unwell: this.loop.reason ?? this.store.reason,
      isInDoubt: this.isInDoubt,
      isLoopLate: this.loop.reason !== undefined,
      cannotServe: this.failing.map(([group]) => group).slice(0, cannotServeMax),
    };
    if (isSame(verdict, view.health)) return;
    const groups = this.failing.map(describe);
    const { unwell, isInDoubt } = verdict;
    if (unwell === undefined && groups.length === 0 && !isInDoubt) log.info("this node is well");
    else log.warn("this node is not well", { unwell, isInDoubt, groups });
    const judged: HealthJudged = { kind: "HealthJudged", verdict };
    this.tell(addressOn(nodeNameOf(this.node), "membership"), judged);
  }

  // ---- probes ----

  private probeSome(groups: readonly number[]): void {
    const share = Math.max(groupsPerTickMin, Math.ceil(groups.length / ticksForAll));
    for (let count = 0; count < Math.min(share, groups.length); count++) {
      const group = groups[this.turn++ % groups.length] as number;
      const known = this.groups.get(group);
      if (known !== undefined && !known.isAsked) this.probe(group, known);
    }
  }

  private probe(group: number, known: GroupHealth): void {
    known.isAsked = true;
    const { groupCount } = this.node.store;
    const shard = group + groupCount * (known.asked++ % (shardCount / groupCount));
    const { requestDeadlineMs } = this.node.limits;
    const groupAddress = addressOn(nodeNameOf(this.node), `shards/${group}`);
    const shardAddress = `${groupAddress}/${shard}` as Address;
    const probeGroup: ProbeGroup = { kind: "ProbeGroup" };
    const probeShard: ProbeShard = { kind: "ProbeShard" };
    this.pipe(
      Promise.all([
        this.ask<GroupProof>(groupAddress, probeGroup, requestDeadlineMs),
        this.ask(shardAddress, probeShard, requestDeadlineMs),
      ]),
      ([proof, answer]) => ({ kind: "GroupProbed", group, proof, shard: answer }),
    );
  }

  private onGroupProbed({ group, proof, shard }: GroupProbed): void {
    const known = this.groups.get(group);
    if (known === undefined) return;
    known.isAsked = false;
    if (proof.ok) known.onProof(proof.value);
    if (shard.ok) known.onShardAnswered(this.node.clock.monotonicMs());
  }

  override inspect(): Record<string, unknown> {
    const { unwell, cannotServe } = this.node.view.health;
    return {
      unwell: unwell ?? null,
      cannotServe,
      complaints: Object.fromEntries(
        [...this.groups].flatMap(([group, { complaint }]) =>
          complaint === undefined ? [] : [[group, complaint]],
        ),
      ),
      loopLateMs: Math.round(this.lateMs),
    };
  }
}

function epochOf(duty: GroupDuty): number {
  if (duty.kind === "give") return duty.epoch;
  const [epoch = 0] = duty.epochs.values();
  return epoch;
}

function describe([group, { reason }]: readonly [number, GroupHealth]): string {
  return `group ${group}: ${reason}`;
}

function isSame(one: NodeVerdict, other: NodeVerdict): boolean {
  return (
    one.unwell === other.unwell &&
    one.isInDoubt === other.isInDoubt &&
    one.isLoopLate === other.isLoopLate &&
    one.cannotServe.join() === other.cannotServe.join()
  );
}
