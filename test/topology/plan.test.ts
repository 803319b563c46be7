/** What the placement does next, as properties over many tables and memberships. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Shard, shardCount } from "../../src/protocol/shards.js";
import { isSame, PlacementTable } from "../../topology/placement-table.js";
import { type Knowledge, type PlacementStep, planPlacement } from "../../topology/plan.js";
import { type Candidate, takersOf, unitShards } from "../../topology/units.js";
import {
  allShards,
  carryOut,
  countOf,
  drained,
  finished,
  knowing,
  limits,
  live,
  loads,
  members,
  movingTables,
  settled,
  tables,
  unitCount,
  unitSize,
} from "./plan-samples.js";

/** Some are in doubt, some cannot serve some units. */
const troubled = fc
  .tuple(
    drained,
    fc.array(
      fc.record({
        isInDoubt: fc.boolean(),
        cannotServe: fc.uniqueArray(fc.integer({ min: 0, max: unitCount - 1 })),
      }),
      { minLength: 8, maxLength: 8 },
    ),
  )
  .map(([list, troubles]): Candidate[] =>
    list.map((member, at) => ({ ...member, ...troubles[at] })),
  );

/** A table with moves under way, whoever owns its units, and all that a leader may know. */
const situations = fc.tuple(movingTables, troubled, loads).chain(([table, candidates, unitLoads]) =>
  fc.record({
    table: fc.constant(table),
    candidates: fc.constant(candidates),
    openMovesMax: fc.integer({ min: 0, max: unitCount }),
    known: fc.record<Knowledge>({
      weights: fc.constant(knowing(unitLoads).weights),
      balance: fc.constantFrom("none", "count", "load"),
      resting: fc.constant(new Map()),
      shunned: fc.subarray(candidates),
      overdue: fc
        .subarray(Array.from({ length: unitCount }, (_, unit) => unit))
        .map((units) => new Map(units.map((unit) => [unit, table.epochOf(unit as Shard)]))),
      ordered: fc.array(
        fc.record({
          unit: fc.integer({ min: 0, max: unitCount - 1 }),
          epoch: fc.integer({ min: 1, max: 2 }),
          from: fc.constantFrom(...candidates),
          to: fc.constantFrom(...candidates),
          reason: fc.constant("ordered"),
        }),
      ),
    }),
  }),
);

const cannot = (member: Candidate, unit: number) => member.cannotServe?.includes(unit) === true;

