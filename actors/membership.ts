/**
 * This node among the others: renews its lease, answers pings, and keeps the node's
 * view of table, leader and nodes up to date. Nobody else writes the view.
 *
 *   joining ──record claimed──▶ held ──past the deadline, or the record gone──▶ joining
 *      ▲ once the shards of the former incarnation are released                   │
 *      └──────────────────────── a new incarnation ◀──────────────────────────────┘
 *
 * Invariant: an incarnation that has been past its deadline never holds a lease again.
 */
import { unreachable } from "../src/base/assert.js";
import { randomToken } from "../src/base/random.js";
import { Fault } from "../src/base/result.js";
import type { KeyValueEntry } from "../src/ports/key-value.js";
import { decodeEdgeSwitch, edgeSwitchKey } from "../src/protocol/edge-switch.js";
import type {
  HealthJudged,
  LeaveEdge,
  PlacementChanged,
  ShardsReleased,
} from "../src/protocol/messages.js";
import { pingSubject } from "../src/protocol/subjects.js";
import { Actor } from "../src/runtime/actor.js";
import { addressOn } from "../src/runtime/address.js";
import type { StopReason } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { BusSubscription } from "../src/runtime/ports.js";
import { decodeEdgePolicy, edgePolicyKey, plainPolicy } from "../topology/edge-policy.js";
import { decodeLeader } from "../topology/election.js";
import { decodeNodeRecord, isOfAnotherVersion, nodeKeyPrefix } from "../topology/node-record.js";
import { PlacementTable } from "../topology/placement-table.js";
import type { NodeContext } from "./node-context.js";
import { NodeLease } from "./node-lease.js";
import { nodeNameOf } from "./placement-view.js";

export const tableKey = "table";
export const leaderKey = "leader";

interface RecordChanged {
  readonly kind: "RecordChanged";
  readonly key: string;
  readonly entry: KeyValueEntry | undefined;
}

interface LeaseTick {
  readonly kind: "LeaseTick";
}

/** A renewal has ended, one way or another. */
interface Renewed {
  readonly kind: "Renewed";
  readonly incarnation: string;
  /** undefined: the record is not this node's any more. */
  readonly outcome: number | undefined | Fault;
}

/** The watch has told all that the bucket held when it began. */
interface WatchOpened {
  readonly kind: "WatchOpened";
  readonly outcome: (() => void) | Fault;
}

export type MembershipMessage =
  | RecordChanged
  | LeaseTick
  | Renewed
  | WatchOpened
  | ShardsReleased
  | HealthJudged
  | LeaveEdge;

const membershipKind: ActorKind = {
  name: "membership",
  mailbox: { max: 16_384, onFull: "reject" },
  restart: "permanent",
};

/**
 * Of the lease: renewed every fifth, looked at every 24th: on a cluster that is each
 * 625 ms, and a renewal that failed is tried again with the next look. What is left after
 * the last renewal outlasts a cluster's election of a new leader (main/lease-limits).
 */
const renewEvery = 1 / 5;
const lookEvery = 1 / 24;
const incarnationLength = 8;
const namesMax = 1_024;

export class Membership extends Actor<MembershipMessage> {
  private readonly startedAtMs: number;
  private lease: NodeLease;
  /** The incarnation that may be claimed: nothing of a former one is open any more. */
  private releasedAs: string | undefined = undefined;
  private isRenewing = false;
  /** Since the last renewal was sent, this node thinks otherwise of itself. */
  private isRecordOld = false;
  private renewedMs = Number.NEGATIVE_INFINITY;
  private renewals = 0;
  /** Renewals that failed one after the other. */
  private failures = 0;
  private isOpeningWatch = false;
  private stopWatching: (() => void) | undefined = undefined;
  /** The last one is of this incarnation. */
  private pings: BusSubscription[] = [];
  /** By node id, the incarnation last heard of, also of nodes that have no record now. */
  private readonly lastNames = new Map<string, string>();

