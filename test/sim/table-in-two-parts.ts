/**
 * A placement table that is not one value: its lower shards are one, its upper ones another,
 * each with a compare-and-set of its own, written one after the other. A group is the shards
 * of one remainder, so each has shards in both: a write that stops half-way tears groups.
 */
import type { KeyValue } from "../../src/ports/key-value.js";
import { shardCount } from "../../src/protocol/shards.js";
import { PlacementTable } from "../../topology/placement-table.js";

function isInFirstPart(shard: number): boolean {
  return shard < shardCount / 2;
}

/** The table as two values with a compare-and-set each, written one after the other. */
export function tableInTwoParts(keyValue: KeyValue): KeyValue {
  const bound = Object.create(keyValue) as KeyValue;
  const join = (first: PlacementTable, second: PlacementTable): Uint8Array => {
    const joined = second.writtenBy(first.masterEpoch, first.nonce) as unknown as TableInside;
    const source = first as unknown as TableInside;
    const members = [...joined.members, ...source.members];
    const parts = PlacementTable.empty().writtenBy(first.masterEpoch, first.nonce);
    const inside = parts as unknown as TableInside;
    inside.members.push(...members);
    for (let shard = 0; shard < shardCount; shard++) {
      const from = isInFirstPart(shard) ? source : joined;
      const offset = from === source ? joined.members.length : 0;
      inside.ownerIndex[shard] = (from.ownerIndex[shard] ?? 0) + offset;
      inside.fromIndex[shard] = (from.fromIndex[shard] ?? 0) + offset;
      inside.epochs[shard] = from.epochs[shard] ?? 0;
      inside.stateIndex[shard] = from.stateIndex[shard] ?? 0;
    }
    return parts.encode();
  };
  const read = (bytes: Uint8Array): PlacementTable => {
    const table = PlacementTable.decode(bytes);
    return table.ok ? table.value : PlacementTable.empty();
  };
  return Object.assign(bound, {
    update: async (key: string, value: Uint8Array, revision: number) => {
      if (key !== "table") return keyValue.update(key, value, revision);
      const before = await keyValue.get(key);
      if (before === undefined) return keyValue.update(key, value, revision);
      const next = read(value);
      const first = await keyValue.update(key, join(next, read(before.value)), revision);
      return first.ok ? keyValue.update(key, value, first.value) : first;
    },
  });
}

interface TableInside {
  readonly members: unknown[];
  readonly ownerIndex: Uint16Array;
  readonly fromIndex: Uint16Array;
  readonly epochs: Uint32Array;
  readonly stateIndex: Uint8Array;
}