describe("planPlacement", () => {
  test("leaves no unit without a live owner, and settles balanced over those that stay", () => {
    fc.assert(
      fc.property(tables, drained, (table, candidates) => {
        const end = settled(table, candidates);
        const staying = candidates.filter((member) => !member.isDraining);
        const counts = staying.map((member) => countOf(end, member));
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
      fc.property(tables, drained, (table, candidates) => {
        const end = carryOut(table, candidates);
        const owned = candidates.reduce((sum, member) => sum + countOf(end, member), 0);
        assert.equal(owned, unitCount);
      }),
    );
  });

  test("moves no more than allowed at a time, and nothing that has a live owner without need", () => {
    fc.assert(
      fc.property(tables, drained, (table, candidates) => {
        const steps = planPlacement(table, candidates, limits);
        const moves = steps.filter((step) => step.kind === "move");
        assert.ok(moves.length <= limits.openMovesMax);
        for (const step of steps) {
          const owner = table.ownerOf(step.unit as Shard);
          const isLive = candidates.some((member) => member.nodeId === owner?.nodeId);
          assert.equal(isLive, step.kind === "move");
        }
      }),
    );
  });

  test("moves as few units as balance needs", () => {
    fc.assert(
      fc.property(tables, members, (table, candidates) => {
        // Orphans aside: from a table in which everybody is alive.
        let current = settledOrphans(table, candidates);
        const before = candidates.map((member) => countOf(current, member));
        const wanted = [...before].sort((a, b) => b - a);
        const floor = Math.floor(unitCount / candidates.length);
        const extra = unitCount % candidates.length;
        const least = wanted.reduce(
          (sum, count, at) => sum + Math.max(0, count - (at < extra ? floor + 1 : floor)),
          0,
        );
        let moves = 0;
        for (let round = 0; round < 64; round++) {
          const steps = planPlacement(current, candidates, limits);
          if (steps.length === 0) break;
          moves += steps.length;
          current = finished(carryOut(current, candidates));
        }
        assert.equal(moves, least);
      }),
    );
  });

  test("gives nothing to a node in drain, and takes all it has", () => {
    fc.assert(
      fc.property(tables, drained, (table, candidates) => {
        const draining = candidates.filter((member) => member.isDraining);
        for (const step of planPlacement(table, candidates, limits)) {
          assert.ok(!draining.some((member) => member.nodeId === step.to.nodeId));
        }
        const end = settled(table, candidates);
        for (const member of draining) assert.equal(countOf(end, member), 0);
      }),
    );
  });

  test("leaves the shards where they are when all nodes are in drain", () => {
    const a = { ...live(0), isDraining: true };
    assert.deepEqual(
      planPlacement(PlacementTable.empty().withOwner(allShards, a), [a], limits),
      [],
    );
  });

  test("is the same for the same input, and nothing when all is well", () => {
    fc.assert(
      fc.property(tables, drained, (table, candidates) => {
        const plan = planPlacement(table, candidates, limits);
        assert.deepEqual(planPlacement(table, candidates, limits), plan);
        assert.deepEqual(planPlacement(settled(table, candidates), candidates, limits), []);
      }),
    );
  });

  test("waits for a move before it starts the next", () => {
    const [a, b] = [live(0), live(1)];
    const table = PlacementTable.empty().withOwner(allShards, a);
    const moving = carryOut(table, [a, b]);
    assert.equal(countOf(moving, b), 1);
    assert.deepEqual(planPlacement(moving, [a, b], limits), []);
    assert.notDeepEqual(planPlacement(finished(moving), [a, b], limits), []);
  });

  test("gives a unit anew whose new owner died on the way", () => {
    const [a, b] = [live(0), live(1)];
    const moving = carryOut(PlacementTable.empty().withOwner(allShards, a), [a, b]);
    const steps = planPlacement(moving, [a], limits);
    assert.deepEqual(
      steps.map(({ kind, to }) => [kind, to.nodeId]),
      [["assign", a.nodeId]],
    );
  });

  test("gives who rejoined its units again, so that nothing goes from hand to hand", () => {
    fc.assert(
      fc.property(tables, members, (table, candidates) => {
        const before = settled(table, candidates);
        const again = candidates.map((member) => ({ ...member, incarnation: "next" }));
        const after = carryOut(before, again);
        for (let unit = 0; unit < unitCount; unit++) {
          const shard = unit as Shard;
          assert.equal(after.ownerOf(shard)?.nodeId, before.ownerOf(shard)?.nodeId);
        }
        assert.deepEqual(planPlacement(after, again, limits), []);
      }),
    );
  });

  test("gives it no more than its share, and none when it is in drain", () => {
    const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
    const table = PlacementTable.empty().withOwner(all, live(0));
    const again = { ...live(0), incarnation: "next" };
    const shared = carryOut(table, [again, live(1)]);
    assert.deepEqual([countOf(shared, again), countOf(shared, live(1))], [4, 4]);
    const drained = carryOut(table, [{ ...again, isDraining: true }, live(1)]);
    assert.deepEqual([countOf(drained, again), countOf(drained, live(1))], [0, 8]);
  });

  test("gives a unit back to who was to hand it over, for it may still have it open", () => {
    const [a, b, c] = [live(0), live(1), live(2)];
    const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
    const moving = PlacementTable.empty().withOwner(all, a).withMove(unitShards(0, unitSize), b);
    for (const giver of [a, { ...a, isDraining: true }]) {
      const [first] = planPlacement(moving, [giver, { ...b, incarnation: "next" }, c], limits);
      assert.deepEqual([first?.kind, first?.unit, first?.to.nodeId], ["assign", 0, a.nodeId]);
    }
  });

  test("takes at once what its owner cannot serve, to one who has not said so, too", () => {
    fc.assert(
      fc.property(tables, troubled, (table, candidates) => {
        const steps = planPlacement(table, candidates, limits);
        const isWell = (member: Candidate) => !member.isDraining && !member.isInDoubt;
        for (let unit = 0; unit < unitCount; unit++) {
          const owner = candidates.find((member) => table.isOwnedBy(unit as Shard, member));
          const able = candidates.filter((member) => isWell(member) && !cannot(member, unit));
          const step = steps.find((one) => one.unit === unit);
          if (owner !== undefined && cannot(owner, unit) && able.length > 0) {
            assert.equal(step?.reason, `${owner.nodeId} cannot serve it`);
          }
          const to = candidates.find((member) => member.nodeId === step?.to.nodeId);
          if (to === undefined || able.length === 0) continue;
          assert.ok(able.includes(to), `unit ${unit} goes to ${to.nodeId}`);
        }
      }),
    );
  });

  // A unit whose move was given up was moved again in the same plan, back to its owner.
  test("takes one step a unit, from its owner by the table, and to another", () => {
    fc.assert(
      fc.property(situations, ({ table, candidates, openMovesMax, known }) => {
        const steps = planPlacement(table, candidates, { unitSize, openMovesMax }, known);
        assert.equal(new Set(steps.map(({ unit }) => unit)).size, steps.length, said(steps));
        for (const step of steps) {
          const first = step.unit as Shard;
          assert.ok(!table.isOwnedBy(first, step.to), said([step]));
          if (step.kind === "move") assert.ok(table.isOwnedBy(first, step.from), said([step]));
        }
      }),
      { numRuns: 500 },
    );
  });

  test("gives nothing to one that cannot serve it, while another can that may have it", () => {
    fc.assert(
      fc.property(situations, ({ table, candidates, openMovesMax, known }) => {
        const takers = takersOf(candidates, known.shunned);
        for (const step of planPlacement(table, candidates, { unitSize, openMovesMax }, known)) {
          const failed = step.kind === "assign" ? step.failed : step.from;
          const able = takers.filter(
            (member) => !cannot(member, step.unit) && !(failed && isSame(failed, member)),
          );
          const to = candidates.find((member) => isSame(member, step.to));
          assert.ok(to !== undefined);
          assert.ok(able.length === 0 || !cannot(to, step.unit), said([step]));
        }
      }),
      { numRuns: 500 },
    );
  });

  describe("of a unit whose new owner had its time, and said that it cannot serve it", () => {
    const [a, b, c] = [live(0), { ...live(1), cannotServe: [0] }, live(2)];
    const moving = PlacementTable.empty()
      .withOwner(allShards, a)
      .withMove(unitShards(0, unitSize), b);
    const overdue = new Map([[0, moving.epochOf(0 as Shard)]]);
    const known: Knowledge = { ...knowing(new Map()), balance: "none", overdue };
    const plan = (...candidates: Candidate[]) =>
      planPlacement(moving, candidates, limits, known).map((step) => [
        step.kind,
        step.unit,
        step.to.nodeId,
      ]);

    test("gives it back, once", () => {
      assert.deepEqual(plan(a, b), [["assign", 0, a.nodeId]]);
    });

    test("gives it to a third where the giver cannot serve it either", () => {
      const unable = { ...a, cannotServe: [0] };
      assert.deepEqual(plan(unable, b, c), [["assign", 0, c.nodeId]]);
      assert.deepEqual(plan(unable, b), [["assign", 0, a.nodeId]], "nobody else can");
    });
  });

  test("gives an orphan to another than its giver, where that one cannot serve it", () => {
    const [a, c] = [{ ...live(0), cannotServe: [0] }, live(2)];
    const moving = PlacementTable.empty()
      .withOwner(allShards, a)
      .withMove(unitShards(0, unitSize), live(1));
    const [first] = planPlacement(moving, [a, c], limits);
    assert.deepEqual([first?.kind, first?.unit, first?.to.nodeId], ["assign", 0, c.nodeId]);
    const [back] = planPlacement(moving, [a], limits);
    assert.deepEqual([back?.kind, back?.unit, back?.to.nodeId], ["assign", 0, a.nodeId]);
  });

  test("moves nothing to a node in doubt", () => {
    const [a, b, c] = [live(0), live(1), live(2)];
    const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
    const table = PlacementTable.empty().withOwner(all, a);
    const inDoubt = { ...b, isInDoubt: true };
    assert.deepEqual(planPlacement(table, [{ ...a, isDraining: true }, inDoubt], limits), []);
    assert.deepEqual(planPlacement(table, [a, inDoubt], limits), []);
    const [step] = planPlacement(table, [a, inDoubt, c], limits);
    assert.equal(step?.to.nodeId, c.nodeId);
    // An orphan is an outage.
    assert.equal(planPlacement(table, [inDoubt], limits).length, unitCount);
  });

  test("names why a node is relieved", () => {
    const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
    const a = { ...live(0), isDraining: true, unwell: "the event loop lags" };
    const [step] = planPlacement(PlacementTable.empty().withOwner(all, a), [a, live(1)], limits);
    assert.equal(step?.reason, "unwell: the event loop lags");
  });

  test("plans nothing without members", () => {
    assert.deepEqual(planPlacement(PlacementTable.empty(), [], limits), []);
  });
});

function said(steps: readonly PlacementStep[]): string {
  return steps
    .map(({ kind, unit, to, reason }) => `${kind} ${unit} to ${to.nodeId}: ${reason}`)
    .join("\n");
}

/** Every orphan given, nothing moved. */
function settledOrphans(table: PlacementTable, candidates: readonly Candidate[]): PlacementTable {
  const none = { unitSize, openMovesMax: 0 };
  return planPlacement(table, candidates, none).reduce(
    (changed, step) => changed.withOwner(unitShards(step.unit, unitSize), step.to),
    table,
  );
}
