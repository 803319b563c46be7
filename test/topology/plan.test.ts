/** What the placement does next, as properties over many tables and memberships. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Shard, shardCount } from "../../src/protocol/shards.js";
import { type Member, PlacementTable } from "../../topology/placement-table.js";
import { type Candidate, planPlacement, unitShards } from "../../topology/plan.js";

const unitSize = 512;
const unitCount = shardCount / unitSize;
const limits = { unitSize, openMovesMax: 1 };

const memberOf = (index: number): Member => ({ nodeId: `dc1-${index}`, incarnation: "i" });
const live = (index: number): Candidate => ({ ...memberOf(index), isDraining: false });
const members = fc
  .uniqueArray(fc.integer({ min: 0, max: 11 }), { minLength: 1, maxLength: 8 })
  .map((indexes) => indexes.map(live));
/** At least one of them stays. */
const drained = fc
  .tuple(members, fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }))
  .map(([list, flags]): Candidate[] =>
    list.map((member, at) => ({ ...member, isDraining: at > 0 && flags[at] === true })),
  );

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

const cannot = (member: Candidate, unit: number) => member.cannotServe?.includes(unit) === true;

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

/** Carries out a plan; what moves is not yet there. */
function carryOut(table: PlacementTable, candidates: readonly Candidate[]): PlacementTable {
  return planPlacement(table, candidates, limits).reduce((changed, step) => {
    const shards = unitShards(step.unit, unitSize);
    return step.kind === "assign"
      ? changed.withOwner(shards, step.to)
      : changed.withMove(shards, step.to);
  }, table);
}

/** Every new owner has said that it serves. */
function finished(table: PlacementTable): PlacementTable {
  const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
  const moving = all.filter((shard) => table.stateOf(shard) === "moving");
  return table.withState(moving, "serving");
}

function settled(table: PlacementTable, candidates: readonly Candidate[]): PlacementTable {
  let current = table;
  for (let round = 0; round < 64; round++) {
    if (planPlacement(current, candidates, limits).length === 0) return current;
    current = finished(carryOut(current, candidates));
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
          const owner = table.ownerOf((step.unit * unitSize) as Shard);
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
    const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
    const a = { ...live(0), isDraining: true };
    assert.deepEqual(planPlacement(PlacementTable.empty().withOwner(all, a), [a], limits), []);
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
    const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
    const table = PlacementTable.empty().withOwner(all, a);
    const moving = carryOut(table, [a, b]);
    assert.equal(countOf(moving, b), 1);
    assert.deepEqual(planPlacement(moving, [a, b], limits), []);
    assert.notDeepEqual(planPlacement(finished(moving), [a, b], limits), []);
  });

  test("gives a unit anew whose new owner died on the way", () => {
    const [a, b] = [live(0), live(1)];
    const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
    const moving = carryOut(PlacementTable.empty().withOwner(all, a), [a, b]);
    const steps = planPlacement(moving, [a], limits);
    assert.deepEqual(
      steps.map(({ kind, to }) => [kind, to.nodeId]),
      [["assign", a.nodeId]],
    );
  });

  test("takes at once what its owner cannot serve, to one who has not said so, too", () => {
    fc.assert(
      fc.property(tables, troubled, (table, candidates) => {
        const steps = planPlacement(table, candidates, limits);
        const isWell = (member: Candidate) => !member.isDraining && !member.isInDoubt;
        for (let unit = 0; unit < unitCount; unit++) {
          const owner = candidates.find((member) =>
            table.isOwnedBy((unit * unitSize) as Shard, member),
          );
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

/** Every orphan given, nothing moved. */
function settledOrphans(table: PlacementTable, candidates: readonly Candidate[]): PlacementTable {
  const none = { unitSize, openMovesMax: 0 };
  return planPlacement(table, candidates, none).reduce(
    (changed, step) => changed.withOwner(unitShards(step.unit, unitSize), step.to),
    table,
  );
}
