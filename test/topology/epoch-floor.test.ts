/** What was seen once is not given again, whatever the bucket says later. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Shard, shardCount } from "../../src/protocol/shards.js";
import { EpochFloor } from "../../topology/epoch-floor.js";
import { PlacementTable } from "../../topology/placement-table.js";

const member = (name: string) => ({ nodeId: `dc1-${name}`, incarnation: "i" });
const numbers = fc.uniqueArray(fc.integer({ min: 0, max: shardCount - 1 }), { maxLength: 20 });

describe("EpochFloor", () => {
  test("leaves a table alone that has forgotten nothing", () => {
    const floor = new EpochFloor();
    const table = PlacementTable.empty().withOwner([1, 2] as Shard[], member("a"));
    floor.note(table);
    assert.equal(floor.lift(table), table);
    const later = table.withOwner([2] as Shard[], member("b"));
    assert.equal(floor.lift(later), later);
  });

  test("never lets an epoch be given twice after a rollback to any earlier table", () => {
    const gift = fc.tuple(numbers, fc.constantFrom("a", "b", "c"));
    fc.assert(
      fc.property(fc.array(gift, { minLength: 1 }), gift, fc.nat(), (gifts, [again, to], pick) => {
        const floor = new EpochFloor();
        const tables = [PlacementTable.empty()];
        for (const [given, name] of gifts) {
          const next = (tables.at(-1) as PlacementTable).withOwner(given as Shard[], member(name));
          tables.push(next);
          floor.note(next);
        }
        const newest = tables.at(-1) as PlacementTable;
        const lifted = floor.lift(tables[pick % tables.length] as PlacementTable);
        const given = lifted.withOwner(again as Shard[], member(to));
        for (const shard of again as Shard[]) {
          assert.ok(given.epochOf(shard) > newest.epochOf(shard));
        }
        for (let number = 0; number < shardCount; number++) {
          const shard = number as Shard;
          const owner = lifted.ownerOf(shard);
          // Who still stands in it stands there as in the newest table.
          if (owner !== undefined) assert.deepEqual(owner, newest.ownerOf(shard));
          assert.ok(lifted.epochOf(shard) >= newest.epochOf(shard));
        }
      }),
      { numRuns: 50 },
    );
  });

  test("remembers the master's epoch", () => {
    const floor = new EpochFloor();
    floor.noteMaster(7);
    floor.note(PlacementTable.empty().writtenBy(5, "n"));
    assert.equal(floor.masterEpoch, 7);
  });
});
