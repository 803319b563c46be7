/**
 * The placement table of an IDC: which node serves each of the 4096 shards.
 *
 * It is one value in the key-value store and every change is a compare-and-set on
 * its revision, so two masters can never both write. A shard's epoch only grows,
 * and only when the shard is given to an owner.
 */
import { accepted, type Result, refused } from "../src/base/result.js";
import { isMap, packValue, unpackValue } from "../src/protocol/codec.js";
import { type Shard, shardCount } from "../src/protocol/shards.js";

/** 2: a group is no longer a run of neighbours. */
export const tableVersion = 2;
/** Node ids in drain at a time; those of nodes that are gone for good count, too. */
export const drainingMax = 256;

export interface Member {
  readonly nodeId: string;
  readonly incarnation: string;
}

export function isSame(a: Member, b: Member): boolean {
  return a.nodeId === b.nodeId && a.incarnation === b.incarnation;
}

/**
 * unassigned: nobody serves. serving: the owner does. moving: it is the owner's, under
 * the epoch that stands here, as soon as `from` has handed over.
 */
export type ShardState = "unassigned" | "serving" | "moving";

export interface Ownership extends Member {
  readonly shard: Shard;
  readonly epoch: number;
  readonly state: ShardState;
  /** Who hands over, while moving. */
  readonly from?: Member;
}

const states: readonly ShardState[] = ["unassigned", "serving", "moving"];

/** Immutable: what begins with `with` makes a changed copy. */
export class PlacementTable {
  private constructor(
    /** Epoch of the master that wrote this. */
    readonly masterEpoch: number,
    /** Random, new at each write: tells a rolled-back store's repeated revision. */
    readonly nonce: string,
    private readonly members: readonly Member[],
    private readonly ownerIndex: Uint16Array,
    private readonly epochs: Uint32Array,
    private readonly stateIndex: Uint8Array,
    private readonly fromIndex: Uint16Array,
    /** Ids of nodes that get nothing and give all, in order; an id outlives its node's restarts. */
    readonly draining: readonly string[],
  ) {}

  static empty(): PlacementTable {
    return new PlacementTable(
      0,
      "",
      [],
      new Uint16Array(shardCount),
      new Uint32Array(shardCount),
      new Uint8Array(shardCount),
      new Uint16Array(shardCount),
      [],
    );
  }

  isDraining(nodeId: string): boolean {
    return this.draining.includes(nodeId);
  }

  /** The owner and its epoch; undefined while nobody serves the shard. */
  ownerOf(shard: Shard): Ownership | undefined {
    const state = this.stateOf(shard);
    const member = this.members[this.ownerIndex[shard] ?? 0];
    if (state === "unassigned" || member === undefined) return undefined;
    const { nodeId, incarnation } = member;
    const owner = { shard, epoch: this.epochOf(shard), state, nodeId, incarnation };
    if (state !== "moving") return owner;
    const from = this.members[this.fromIndex[shard] ?? 0];
    return from === undefined ? owner : { ...owner, from };
  }

  /** The epoch the shard was last given under; 0 when it never was. */
  epochOf(shard: Shard): number {
    return this.epochs[shard] ?? 0;
  }

  stateOf(shard: Shard): ShardState {
    return states[this.stateIndex[shard] ?? 0] ?? "unassigned";
  }

  isOwnedBy(shard: Shard, member: Member): boolean {
    const owner = this.ownerOf(shard);
    return owner !== undefined && isSame(owner, member);
  }

  /** Gives `shards` to `member`, each under an epoch above its last and above `epochFloor`. */
  withOwner(shards: readonly Shard[], member: Member, epochFloor = 0): PlacementTable {
    const copy = this.copy();
    const index = copy.indexOf(member);
    for (const shard of shards) {
      copy.ownerIndex[shard] = index;
      copy.epochs[shard] = Math.max(copy.epochOf(shard), epochFloor) + 1;
      copy.stateIndex[shard] = states.indexOf("serving");
    }
    return copy;
  }

  /** Gives served `shards` on to `to`, each under a new epoch; the owner of now hands over. */
  withMove(shards: readonly Shard[], to: Member): PlacementTable {
    const copy = this.copy();
    const index = copy.indexOf(to);
    for (const shard of shards) {
      copy.fromIndex[shard] = copy.ownerIndex[shard] ?? 0;
      copy.ownerIndex[shard] = index;
      copy.epochs[shard] = copy.epochOf(shard) + 1;
      copy.stateIndex[shard] = states.indexOf("moving");
    }
    return copy;
  }

  /** Takes `shards` from whoever has them; their last epoch is then what `epochOf` says. */
  withoutOwner(shards: readonly Shard[], epochOf: (shard: Shard) => number): PlacementTable {
    const copy = this.withState(shards, "unassigned");
    for (const shard of shards) copy.epochs[shard] = Math.max(copy.epochOf(shard), epochOf(shard));
    return copy;
  }

