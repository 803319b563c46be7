/**
 * The table as the planner looks at it: units with their live owners, and scales that
 * say what each node carries while a plan is made. Pure.
 *
 * The unit that moves is a group of the store (`groupOfShard`), of `unitSize` shards: a
 * volume of 512 with the embedded store. Its first shard has its number, and stands for it.
 */
import { type Shard, shardCount, shardsOfGroup } from "../src/protocol/shards.js";
import { isSame, type Member, type PlacementTable } from "./placement-table.js";
import type { UnitWeights } from "./weights.js";

/** A live node; one in drain gets nothing and gives all. */
export interface Candidate extends Member {
  readonly isDraining: boolean;
  /** Why it is treated as in drain, if by its own word. */
  readonly unwell?: string;
  /** It may be about to be unwell: what troubles another may trouble it, too. */
  readonly isInDoubt?: boolean;
  /** Units that it could not serve, by its own word. */
  readonly cannotServe?: readonly number[];
}

export interface Unit {
  readonly index: number;
  readonly weight: number;
  readonly epoch: number;
  /** The live member that serves it or is about to; undefined for an orphan. */
  readonly owner: Candidate | undefined;
  /** On its way to `owner`. */
  readonly isMoving: boolean;
  /** Who was to hand it over to the owner, if it was moving and that one lives. */
  readonly from: Candidate | undefined;
  /** For an orphan: the live member that goes on for its owner under another incarnation. */
  readonly successor: Candidate | undefined;
  /** Why it is an orphan, if it is one. */
  readonly reason: string;
}

export function unitShards(unit: number, unitSize: number): Shard[] {
  return shardsOfGroup(unit, shardCount / unitSize);
}

export function readUnits(
  table: PlacementTable,
  members: readonly Candidate[],
  unitSize: number,
  weights: UnitWeights,
): Unit[] {
  return Array.from({ length: shardCount / unitSize }, (_, index) => {
    const shard = index as Shard;
    const owner = table.ownerOf(shard);
    const live = owner && members.find((member) => isSame(member, owner));
    const from = owner?.from;
    return {
      index,
      weight: weights[index] ?? 1,
      epoch: table.epochOf(shard),
      owner: live,
      isMoving: live !== undefined && owner?.state === "moving",
      from: from && members.find((member) => isSame(member, from)),
      successor:
        live === undefined ? members.find((member) => member.nodeId === owner?.nodeId) : undefined,
      reason: owner === undefined ? "unassigned" : `${owner.nodeId}.${owner.incarnation} is gone`,
    };
  });
}

/** Who may be given a unit that has nobody: late beats never, so somebody always is. */
export function takersOf(
  members: readonly Candidate[],
  shunned: readonly Member[],
): readonly Candidate[] {
  const willing = receiversOf(members, shunned);
  if (willing.length > 0) return willing;
  const staying = members.filter((member) => !member.isDraining);
  return staying.length > 0 ? staying : members;
}

/**
 * Who may be given a unit that another serves: neither in drain nor in doubt nor shunned,
 * and nobody where none is left. When all are in drain they keep what they have among them.
 */
export function receiversOf(
  members: readonly Candidate[],
  shunned: readonly Member[],
): readonly Candidate[] {
  const staying = members.filter((member) => !member.isDraining);
  if (staying.length === 0) return members;
  return staying.filter(
    (member) => member.isInDoubt !== true && !shunned.some((other) => isSame(member, other)),
  );
}

/** Who could not serve something is not evened out with others until it can. */
export function evenedOf(receivers: readonly Candidate[]): readonly Candidate[] {
  return receivers.filter(({ cannotServe = [] }) => cannotServe.length === 0);
}

export function canServe(member: Candidate, unit: Unit): boolean {
  return member.cannotServe?.includes(unit.index) !== true;
}

/** What every member carries, as it would be after the steps planned so far. */
export class Scales {
  private readonly carried = new Map<Candidate, { count: number; weight: number }>();

  constructor(units: readonly Unit[], members: readonly Candidate[]) {
    for (const member of members) this.carried.set(member, { count: 0, weight: 0 });
    for (const unit of units) if (unit.owner !== undefined) this.add(unit, unit.owner);
  }

  countOf(member: Candidate): number {
    return this.carried.get(member)?.count ?? 0;
  }

  weightOf(member: Candidate): number {
    return this.carried.get(member)?.weight ?? 0;
  }

  add({ weight }: Unit, to: Candidate): void {
    const now = this.carried.get(to) ?? { count: 0, weight: 0 };
    this.carried.set(to, { count: now.count + 1, weight: now.weight + weight });
  }

  move(unit: Unit, from: Candidate, to: Candidate): void {
    const now = this.carried.get(from) ?? { count: 0, weight: 0 };
    this.carried.set(from, { count: now.count - 1, weight: now.weight - unit.weight });
    this.add(unit, to);
  }

  /** Rendezvous order decides among equals. `members` is not empty. */
  lightest(unit: Unit, members: readonly Candidate[]): Candidate {
    return members.reduce((best, member) => {
      const lighter = this.weightOf(member) - this.weightOf(best);
      const order = lighter || rendezvous(best, unit.index) - rendezvous(member, unit.index);
      return order < 0 ? member : best;
    });
  }
}

/** Rendezvous weight by node name, so that a restarted node is offered its old units. */
function rendezvous(member: Member, unit: number): number {
  let hash = 0x811c9dc5 ^ unit;
  for (let at = 0; at < member.nodeId.length; at++) {
    hash = Math.imul(hash ^ member.nodeId.charCodeAt(at), 0x01000193);
  }
  // FNV's last bytes barely reach the high bits; mix before comparing.
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** Without what else is known of it. */
export function nameOf({ nodeId, incarnation }: Member): Member {
  return { nodeId, incarnation };
}