  constructor(private readonly node: NodeContext) {
    super();
    this.startedAtMs = node.clock.wallMs();
    this.lease = new NodeLease(node, this.startedAtMs);
  }

  get kind(): ActorKind {
    return membershipKind;
  }

  protected override started(): void {
    this.answerPings();
    this.timer(0, { kind: "LeaseTick" });
  }

  private answerPings(): void {
    const { bus, nodeId, incarnation } = this.node;
    const pings = bus.subscribe(pingSubject(nodeId, incarnation), ({ reply }) => {
      if (reply !== undefined) bus.publish(reply, new Uint8Array(0));
    });
    this.pings.push(pings);
  }

  protected override async stopping(reason: StopReason): Promise<void> {
    this.stopWatching?.();
    for (const pings of this.pings) pings.unsubscribe();
    // After a crash the next instance goes on with the lease.
    if (reason === "normal") await this.lease.giveUp();
  }

  receive(message: MembershipMessage): void {
    switch (message.kind) {
      case "RecordChanged":
        this.onRecordChanged(message);
        return;
      case "LeaseTick":
        this.onLeaseTick();
        return;
      case "Renewed":
        this.onRenewed(message);
        return;
      case "ShardsReleased":
        this.onShardsReleased(message);
        return;
      case "WatchOpened":
        this.onWatchOpened(message.outcome);
        return;
      case "HealthJudged":
        this.onHealthJudged(message);
        return;
      case "LeaveEdge":
        this.onLeaveEdge();
        return;
      default:
        unreachable(message);
    }
  }

  /** Never waits: a bucket that does not answer must not hide that the deadline has passed. */
  private onLeaseTick(): void {
    this.timer(this.node.limits.leaseMs * lookEvery, { kind: "LeaseTick" });
    this.rejoinIfLate();
    if (this.stopWatching === undefined && !this.isOpeningWatch) this.openWatch();
    this.renewWhenDue();
  }

  private renewWhenDue(): void {
    const { clock, limits } = this.node;
    const sinceMs = clock.monotonicMs() - this.renewedMs;
    const isDue = this.hasLease ? sinceMs >= limits.leaseMs * renewEvery : this.mayClaim;
    if (isDue) this.renew();
  }

  private renew(): void {
    const { clock, incarnation } = this.node;
    if (this.isRenewing) return;
    this.isRenewing = true;
    this.isRecordOld = false;
    const end = (outcome: Renewed["outcome"]) =>
      this.tellSelf({ kind: "Renewed", incarnation, outcome });
    this.renewedMs = clock.monotonicMs();
    this.lease.renew().then(end, (cause: unknown) => end(asFault(cause)));
  }

  /** With the lease, at once: who is unwell should be relieved, and not forgotten. */
  private onHealthJudged({ verdict }: HealthJudged): void {
    this.node.view.health = verdict;
    this.isRecordOld = true;
    if (this.hasLease) this.renew();
  }

  /** With the lease, too: from then on no dispatcher sends anybody here. */
  private onLeaveEdge(): void {
    this.node.view.isEdgeClosed = true;
    this.isRecordOld = true;
    if (this.hasLease) this.renew();
    this.announce();
  }

  /** It may be past its deadline: then it is lost with the next look. */
  private get hasLease(): boolean {
    return this.node.view.leaseDeadlineMs > 0;
  }

  /**
   * The new record proves that the former incarnation is over, and its shards are given
   * anew at once: whoever opens a volume kills a process that still has it open.
   */
  private get mayClaim(): boolean {
    const { view, incarnation } = this.node;
    return view.rejoins === 0 || this.releasedAs === incarnation;
  }

  private onShardsReleased({ incarnation }: ShardsReleased): void {
    this.releasedAs = incarnation;
    if (!this.hasLease) this.renewWhenDue();
  }

