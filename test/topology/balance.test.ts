/** Evening out the measured load, as properties: it ends, it helps, and it never flaps. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Shard } from "../../src/protocol/shards.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { type Knowledge, planPlacement } from "../../topology/plan.js";
import { type Candidate, unitShards } from "../../topology/units.js";
import { weighUnits } from "../../topology/weights.js";
import {
  allShards,
  apply,
  converge,
  countOf,
  drained,
  finished,
  floorPerSecond,
  knowing,
  limits,
  live,
  loads,
  members,
  tables,
  unitCount,
  unitSize,
  weightOf,
} from "./plan-samples.js";

const weightsOf = (table: PlacementTable, candidates: readonly Candidate[], known: Knowledge) =>
  candidates.map((member) => weightOf(table, member, known));
const squares = (weights: readonly number[]) => weights.reduce((sum, each) => sum + each ** 2, 0);

/** Of one order of magnitude, where a move may help only a little. */
const closeLoads = fc
  .array(fc.integer({ min: 500, max: 4_000 }), { minLength: unitCount, maxLength: unitCount })
  .map((list) => new Map(list.map((load, unit) => [unit, load])));

describe("planPlacement with measured load", () => {
  test("leaves nothing without a live owner, and a node in drain empty", () => {
    fc.assert(
      fc.property(tables, drained, loads, (table, candidates, unitLoads) => {
        const end = converge(table, candidates, knowing(unitLoads)).table;
        const owned = candidates.reduce((sum, member) => sum + countOf(end, member), 0);
        assert.equal(owned, unitCount);
        for (const member of candidates) {
          if (member.isDraining) assert.equal(countOf(end, member), 0);
        }
      }),
    );
  });

  test("comes to an end, stays there, and gives the same steps for the same input", () => {
    fc.assert(
      fc.property(tables, drained, loads, (table, candidates, unitLoads) => {
        const known = knowing(unitLoads);
        const { table: end, resting } = converge(table, candidates, known);
        assert.deepEqual(planPlacement(end, candidates, limits, { ...known, resting }), []);
        const plan = planPlacement(table, candidates, limits, known);
        assert.deepEqual(planPlacement(table, candidates, limits, known), plan);
      }),
    );
  });

  test("comes to an end without any memory of what it moved", () => {
    fc.assert(
      fc.property(tables, members, loads, (start, candidates, unitLoads) => {
        const known = knowing(unitLoads);
        let table = start;
        let rounds = 0;
        for (; rounds < 8 * unitCount; rounds++) {
          const steps = planPlacement(table, candidates, limits, known);
          if (steps.length === 0) break;
          table = finished(apply(table, steps));
        }
        assert.ok(rounds < 8 * unitCount);
      }),
    );
  });

  test("moves no unit twice while the loads stand still", () => {
    fc.assert(
      fc.property(tables, members, loads, (table, candidates, unitLoads) => {
        const units = converge(table, candidates, knowing(unitLoads)).moves.map(({ unit }) => unit);
        assert.equal(new Set(units).size, units.length, `${units}`);
      }),
      { numRuns: 1_000 },
    );
  });

  test("lessens the spread with each move, and never makes the worst node worse", () => {
    fc.assert(
      fc.property(tables, members, loads, (start, candidates, unitLoads) => {
        const known = knowing(unitLoads);
        // Orphans are given whatever that does to the weights.
        let table = finished(apply(start, planPlacement(start, candidates, limits, known)));
        for (const move of converge(table, candidates, known).moves) {
          const before = weightsOf(table, candidates, known);
          table = finished(apply(table, [move]));
          const after = weightsOf(table, candidates, known);
          assert.ok(Math.max(...after) <= Math.max(...before));
          assert.ok(squares(after) < squares(before));
        }
      }),
    );
  });

  test("moves no more than allowed at a time", () => {
    fc.assert(
      fc.property(
        tables,
        drained,
        loads,
        fc.integer({ min: 0, max: 4 }),
        (table, all, load, max) => {
          const steps = planPlacement(table, all, { unitSize, openMovesMax: max }, knowing(load));
          assert.ok(steps.filter(({ kind }) => kind === "move").length <= max);
        },
      ),
    );
  });

  test("leaves room between a move for load and the one that would take it back", () => {
    fc.assert(
      fc.property(tables, members, closeLoads, (start, candidates, unitLoads) => {
        const known = knowing(unitLoads);
        let table = finished(apply(start, planPlacement(start, candidates, limits, known)));
        for (const move of converge(table, candidates, known).moves) {
          table = finished(apply(table, [move]));
          if (move.cause !== "load") continue;
          // It would go back from one and a half on: the loads have to shift by its whole weight.
          const gap = weightOf(table, move.to, known) - weightOf(table, move.from, known);
          const weight = known.weights[move.unit] ?? 1;
          assert.ok(gap <= weight / 2, `${gap} after unit ${move.unit} of ${weight}`);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test("gives a hot node's cold units away before it lets the hot one wander", () => {
    const [a, b] = [live(0), live(1)];
    const table = PlacementTable.empty()
      .withOwner(
        allShards.filter((shard) => shard % unitCount < 4),
        a,
      )
      .withOwner(
        allShards.filter((shard) => shard % unitCount >= 4),
        b,
      );
    const known = knowing(new Map([[0, 10_000]]));
    const { moves, table: end } = converge(table, [a, b], known);
    assert.ok(moves.length > 0);
    assert.ok(moves.every(({ unit, cause }) => unit !== 0 && cause === "load"));
    assert.deepEqual(weightsOf(end, [a, b], known), [9, 7]);
  });

  test("gives a newcomer its share by number, whatever is known of the load", () => {
    fc.assert(
      fc.property(loads, fc.integer({ min: 1, max: 6 }), (unitLoads, count) => {
        const old = Array.from({ length: count }, (_, index) => live(index));
        const known = knowing(unitLoads);
        const before = converge(PlacementTable.empty(), old, known).table;
        const newcomer = live(11);
        const { table: end, resting } = converge(before, [...old, newcomer], known);
        const fewest = countOf(end, newcomer);
        const richest = old.reduce((best, member) =>
          countOf(end, member) > countOf(end, best) ? member : best,
        );
        // Where it has fewer all the same, one more would make it the heavier of the two.
        const lightest = known.weights.filter(
          (_, unit) => end.isOwnedBy(unit as Shard, richest) && resting.get(unit) !== "load",
        );
        const next = weightOf(end, newcomer, known) + Math.min(...lightest);
        const isEven = fewest >= countOf(end, richest) - 1;
        assert.ok(isEven || next >= weightOf(end, richest, known));
        if (count < unitCount) assert.ok(fewest > 0);
      }),
    );
  });

  test("moves nothing for load where only numbers may be evened out, and nothing at all where none may", () => {
    fc.assert(
      fc.property(tables, members, loads, (table, candidates, unitLoads) => {
        const known = knowing(unitLoads);
        const byCount = converge(table, candidates, { ...known, balance: "count" }).moves;
        assert.ok(byCount.every(({ cause }) => cause === "count"));
        assert.deepEqual(converge(table, candidates, { ...known, balance: "none" }).moves, []);
      }),
    );
  });
});

describe("planPlacement with nodes that fail", () => {
  const [a, b, c] = [live(0), live(1), live(2)];
  const unit = 3;
  const first = unit as Shard;
  const moving = PlacementTable.empty()
    .withOwner(
      allShards.filter((shard) => shard % unitCount < 4),
      a,
    )
    .withOwner(
      allShards.filter((shard) => shard % unitCount >= 4),
      c,
    )
    .withMove(unitShards(unit, unitSize), b);
  const idle = { ...knowing(new Map()), balance: "none" } as const;
  const overdue = new Map([[unit, moving.epochOf(first)]]);

  test("gives a move that never ends back to whom it came from, under a new epoch", () => {
    const steps = planPlacement(moving, [a, b, c], limits, { ...idle, overdue });
    assert.deepEqual(
      steps.map((step) => [step.kind, step.unit, step.to.nodeId]),
      [["assign", unit, a.nodeId]],
    );
    const after = apply(moving, steps);
    assert.equal(after.stateOf(first), "serving");
    assert.ok(after.epochOf(first) > moving.epochOf(first));
  });

  test("gives it to another where the old owner is gone, and leaves it where nobody else is", () => {
    const known = { ...idle, overdue, shunned: [b] };
    const [toC] = planPlacement(moving, [b, c], limits, known).filter((step) => step.unit === unit);
    assert.equal(toC?.to.nodeId, c.nodeId);
    const alone = planPlacement(moving, [b], limits, known);
    assert.ok(alone.every((step) => step.unit !== unit));
  });

  test("leaves a move alone that is a newer one than was found overdue", () => {
    const newer = moving
      .withOwner(unitShards(unit, unitSize), a)
      .withMove(unitShards(unit, unitSize), b);
    assert.deepEqual(planPlacement(newer, [a, b, c], limits, { ...idle, overdue }), []);
  });

  test("leaves a node in drain what the only one left did not start", () => {
    const draining = { ...a, isDraining: true };
    const table = PlacementTable.empty().withOwner(allShards, a);
    const [step] = planPlacement(table, [draining, b], limits, idle);
    assert.equal(step?.to.nodeId, b.nodeId);
    assert.deepEqual(planPlacement(table, [draining, b], limits, { ...idle, shunned: [b] }), []);
  });

  test("offers nothing to a node that did not start what it was given, while others are there", () => {
    fc.assert(
      fc.property(tables, members, loads, (table, candidates, unitLoads) => {
        const [shunned, ...others] = candidates as [Candidate, ...Candidate[]];
        const known = { ...knowing(unitLoads), shunned: [shunned] };
        const steps = planPlacement(table, candidates, limits, known);
        if (others.length === 0) return;
        assert.ok(steps.every(({ to }) => to.nodeId !== shunned.nodeId));
      }),
    );
  });
});

describe("weighUnits", () => {
  test("weighs presence and load the same in a busy system, and presence only in an idle one", () => {
    fc.assert(
      fc.property(loads, (unitLoads) => {
        const total = [...unitLoads.values()].reduce((sum, load) => sum + load, 0);
        const weights = weighUnits(unitCount, unitLoads, floorPerSecond);
        const sum = weights.reduce((all, weight) => all + weight, 0);
        const wanted = unitCount * (1 + total / Math.max(total, floorPerSecond));
        assert.ok(Math.abs(sum - wanted) < 0.01, `${sum} for ${wanted}`);
        assert.ok(weights.every((weight) => weight >= 1));
      }),
    );
  });
});
