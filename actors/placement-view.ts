/**
 * The placement as this node last heard of it: the table and the live nodes. The
 * membership actor alone writes it (the floor also who leads, which knows what it wrote
 * before the watch tells it); everybody else reads. It may be stale, which the owner's
 * answer to a misdirected message corrects.
 */
import type { NodeVerdict } from "../src/protocol/messages.js";
import type { Shard } from "../src/protocol/shards.js";
import { type EdgePolicy, plainPolicy } from "../topology/edge-policy.js";
import type { LeaderRecord, Sighting } from "../topology/election.js";
import { EpochFloor } from "../topology/epoch-floor.js";
import type { NodeRecord } from "../topology/node-record.js";
import { type Ownership, PlacementTable } from "../topology/placement-table.js";

/** Noise is nobody's; a record of another version may be a newer Belfry's. */
export type Unreadable = "noise" | "another version";

export const wellNode: NodeVerdict = {
  unwell: undefined,
  isInDoubt: false,
  isLoopLate: false,
  cannotServe: [],
};

export class PlacementView {
  table = PlacementTable.empty();
  leader: LeaderRecord | undefined;
  /** Of all tables and leaders seen, also of those that a rolled-back bucket lost. */
  readonly floor = new EpochFloor();
  /** Live nodes by node id, this one included once it has its lease. */
  readonly nodes = new Map<string, NodeRecord>();
  /** When each key of the bucket was last seen to change. */
  readonly sightings = new Map<string, Sighting>();
  /** Keys whose value cannot be read, and why: what was read before stays in use. */
  readonly unreadable = new Map<string, Unreadable>();
  /** This node's own, monotonic; past it, it serves no shard. 0 while it has no lease. */
  leaseDeadlineMs = 0;
  /** So many incarnations of this process are over. */
  rejoins = 0;
  /** Without a break, as far as was noticed: for so long at least the bucket took writes. */
  leaseHeldSinceMs = 0;
  /** The bucket's first snapshot has been read: what is not here is not there. */
  isLoaded = false;
  /** What operators have said about the edges, and how many of 100 handshakes are let in. */
  edgePolicy: EdgePolicy = plainPolicy;
  letInPercent = 100;
  /** This node is about to stop, and its clients are leaving. */
  isEdgeClosed = false;
  /** This node's own, by its probes. */
  health: NodeVerdict = wellNode;

  isLeaseHeld(nowMs: number): boolean {
    return nowMs < this.leaseDeadlineMs;
  }

  ownerOf(shard: Shard): Ownership | undefined {
    return this.table.ownerOf(shard);
  }
}

/** `<nodeId>.<incarnation>`: what addresses begin with. */
export function nodeNameOf(member: { nodeId: string; incarnation: string }): string {
  return `${member.nodeId}.${member.incarnation}`;
}