  private onRenewed({ incarnation, outcome }: Renewed): void {
    const { view, clock, log } = this.node;
    // Of a former incarnation: its time is over, whatever became of that write.
    if (incarnation !== this.node.incarnation) return;
    this.isRenewing = false;
    // Over is over, also when this renewal was on its way before the deadline.
    if (this.rejoinIfLate()) return;
    if (outcome instanceof Fault) {
      if (outcome.code === "NAME_TAKEN") this.node.giveUp(outcome.message);
      const fields = { code: outcome.code, error: outcome.message };
      if (this.failures === 0) log.warn("lease not renewed", fields);
      else log.debug("lease not renewed", fields);
      this.failures++;
      // Again with the next look: who takes its time after a fault has less for the next.
      this.renewedMs = Number.NEGATIVE_INFINITY;
    } else if (outcome === undefined) {
      if (this.hasLease) this.rejoin("the record was given up or taken");
    } else if (outcome > clock.monotonicMs()) {
      this.failures = 0;
      this.renewals++;
      const isNew = !this.hasLease;
      view.leaseDeadlineMs = outcome;
      if (isNew) this.onJoined();
      if (this.isRecordOld) this.renew();
    }
  }

  private onJoined(): void {
    // Until the record says otherwise, whoever starts under this name pings the former one.
    for (const former of this.pings.splice(0, this.pings.length - 1)) former.unsubscribe();
    const { view, clock, log, incarnation } = this.node;
    view.leaseHeldSinceMs = clock.monotonicMs();
    if (view.rejoins > 0) log.info("rejoined", { incarnation });
    this.announce();
  }

  private rejoinIfLate(): boolean {
    const { view, clock } = this.node;
    if (!this.hasLease || view.isLeaseHeld(clock.monotonicMs())) return false;
    this.rejoin("not renewed in time");
    return true;
  }

  /** This incarnation is over: what it had not sent is discarded, its shards stop. */
  private rejoin(reason: string): void {
    const { node } = this;
    const { view, random, log, incarnation: former } = node;
    view.leaseDeadlineMs = 0;
    view.rejoins++;
    node.incarnation = randomToken(random, incarnationLength);
    this.system.rejoin(node.incarnation);
    this.lease = new NodeLease(node, this.startedAtMs);
    this.isRenewing = false;
    this.answerPings();
    const { incarnation } = node;
    log.warn("lease lost: serves no shard until it has rejoined", { reason, former, incarnation });
    this.announce();
  }

  private openWatch(): void {
    this.isOpeningWatch = true;
    const end = (outcome: WatchOpened["outcome"]) =>
      this.tellSelf({ kind: "WatchOpened", outcome });
    this.node.placement
      .watch("", (key, entry) => this.tellSelf({ kind: "RecordChanged", key, entry }))
      .then(end, (cause) => end(asFault(cause)));
  }

  private onWatchOpened(outcome: WatchOpened["outcome"]): void {
    this.isOpeningWatch = false;
    if (outcome instanceof Fault) {
      this.node.log.warn("the placement cannot be watched yet", { error: outcome.message });
      return;
    }
    this.stopWatching = outcome;
    this.node.view.isLoaded = true;
    this.announce();
  }

  private onRecordChanged({ key, entry }: RecordChanged): void {
    const { view, clock } = this.node;
    view.unreadable.delete(key);
    if (entry === undefined) view.sightings.delete(key);
    else view.sightings.set(key, { revision: entry.revision, sinceMs: clock.monotonicMs() });
    if (key === tableKey) this.onTable(entry);
    else if (key === leaderKey) this.onLeader(entry);
    else if (key.startsWith(nodeKeyPrefix)) this.onNode(key, entry);
    else if (key === edgePolicyKey) this.onEdgePolicy(entry);
    else if (key === edgeSwitchKey) this.onEdgeSwitch(entry);
  }

  private onTable(entry: KeyValueEntry | undefined): void {
    if (entry === undefined) return;
    const table = PlacementTable.decode(entry.value);
    if (!table.ok) {
      this.onUnreadable(entry, table.code === "UNSUPPORTED", table.message);
      return;
    }
    const { view } = this.node;
    // As it stands, rolled back or not: only who leads goes above what was forgotten. A leader
    // that never saw it would wait in vain for one who did to believe its table.
    view.table = table.value;
    view.floor.note(table.value);
    this.announce();
  }