  withState(shards: readonly Shard[], state: ShardState): PlacementTable {
    const copy = this.copy();
    for (const shard of shards) copy.stateIndex[shard] = states.indexOf(state);
    return copy;
  }

  withDrain(nodeId: string, isDraining: boolean): PlacementTable {
    const others = this.draining.filter((other) => other !== nodeId);
    return this.with({ draining: isDraining ? [...others, nodeId].sort() : others });
  }

  writtenBy(masterEpoch: number, nonce: string): PlacementTable {
    return this.with({ masterEpoch, nonce });
  }

  private with(
    changed: Partial<Pick<PlacementTable, "masterEpoch" | "nonce" | "draining">>,
  ): PlacementTable {
    return new PlacementTable(
      changed.masterEpoch ?? this.masterEpoch,
      changed.nonce ?? this.nonce,
      this.members,
      this.ownerIndex,
      this.epochs,
      this.stateIndex,
      this.fromIndex,
      changed.draining ?? this.draining,
    );
  }

  encode(): Uint8Array {
    return packValue({
      v: tableVersion,
      masterEpoch: this.masterEpoch,
      nonce: this.nonce,
      members: this.members.map((member) => [member.nodeId, member.incarnation]),
      owners: bytesOf(this.ownerIndex),
      epochs: bytesOf(this.epochs),
      states: bytesOf(this.stateIndex),
      froms: bytesOf(this.fromIndex),
      draining: this.draining,
    });
  }

  static decode(bytes: Uint8Array): Result<PlacementTable, "BAD_TABLE" | "UNSUPPORTED"> {
    let map: unknown;
    try {
      map = unpackValue(bytes);
    } catch {
      return refused("BAD_TABLE", "the table does not decode");
    }
    if (!isMap(map)) return refused("BAD_TABLE", "the table is not a map");
    if (map.v !== tableVersion) return refused("UNSUPPORTED", `table version ${String(map.v)}`);
    const { masterEpoch, nonce, members, owners, epochs, states: stateBytes, froms } = map;
    // A table from before moves has no `froms`, one from before drains no `draining`.
    const draining = map.draining ?? [];
    const isWhole =
      typeof masterEpoch === "number" &&
      typeof nonce === "string" &&
      isMemberList(members) &&
      hasLength(owners, shardCount * 2) &&
      hasLength(epochs, shardCount * 4) &&
      hasLength(stateBytes, shardCount) &&
      (froms === undefined || hasLength(froms, shardCount * 2)) &&
      isTextList(draining);
    if (!isWhole) return refused("BAD_TABLE", "a field of the table is missing or malformed");
    return accepted(
      new PlacementTable(
        masterEpoch,
        nonce,
        members.map(([nodeId, incarnation]) => ({ nodeId, incarnation })),
        new Uint16Array(copyOf(owners)),
        new Uint32Array(copyOf(epochs)),
        new Uint8Array(copyOf(stateBytes)),
        froms === undefined ? new Uint16Array(shardCount) : new Uint16Array(copyOf(froms)),
        draining,
      ),
    );
  }

  private copy(): PlacementTable {
    // Members that own nothing any more are left out, so the list stays bounded.
    const used = new Set<number>();
    for (let number = 0; number < shardCount; number++) {
      const shard = number as Shard;
      if (this.stateIndex[shard] !== 0) used.add(this.ownerIndex[shard] ?? 0);
      if (this.stateOf(shard) === "moving") used.add(this.fromIndex[shard] ?? 0);
    }
    const kept = [...used].sort((a, b) => a - b);
    const renumbered = new Map(kept.map((old, index) => [old, index]));
    return new PlacementTable(
      this.masterEpoch,
      this.nonce,
      kept.flatMap((index) => this.members[index] ?? []),
      this.ownerIndex.map((old) => renumbered.get(old) ?? 0),
      this.epochs.slice(),
      this.stateIndex.slice(),
      this.fromIndex.map((old) => renumbered.get(old) ?? 0),
      this.draining,
    );
  }

  private indexOf(member: Member): number {
    const list = this.members as Member[];
    const found = list.findIndex((other) => isSame(other, member));
    return found === -1 ? list.push({ ...member }) - 1 : found;
  }
}

function bytesOf(array: Uint8Array | Uint16Array | Uint32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function copyOf(bytes: Uint8Array): ArrayBuffer {
  // Not `slice`: a Buffer's is a view of the whole pool.
  return new Uint8Array(bytes).buffer;
}

function hasLength(value: unknown, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((text) => typeof text === "string");
}

function isMemberList(value: unknown): value is [string, string][] {
  return (
    Array.isArray(value) &&
    value.every(
      (member) =>
        Array.isArray(member) && typeof member[0] === "string" && typeof member[1] === "string",
    )
  );
}
