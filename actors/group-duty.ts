/** What the placement table wants of this node, group by group. Pure but for what it remembers. */
import { type Shard, shardCount } from "../src/protocol/shards.js";
import { isSame, type Member, type PlacementTable } from "../topology/placement-table.js";
import { nameOf } from "../topology/units.js";

/** The epoch of each shard of a group, in the order of the shards. */
export type Epochs = ReadonlyMap<Shard, number>;

/**
 * serve: it is this node's. take: it will be, when `from` has handed over. give: this
 * node hands it over to `to`. `epoch` names the move: it is its first shard's.
 */
export type GroupDuty =
  | { readonly kind: "serve"; readonly epochs: Epochs }
  | {
      readonly kind: "take";
      readonly epochs: Epochs;
      readonly epoch: number;
      readonly from: Member | undefined;
    }
  | { readonly kind: "give"; readonly epoch: number; readonly to: Member };

/** By group; a group that is not in it is none of this node's business. */
export function readDuties(
  table: PlacementTable,
  self: Member,
  groupOf: (shard: Shard) => number,
): Map<number, GroupDuty> {
  const duties = new Map<number, GroupDuty>();
  const epochsByGroup = new Map<number, Map<Shard, number>>();
  for (let number = 0; number < shardCount; number++) {
    const shard = number as Shard;
    const owner = table.ownerOf(shard);
    if (owner === undefined) continue;
    const group = groupOf(shard);
    const { epoch, from } = owner;
    if (isSame(owner, self)) {
      const epochs = epochsByGroup.get(group) ?? new Map<Shard, number>();
      epochsByGroup.set(group, epochs.set(shard, epoch));
      if (duties.has(group)) continue;
      const isMoving = owner.state === "moving";
      duties.set(
        group,
        isMoving ? { kind: "take", epochs, epoch, from } : { kind: "serve", epochs },
      );
    } else if (from !== undefined && isSame(from, self) && !duties.has(group)) {
      duties.set(group, { kind: "give", epoch, to: nameOf(owner) });
    }
  }
  return duties;
}

interface ReadDuties {
  readonly table: PlacementTable;
  readonly incarnation: string;
  readonly duties: ReadonlyMap<number, GroupDuty>;
}

/** Of 4096 shards, and asked for at each tick: read once for each table and incarnation. */
export class DutyReader {
  private last: ReadDuties | undefined = undefined;

  constructor(private readonly groupOf: (shard: Shard) => number) {}

  read(table: PlacementTable, self: Member): ReadonlyMap<number, GroupDuty> {
    const { last } = this;
    const { incarnation } = self;
    if (last?.table === table && last.incarnation === incarnation) return last.duties;
    const duties = readDuties(table, self, this.groupOf);
    this.last = { table, incarnation, duties };
    return duties;
  }
}

export function isSameEpochs(one: Epochs, other: Epochs): boolean {
  if (one === other) return true;
  if (one.size !== other.size) return false;
  for (const [shard, epoch] of one) {
    if (other.get(shard) !== epoch) return false;
  }
  return true;
}
