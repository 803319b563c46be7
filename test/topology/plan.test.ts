/** What the placement does next, as properties over many tables and memberships. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Shard, shardCount } from "../../src/protocol/shards.js";
import { type Member, PlacementTable } from "../../topology/placement-table.js";
import { planPlacement, unitShards } from "../../topology/plan.js";

const unitSize = 512;
const unitCount = shardCount / unitSize;
const limits = { unitSize, openMovesMax: 1 };

const memberOf = (index: number): Member => ({ nodeId: `dc1-${index}`, incarnation: "i" });
const members = fc
  .uniqueArray(fc.integer({ min: 0, max: 11 }), { minLength: 1, maxLength: 8 })
  .map((indexes) => indexes.map(memberOf));

/** A table in which each unit is owned by some node, dead or alive, or by nobody. */
const tables = fc
  .array(fc.option(fc.integer({ min: 0, max: 11 })), { minLength: unitCount, maxLength: unitCount })
  .map((owners) =>
    owners.reduce<PlacementTable>(
      (table, owner, unit) =>
        owner === null ? table : table.withOwner(unitShards(unit, unitSize), memberOf(owner)),
      PlacementTable.empty(),
    ),
  );

/** Carries out a plan; a release is followed by the owner's word that it is done. */
function carryOut(table: PlacementTable, live: readonly Member[]): PlacementTable {
  return planPlacement(table, live, limits).reduce(
    (changed, step) =>
      step.kind === "assign"
        ? changed.withOwner(unitShards(step.unit, unitSize), step.to)
        : changed.withState(unitShards(step.unit, unitSize), "unassigned"),
    table,
  );
}

function settled(table: PlacementTable, live: readonly Member[]): PlacementTable {
  let current = table;
  for (let round = 0; round < 64; round++) {
    if (planPlacement(current, live, limits).length === 0) return current;
    current = carryOut(current, live);
  }
  throw new Error("never settles");
}

function countOf(table: PlacementTable, member: Member): number {
  let count = 0;
  for (let unit = 0; unit < unitCount; unit++) {
    if (table.isOwnedBy((unit * unitSize) as Shard, member)) count++;
  }
  return count;
}

describe("planPlacement", () => {
  test("leaves no unit without a live owner, and settles balanced", () => {
    fc.assert(
      fc.property(tables, members, (table, live) => {
        const end = settled(table, live);
        const counts = live.map((member) => countOf(end, member));
        assert.equal(
          counts.reduce((sum, count) => sum + count, 0),
          unitCount,
        );
        assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, `balanced: ${counts}`);
      }),
    );
  });

  test("gives every orphan to somebody at once", () => {
    fc.assert(
      fc.property(tables, members, (table, live) => {
        const end = carryOut(table, live);
        const released = planPlacement(table, live, limits).filter(
          (step) => step.kind === "release",
        );
        const served = live.reduce((sum, member) => sum + countOf(end, member), 0);
        assert.equal(served, unitCount - released.length);
      }),
    );
  });

  test("moves no more than allowed at a time, and nothing that has a live owner without need", () => {
    fc.assert(
      fc.property(tables, members, (table, live) => {
        const steps = planPlacement(table, live, limits);
        assert.ok(steps.filter((step) => step.kind === "release").length <= limits.openMovesMax);
        for (const step of steps) {
          const owner = table.ownerOf((step.unit * unitSize) as Shard);
          const isLive = live.some((member) => member.nodeId === owner?.nodeId);
          assert.equal(isLive, step.kind === "release");
        }
      }),
    );
  });

  test("is the same for the same input, and nothing when all is well", () => {
    fc.assert(
      fc.property(tables, members, (table, live) => {
        assert.deepEqual(planPlacement(table, live, limits), planPlacement(table, live, limits));
        assert.deepEqual(planPlacement(settled(table, live), live, limits), []);
      }),
    );
  });

  test("waits for a release before it starts the next", () => {
    const [a, b] = [memberOf(0), memberOf(1)];
    const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
    const table = PlacementTable.empty().withOwner(all, a);
    const [first] = planPlacement(table, [a, b], limits);
    assert.equal(first?.kind, "release");
    const releasing = table.withState(unitShards(first?.unit ?? 0, unitSize), "releasing");
    assert.deepEqual(planPlacement(releasing, [a, b], limits), []);
  });

  test("plans nothing without members", () => {
    assert.deepEqual(planPlacement(PlacementTable.empty(), [], limits), []);
  });
});
