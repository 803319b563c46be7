/**
 * This node among the others: holds its lease (its record in the placement bucket),
 * answers pings, and keeps the node's view of table, leader and nodes up to date.
 *
 * Invariant: `view.isLeaseHeld` is true only before the deadline that was counted
 * from before the last successful renewal was sent.
 */
import { unreachable } from "../src/base/assert.js";
import { Fault, type Result, refused } from "../src/base/result.js";
import type { KeyValueEntry } from "../src/ports/key-value.js";
import type { PlacementChanged } from "../src/protocol/messages.js";
import { pingSubject } from "../src/protocol/subjects.js";
import { Actor } from "../src/runtime/actor.js";
import { addressOn } from "../src/runtime/address.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { BusSubscription } from "../src/runtime/ports.js";
import { decodeLeader } from "../topology/election.js";
import {
  decodeNodeRecord,
  encodeNodeRecord,
  nodeKey,
  nodeKeyPrefix,
} from "../topology/node-record.js";
import { PlacementTable } from "../topology/placement-table.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";

export const tableKey = "table";
export const leaderKey = "leader";

interface RecordChanged {
  readonly kind: "RecordChanged";
  readonly key: string;
  readonly entry: KeyValueEntry | undefined;
}

interface RenewTick {
  readonly kind: "RenewTick";
}

export type MembershipMessage = RecordChanged | RenewTick;

const membershipKind: ActorKind = {
  name: "membership",
  mailbox: { max: 16_384, onFull: "reject" },
  restart: "permanent",
  intensity: { restarts: 20, withinMs: 60_000 },
};

export class Membership extends Actor<MembershipMessage> {
  private revision = 0;
  private deadlineMs = 0;
  private renewals = 0;
  private stopWatching: (() => void) | undefined = undefined;
  private pings: BusSubscription | undefined = undefined;
  private readonly startedAtMs: number;

  constructor(private readonly node: NodeContext) {
    super();
    this.startedAtMs = node.clock.wallMs();
  }

  get kind(): ActorKind {
    return membershipKind;
  }

  protected override async started(): Promise<void> {
    const { bus, placement, nodeId, incarnation } = this.node;
    this.pings = bus.subscribe(pingSubject(nodeId, incarnation), ({ reply }) => {
      if (reply !== undefined) bus.publish(reply, new Uint8Array(0));
    });
    await this.renew();
    const { system, ref } = this;
    this.stopWatching = await placement.watch("", (key, entry) => {
      system.tell(ref, { kind: "RecordChanged", key, entry });
    });
    this.timer(this.renewEveryMs, { kind: "RenewTick" });
  }

  /** Gives the lease up at once, so that nobody has to wait for it to run out. */
  protected override async stopping(): Promise<void> {
    this.stopWatching?.();
    this.pings?.unsubscribe();
    if (this.revision !== 0) await this.node.placement.delete(nodeKey(this.node.nodeId));
  }

  private get renewEveryMs(): number {
    return this.node.limits.leaseMs / 3;
  }

  async receive(message: MembershipMessage): Promise<void> {
    switch (message.kind) {
      case "RecordChanged":
        this.onRecordChanged(message);
        return;
      case "RenewTick":
        this.timer(this.renewEveryMs, message);
        await this.renew().catch((cause) => this.onRenewFailed(cause));
        return;
      default:
        unreachable(message);
    }
  }

  private async renew(): Promise<void> {
    const { clock, limits, placement, nodeId } = this.node;
    const sentMs = clock.monotonicMs();
    const key = nodeKey(nodeId);
    const record = this.record();
    let answer =
      this.revision === 0
        ? await this.claim(key, record)
        : await placement.update(key, record, this.revision);
    if (!answer.ok && this.revision !== 0) answer = await this.adopt(key, record);
    if (!answer.ok) {
      // Deleted by the leader that gave this node up, or taken: claim it anew.
      this.revision = 0;
      this.setLeaseHeld(false);
      return;
    }
    this.revision = answer.value;
    this.renewals++;
    this.deadlineMs = sentMs + limits.leaseMs;
    this.setLeaseHeld(clock.monotonicMs() < this.deadlineMs);
  }

  /** An own renewal of unknown outcome may have taken effect: go on from it. */
  private async adopt(key: string, record: Uint8Array): Promise<Result<number, "CONFLICT">> {
    const { placement, incarnation } = this.node;
    const present = await placement.get(key);
    const holder = present && decodeNodeRecord(present.value);
    if (present === undefined || holder?.incarnation !== incarnation) {
      return refused("CONFLICT", "the lease is not this node's any more");
    }
    return placement.update(key, record, present.revision);
  }

  private async claim(key: string, record: Uint8Array) {
    const { placement } = this.node;
    const present = await placement.get(key);
    if (present === undefined) return placement.create(key, record);
    const holder = decodeNodeRecord(present.value);
    const isOwn = holder?.incarnation === this.node.incarnation;
    if (!isOwn && holder !== undefined && (await this.isAnswering(holder))) {
      const message = `node ${this.node.nodeId} is running already (pid ${holder.pid})`;
      throw new Fault("NAME_TAKEN", "not-done", message);
    }
    return placement.update(key, record, present.revision);
  }

  private async isAnswering(holder: { nodeId: string; incarnation: string }): Promise<boolean> {
    try {
      const subject = pingSubject(holder.nodeId, holder.incarnation);
      await this.node.bus.request(subject, new Uint8Array(0), this.node.limits.leaseMs);
      return true;
    } catch (cause) {
      // Silence is not proof of death, but its lease has run out by then.
      if (cause instanceof Fault) return false;
      throw cause;
    }
  }

  private onRenewFailed(cause: unknown): void {
    if (cause instanceof Fault && cause.code === "NAME_TAKEN") throw cause;
    this.node.log.warn("lease not renewed", { error: String(cause) });
    if (this.node.clock.monotonicMs() >= this.deadlineMs) this.setLeaseHeld(false);
  }

  private setLeaseHeld(isHeld: boolean): void {
    const { view, log, nodeId } = this.node;
    if (view.isLeaseHeld === isHeld) return;
    view.isLeaseHeld = isHeld;
    if (!isHeld) log.warn("lease lost: no shard is served here until it is back", { nodeId });
    this.announce();
  }

  private record(): Uint8Array {
    const { nodeId, incarnation, idc, pid, version, edgeUrl, limits } = this.node;
    return encodeNodeRecord({
      nodeId,
      incarnation,
      idc,
      pid,
      version,
      edgeUrl,
      leaseMs: limits.leaseMs,
      startedAtMs: this.startedAtMs,
    });
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
    if (before?.incarnation !== record?.incarnation) this.announce();
  }

  private announce(): void {
    const changed: PlacementChanged = { kind: "PlacementChanged" };
    for (const root of ["shards", "edge", "placement"]) {
      this.tell(addressOn(nodeNameOf(this.node), root), changed);
    }
  }

  override inspect(): Record<string, unknown> {
    return {
      isLeaseHeld: this.node.view.isLeaseHeld,
      renewals: this.renewals,
      nodes: [...this.node.view.nodes.keys()],
    };
  }
}
