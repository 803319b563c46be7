/** The table as a value: epochs only grow, bytes survive the round trip, garbage is refused. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { type Shard, shardCount } from "../../src/protocol/shards.js";
import { PlacementTable, tableVersion } from "../../topology/placement-table.js";

const member = (name: string) => ({ nodeId: `dc1-${name}`, incarnation: "i" });
const shards = fc.uniqueArray(fc.integer({ min: 0, max: shardCount - 1 }), { maxLength: 20 });

describe("PlacementTable", () => {
  test("grows a shard's epoch with each owner, and only then", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(shards, fc.constantFrom("a", "b", "c"))), (changes) => {
        let table = PlacementTable.empty();
        for (const [numbers, name] of changes) {
          const given = numbers as Shard[];
          const next = table.withOwner(given, member(name));
          for (const shard of given) assert.ok(next.epochOf(shard) > table.epochOf(shard));
          const freed = next.withState(given, "unassigned");
          for (const shard of given) {
            assert.equal(freed.epochOf(shard), next.epochOf(shard));
            assert.equal(freed.ownerOf(shard), undefined);
          }
          table = next;
        }
      }),
    );
  });

  test("allocates above a floor that a store reported", () => {
    const table = PlacementTable.empty().withOwner([7 as Shard], member("a"), 41);
    assert.equal(table.epochOf(7 as Shard), 42);
  });

  test("is the same after encoding and decoding", () => {
    const table = PlacementTable.empty()
      .withOwner([0, 1, 4095] as Shard[], member("a"))
      .withOwner([1, 2] as Shard[], member("b"))
      .withMove([1] as Shard[], member("c"))
      .withState([2] as Shard[], "unassigned")
      .withDrain("dc1-b", true)
      .withDrain("dc1-a", true)
      .writtenBy(9, "nonce");
    const decoded = PlacementTable.decode(table.encode());
    assert.ok(decoded.ok);
    for (let shard = 0; shard < shardCount; shard++) {
      assert.deepEqual(decoded.value.ownerOf(shard as Shard), table.ownerOf(shard as Shard));
    }
    assert.equal(decoded.value.masterEpoch, 9);
    assert.equal(decoded.value.nonce, "nonce");
    assert.deepEqual(decoded.value.draining, ["dc1-a", "dc1-b"]);
  });

  test("keeps who is in drain through every other change", () => {
    const table = PlacementTable.empty()
      .withDrain("dc1-a", true)
      .withOwner([1] as Shard[], member("a"))
      .withMove([1] as Shard[], member("b"))
      .withState([1] as Shard[], "serving")
      .writtenBy(2, "nonce");
    assert.deepEqual(table.draining, ["dc1-a"]);
    assert.deepEqual(table.withDrain("dc1-a", false).draining, []);
  });

  test("is read without a drain where an older version wrote it, and not with a broken one", () => {
    const map = unpackValue(PlacementTable.empty().encode()) as Record<string, unknown>;
    const { draining: _, ...older } = map;
    const decoded = PlacementTable.decode(packValue(older));
    assert.deepEqual(decoded.ok && decoded.value.draining, []);
    assert.equal(PlacementTable.decode(packValue({ ...map, draining: [7] })).ok, false);
  });

  test("forgets members that own nothing any more", () => {
    let table = PlacementTable.empty();
    const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
    for (let round = 0; round < 100; round++) table = table.withOwner(all, member(`${round}`));
    assert.ok(table.encode().length < 40_000);
  });

  test("refuses what is no table of this version", () => {
    const good = PlacementTable.empty().encode();
    for (const bytes of [
      new Uint8Array(0),
      good.slice(0, 100),
      packValue([1]),
      packValue({ v: tableVersion }),
    ]) {
      const decoded = PlacementTable.decode(bytes);
      assert.equal(decoded.ok, false);
    }
    for (const v of [tableVersion - 1, tableVersion + 1]) {
      const other = PlacementTable.decode(packValue({ v }));
      assert.equal(other.ok === false && other.code, "UNSUPPORTED");
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => !PlacementTable.decode(bytes).ok),
    );
  });
});
