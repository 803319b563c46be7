/**
 * What may be written into the placement bucket, checked at each write that takes
 * effect: epochs only grow, and nobody is given up who is neither silent nor late. And
 * what each node sees of it: also there epochs only grow.
 */
import type { PlacementView } from "../../actors/placement-view.js";
import { type Shard, shardCount } from "../../src/protocol/shards.js";
import { pingSubject } from "../../src/protocol/subjects.js";
import { decodeLeader } from "../../topology/election.js";
import { decodeNodeRecord, type NodeRecord } from "../../topology/node-record.js";
import { type Member, PlacementTable } from "../../topology/placement-table.js";
import type { SimBusServer } from "./sim-bus.js";
import type { KeyValueWatcher } from "./sim-key-value.js";
import type { World } from "./world.js";

export interface PlacementBounds {
  readonly leaseMs: number;
  readonly marginMs: number;
  /** Shards that move together. */
  readonly groupSize: number;
}

interface Lease {
  readonly holder: Member;
  /** The process, which may be the holder's under a former incarnation. */
  readonly writtenBy: string;
  readonly writtenMs: number;
  /** Between this write and the one before it. */
  readonly gapMs: number;
}

/** Clocks run up to two in a hundred apart from true time. */
const driftMax = 0.03;
/** Silence may have been seen that long before the write that it led to arrives. */
const silenceSeenMs = 12_000;
/** Until all nodes are connected again, and have seen a table from after a rollback. */
const rollbackSeenMs = 15_000;
const lookEveryMs = 20;
/** A renewal may cross the write of somebody who waited long enough before it. */
const crossingMs = 5_000;