  private onLeader(entry: KeyValueEntry | undefined): void {
    const leader = entry === undefined ? undefined : decodeLeader(entry.value);
    if (entry !== undefined && leader?.ok === false) {
      this.onUnreadable(entry, leader.code === "UNSUPPORTED", leader.message);
      return;
    }
    const before = this.node.view.leader;
    this.node.view.leader = leader?.ok ? leader.value : undefined;
    if (leader?.ok) this.node.view.floor.noteMaster(leader.value.epoch);
    if (before?.epoch !== this.node.view.leader?.epoch) this.announce();
  }

  private onEdgePolicy(entry: KeyValueEntry | undefined): void {
    const policy = entry === undefined ? plainPolicy : decodeEdgePolicy(entry.value);
    if (entry !== undefined && policy === undefined) {
      this.onUnreadable(entry, false, "it is no policy of edges of a version known here");
      return;
    }
    this.node.view.edgePolicy = policy ?? plainPolicy;
    this.announce();
  }

  private onEdgeSwitch(entry: KeyValueEntry | undefined): void {
    const read = entry === undefined ? { letInPercent: 100 } : decodeEdgeSwitch(entry.value);
    if (read === undefined) this.node.log.error("the edges' switch is not readable");
    else this.node.view.letInPercent = read.letInPercent;
  }

  private onNode(key: string, entry: KeyValueEntry | undefined): void {
    const { nodes } = this.node.view;
    const nodeId = key.slice(nodeKeyPrefix.length);
    const before = nodes.get(nodeId);
    const record = entry === undefined ? undefined : decodeNodeRecord(entry.value);
    if (entry !== undefined && record === undefined) {
      const isOther = isOfAnotherVersion(entry.value);
      this.onUnreadable(entry, isOther, "it is no node's record of a version known here");
      return;
    }
    if (record === undefined) nodes.delete(nodeId);
    else nodes.set(nodeId, record);
    if (before?.incarnation === record?.incarnation) return;
    if (record !== undefined) {
      this.noteName(nodeId, record.incarnation);
      // A rolled-back bucket may have shown its predecessor in between.
      this.system.nodeBack(nodeNameOf(record));
    }
    this.announce();
  }

  /** Only a successor proves that an incarnation is over: a record alone may come back. */
  private noteName(nodeId: string, incarnation: string): void {
    const { lastNames } = this;
    const before = lastNames.get(nodeId);
    lastNames.delete(nodeId);
    lastNames.set(nodeId, incarnation);
    if (lastNames.size > namesMax) lastNames.delete([...lastNames.keys()][0] ?? "");
    if (before === undefined || before === incarnation) return;
    this.system.nodeGone(nodeNameOf({ nodeId, incarnation: before }));
  }

  /** Nothing follows from it: it may be a newer Belfry's, and noise is no proof of death. */
  private onUnreadable(
    { key, revision }: KeyValueEntry,
    isOfAnotherVersion: boolean,
    message: string,
  ): void {
    this.node.view.unreadable.set(key, isOfAnotherVersion ? "another version" : "noise");
    this.node.log.error("a record of the placement is not readable: what was read last stays", {
      key,
      revision,
      message,
    });
  }

  private announce(): void {
    const changed: PlacementChanged = { kind: "PlacementChanged" };
    for (const root of ["shards", "edge", "placement", "desk"]) {
      this.tell(addressOn(nodeNameOf(this.node), root), changed);
    }
  }

  override inspect(): Record<string, unknown> {
    return {
      isLeaseHeld: this.node.view.isLeaseHeld(this.node.clock.monotonicMs()),
      renewals: this.renewals,
      rejoins: this.node.view.rejoins,
      nodes: [...this.node.view.nodes.keys()],
    };
  }
}

function asFault(cause: unknown): Fault {
  if (cause instanceof Fault) return cause;
  return new Fault("INTERNAL", "unknown", String(cause), { cause });
}
