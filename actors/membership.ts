/**
 * This node among the others: renews its lease, answers pings, and keeps the node's
 * view of table, leader and nodes up to date. Nobody else writes the view.
 */
import { unreachable } from "../src/base/assert.js";
import { Fault } from "../src/base/result.js";
import type { KeyValueEntry } from "../src/ports/key-value.js";
import type { HealthJudged, PlacementChanged } from "../src/protocol/messages.js";
import { pingSubject } from "../src/protocol/subjects.js";
import { Actor } from "../src/runtime/actor.js";
import { addressOn } from "../src/runtime/address.js";
import type { StopReason } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { BusSubscription } from "../src/runtime/ports.js";
import { decodeLeader } from "../topology/election.js";
import { decodeNodeRecord, nodeKeyPrefix } from "../topology/node-record.js";
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
  /** undefined: the record is not this node's any more. */
  readonly outcome: number | undefined | Fault;
}

/** The watch has told all that the bucket held when it began. */
interface WatchOpened {
  readonly kind: "WatchOpened";
  readonly outcome: (() => void) | Fault;
}

export type MembershipMessage = RecordChanged | LeaseTick | Renewed | WatchOpened | HealthJudged;

const membershipKind: ActorKind = {
  name: "membership",
  mailbox: { max: 16_384, onFull: "reject" },
  restart: "permanent",
};

/** Of the lease: renewed every third, looked at every twelfth. */
const renewEvery = 1 / 3;
const lookEvery = 1 / 12;

export class Membership extends Actor<MembershipMessage> {
  private readonly lease: NodeLease;
  private wasHeld = false;
  private isRenewing = false;
  /** Since the last renewal was sent, this node thinks otherwise of itself. */
  private isRecordOld = false;
  private renewedMs = Number.NEGATIVE_INFINITY;
  private renewals = 0;
  private isOpeningWatch = false;
  private stopWatching: (() => void) | undefined = undefined;
  private pings: BusSubscription | undefined = undefined;

  constructor(private readonly node: NodeContext) {
    super();
    this.lease = new NodeLease(node);
  }

  get kind(): ActorKind {
    return membershipKind;
  }

  protected override started(): void {
    const { bus, nodeId, incarnation } = this.node;
    this.pings = bus.subscribe(pingSubject(nodeId, incarnation), ({ reply }) => {
      if (reply !== undefined) bus.publish(reply, new Uint8Array(0));
    });
    this.timer(0, { kind: "LeaseTick" });
  }

  protected override async stopping(reason: StopReason): Promise<void> {
    this.stopWatching?.();
    this.pings?.unsubscribe();
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
        this.onRenewed(message.outcome);
        return;
      case "WatchOpened":
        this.onWatchOpened(message.outcome);
        return;
      case "HealthJudged":
        this.onHealthJudged(message);
        return;
      default:
        unreachable(message);
    }
  }

  /** Never waits: a bucket that does not answer must not hide that the deadline has passed. */
  private onLeaseTick(): void {
    const { clock, limits } = this.node;
    this.timer(limits.leaseMs * lookEvery, { kind: "LeaseTick" });
    this.noteLease();
    if (this.stopWatching === undefined && !this.isOpeningWatch) this.openWatch();
    if (clock.monotonicMs() - this.renewedMs >= limits.leaseMs * renewEvery) this.renew();
  }

  private renew(): void {
    const { clock } = this.node;
    if (this.isRenewing) return;
    this.isRenewing = true;
    this.isRecordOld = false;
    const end = (outcome: Renewed["outcome"]) => this.tellSelf({ kind: "Renewed", outcome });
    this.renewedMs = clock.monotonicMs();
    this.lease.renew().then(end, (cause: unknown) => end(asFault(cause)));
  }

  private onRenewed(outcome: Renewed["outcome"]): void {
    const { view, log } = this.node;
    this.isRenewing = false;
    if (outcome instanceof Fault) {
      if (outcome.code === "NAME_TAKEN") this.node.giveUp(outcome.message);
      log.warn("lease not renewed", { code: outcome.code, error: outcome.message });
    } else {
      view.leaseDeadlineMs = outcome ?? 0;
      this.renewals++;
      // Given up by the leader: claimed anew with the next tick, the shards are gone.
      if (outcome === undefined) this.renewedMs = Number.NEGATIVE_INFINITY;
    }
    this.noteLease();
    if (this.isRecordOld) this.renew();
  }

  /** With the lease, at once: who is unwell should be relieved, and not forgotten. */
  private onHealthJudged({ verdict }: HealthJudged): void {
    this.node.view.health = verdict;
    this.isRecordOld = true;
    this.renew();
  }

  private noteLease(): void {
    const { view, clock, log, nodeId } = this.node;
    const isHeld = view.isLeaseHeld(clock.monotonicMs());
    if (isHeld === this.wasHeld) return;
    this.wasHeld = isHeld;
    if (!isHeld) log.warn("lease lost: no shard is served here until it is back", { nodeId });
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
    if (entry === undefined) view.sightings.delete(key);
    else view.sightings.set(key, { revision: entry.revision, sinceMs: clock.monotonicMs() });
    if (key === tableKey) this.onTable(entry);
    else if (key === leaderKey) this.onLeader(entry);
    else if (key.startsWith(nodeKeyPrefix)) this.onNode(key, entry);
  }

  private onTable(entry: KeyValueEntry | undefined): void {
    if (entry === undefined) return;
    const table = PlacementTable.decode(entry.value);
    if (!table.ok) {
      this.node.log.error("the placement table is not readable; the last one stays in use", {
        code: table.code,
        revision: entry.revision,
      });
      return;
    }
    this.node.view.table = table.value;
    this.announce();
  }

  private onLeader(entry: KeyValueEntry | undefined): void {
    const leader = entry === undefined ? undefined : decodeLeader(entry.value);
    const before = this.node.view.leader;
    this.node.view.leader = leader?.ok ? leader.value : undefined;
    if (before?.epoch !== this.node.view.leader?.epoch) this.announce();
  }

  private onNode(key: string, entry: KeyValueEntry | undefined): void {
    const { nodes } = this.node.view;
    const nodeId = key.slice(nodeKeyPrefix.length);
    const before = nodes.get(nodeId);
    const record = entry === undefined ? undefined : decodeNodeRecord(entry.value);
    if (record === undefined) nodes.delete(nodeId);
    else nodes.set(nodeId, record);
    if (before?.incarnation === record?.incarnation) return;
    // Only a successor proves that the incarnation is over: a record alone may come back.
    if (before !== undefined && record !== undefined) this.system.nodeGone(nodeNameOf(before));
    this.announce();
  }

  private announce(): void {
    const changed: PlacementChanged = { kind: "PlacementChanged" };
    for (const root of ["shards", "edge", "placement"]) {
      this.tell(addressOn(nodeNameOf(this.node), root), changed);
    }
  }

  override inspect(): Record<string, unknown> {
    return {
      isLeaseHeld: this.node.view.isLeaseHeld(this.node.clock.monotonicMs()),
      renewals: this.renewals,
      nodes: [...this.node.view.nodes.keys()],
    };
  }
}

function asFault(cause: unknown): Fault {
  if (cause instanceof Fault) return cause;
  return new Fault("INTERNAL", "unknown", String(cause), { cause });
}