export class PlacementChecks implements KeyValueWatcher {
  private table = PlacementTable.empty();
  private readonly leases = new Map<string, Lease>();
  /** Each node's incarnation by its newest record: that another one is over needs no other proof. */
  private readonly incarnations = new Map<string, string>();
  /** When each node's inbox last had no responders. */
  private readonly silentMs = new Map<string, number>();
  tableWrites = 0;
  takeovers = 0;
  /** Told of each group (by its first shard) whose move begins. */
  onMove: (shard: Shard, from: Member, to: Member) => void = () => {};
  private rolledBackMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly world: World,
    private readonly server: SimBusServer,
    private readonly bounds: PlacementBounds,
  ) {
    this.look();
  }

  onWrite(by: string, key: string, value: Uint8Array | undefined): void {
    if (key === "table" && value !== undefined) this.onTable(by, value);
    else if (key === "leader") this.onLease(by, key, value && leaderOf(value));
    else if (key.startsWith("node.")) this.onNode(by, key, value && decodeNodeRecord(value));
  }

  private onNode(by: string, key: string, record: NodeRecord | undefined): void {
    this.onLease(by, key, record);
    if (record !== undefined) this.incarnations.set(record.nodeId, record.incarnation);
  }

  /** Epochs that were lost may be given again, and a move be taken for the one that was lost. */
  get wasRolledBack(): boolean {
    return this.world.nowMs - this.rolledBackMs < 2 * rollbackSeenMs;
  }

  /** Looks over a node's shoulder at each table that it takes for the newest. */
  watchView(name: string, view: PlacementView): void {
    let seen = view.table;
    let seenMs = Number.NEGATIVE_INFINITY;
    Object.defineProperty(view, "table", {
      get: () => seen,
      set: (next: PlacementTable) => {
        // A store that forgot epochs shows lower ones; whether they may serve the fences say.
        const isRolledBack = seenMs - this.rolledBackMs < rollbackSeenMs;
        if (!isRolledBack) this.checkSeen(name, seen, next);
        seen = next;
        seenMs = this.world.nowMs;
      },
    });
  }

  private checkSeen(name: string, before: PlacementTable, next: PlacementTable): void {
    for (let number = 0; number < shardCount; number++) {
      const [was, is] = [before.epochOf(number as Shard), next.epochOf(number as Shard)];
      if (is >= was) continue;
      this.world.check(false, 1, () => `${name} saw epoch ${is} of shard ${number} after ${was}`);
    }
  }

  /** The store has forgotten its newest writes; nothing of them can be compared. */
  onRollback(entries: readonly { readonly key: string; readonly value: Uint8Array }[]): void {
    this.rolledBackMs = this.world.nowMs;
    this.table = PlacementTable.empty();
    this.leases.clear();
    this.incarnations.clear();
    for (const { key, value } of entries) {
      if (key === "table") this.table = tableOf(value) ?? this.table;
    }
  }

  private onTable(by: string, value: Uint8Array): void {
    const { world } = this;
    const next = tableOf(value);
    world.check(next !== undefined, 1, () => `${by} wrote a table that does not decode`);
    if (next === undefined) return;
    const before = this.table;
    this.table = next;
    this.tableWrites++;
    world.check(
      next.masterEpoch >= before.masterEpoch,
      1,
      () => `${by} wrote the table of master ${next.masterEpoch} over ${before.masterEpoch}'s`,
    );
    for (let number = 0; number < shardCount; number++) {
      this.checkShard(by, number as Shard, before, next);
      this.tellMove(number as Shard, before, next);
    }
  }

  private tellMove(shard: Shard, before: PlacementTable, next: PlacementTable): void {
    if (shard >= shardCount / this.bounds.groupSize || next.stateOf(shard) !== "moving") return;
    const owner = next.ownerOf(shard);
    const isNew = next.epochOf(shard) > before.epochOf(shard);
    if (isNew && owner?.from !== undefined) this.onMove(shard, owner.from, owner);
  }

  private checkShard(by: string, shard: Shard, before: PlacementTable, next: PlacementTable): void {
    const was = before.epochOf(shard);
    const is = next.epochOf(shard);
    const isSame = is === was && next.stateOf(shard) === before.stateOf(shard);
    if (isSame && before.stateOf(shard) === "unassigned") return;
    const { world } = this;
    world.check(is >= was, 1, () => `${by} wrote epoch ${is} of shard ${shard} over ${was}`);
    if (is > was || next.stateOf(shard) === "unassigned") return;
    const owner = next.ownerOf(shard);
    const isOwner = owner === undefined || before.isOwnedBy(shard, owner);
    world.check(
      isOwner,
      1,
      () => `${by} gave shard ${shard} to ${owner?.nodeId} under the old epoch ${is}`,
    );
  }

  private onLease(by: string, key: string, holder: Member | undefined): void {
    const before = this.leases.get(key);
    const { nowMs } = this.world;
    const ageMs = nowMs - (before?.writtenMs ?? nowMs);
    if (holder === undefined) this.leases.delete(key);
    else this.leases.set(key, { holder, writtenBy: by, writtenMs: nowMs, gapMs: ageMs });
    if (before === undefined || before.writtenBy === by) return;
    const { nodeId, incarnation } = before.holder;
    const name = `${nodeId}.${incarnation}`;
    if (key === "leader" && this.incarnations.get(nodeId) !== incarnation) return;
    this.takeovers++;
    const boundMs = (this.bounds.leaseMs + this.bounds.marginMs) * (1 - driftMax);
    const isLate = ageMs >= boundMs || (before.gapMs >= boundMs && ageMs < crossingMs);
    const silentMs = this.silentMs.get(name) ?? Number.NEGATIVE_INFINITY;
    // Not looked at yet, when a rollback has just brought it back.
    const isSilent = !this.server.hasInterest(
      pingSubject(before.holder.nodeId, before.holder.incarnation),
    );
    const wasSilent = isSilent || nowMs - silentMs < silenceSeenMs;
    // A rolled-back bucket gives revisions again: a former leader's renewal may fit its
    // successor's record. The master's epoch in the table then tells who leads.
    const isRolledBack = nowMs - this.rolledBackMs < rollbackSeenMs;
    this.world.check(
      isLate || wasSilent || isRolledBack,
      1,
      () => `${by} took ${key} from ${name}, whose lease was ${Math.round(ageMs)} ms old`,
    );
  }

  private look(): void {
    for (const { holder } of this.leases.values()) {
      const name = `${holder.nodeId}.${holder.incarnation}`;
      const isHeard = this.server.hasInterest(pingSubject(holder.nodeId, holder.incarnation));
      if (!isHeard) this.silentMs.set(name, this.world.nowMs);
    }
    this.world.after(lookEveryMs, "look", () => this.look());
  }
}

function tableOf(value: Uint8Array): PlacementTable | undefined {
  const table = PlacementTable.decode(value);
  return table.ok ? table.value : undefined;
}

function leaderOf(value: Uint8Array): Member | undefined {
  const leader = decodeLeader(value);
  return leader.ok ? leader.value : undefined;
}
