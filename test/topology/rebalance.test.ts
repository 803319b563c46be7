/** What an operator may commit: further than the leader goes by itself, and never in circles. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Shard } from "../../src/protocol/shards.js";
import { OpenMoves } from "../../topology/open-moves.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { planPlacement } from "../../topology/plan.js";
import { judgeOrder, planRebalance } from "../../topology/rebalance.js";
import { type Candidate, readUnits, unitShards } from "../../topology/units.js";
import {
  allShards,
  apply,
  converge,
  drained,
  finished,
  knowing,
  limits,
  live,
  loads,
  tables,
  unitCount,
  unitSize,
  weightOf,
} from "./plan-samples.js";

const heaviest = (nodes: readonly { readonly weight: number }[]) =>
  Math.max(...nodes.map(({ weight }) => weight));

describe("planRebalance", () => {
  test("never makes the worst node worse, moves no unit twice, and says what comes of it", () => {
    fc.assert(
      fc.property(tables, drained, loads, (start, candidates, unitLoads) => {
        const known = knowing(unitLoads);
        const { table } = converge(start, candidates, known);
        const plan = planRebalance(table, candidates, unitSize, known.weights, []);
        const units = plan.moves.map(({ unit }) => unit);
        assert.equal(new Set(units).size, units.length);
        assert.ok(heaviest(plan.after) <= heaviest(plan.before));
        const end = finished(
          plan.moves.reduce(
            (to, move) => to.withMove(unitShards(move.unit, unitSize), move.to),
            table,
          ),
        );
        for (const { weight, ...member } of plan.after) {
          assert.equal(weightOf(end, member, known), weight);
        }
      }),
    );
  });

  test("is carried out by the planner, one move at a time and in its order", () => {
    fc.assert(
      fc.property(tables, drained, loads, (start, candidates, unitLoads) => {
        const known = { ...knowing(unitLoads), balance: "none" } as const;
        let { table } = converge(start, candidates, known);
        const { moves: ordered, after } = planRebalance(
          table,
          candidates,
          unitSize,
          known.weights,
          [],
        );
        for (const order of ordered) {
          const steps = planPlacement(table, candidates, limits, { ...known, ordered });
          assert.deepEqual(
            steps.map((step) => [step.kind === "move" && step.cause, step.unit, step.to.nodeId]),
            [["operator", order.unit, order.to.nodeId]],
          );
          table = finished(apply(table, steps));
        }
        assert.deepEqual(planPlacement(table, candidates, limits, { ...known, ordered }), []);
        for (const { weight, ...member } of after) {
          assert.equal(weightOf(table, member, known), weight);
        }
      }),
    );
  });

  test("goes further than the leader by itself", () => {
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
    // 8.6 and 7.4 or so: under what the leader moves for, over what an operator does.
    const perUnit = [300, 1_000, 1_000, 1_000, 500, 500, 500, 700];
    const skewed = knowing(new Map(perUnit.map((load, unit) => [unit, load])));
    assert.deepEqual(planPlacement(table, [a, b], limits, skewed), []);
    const plan = planRebalance(table, [a, b], unitSize, skewed.weights, []);
    assert.ok(heaviest(plan.after) < heaviest(plan.before));
  });

  test("leaves out who cannot serve something, as giver and as receiver", () => {
    const unable = fc.tuple(drained, fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }));
    fc.assert(
      fc.property(tables, unable, loads, (table, [list, flags], unitLoads) => {
        const candidates = list.map((member, at) =>
          flags[at] === true ? { ...member, cannotServe: [0] } : member,
        );
        const { weights } = knowing(unitLoads);
        for (const { from, to } of planRebalance(table, candidates, unitSize, weights, []).moves) {
          for (const { nodeId } of [from, to]) {
            const member = candidates.find((one) => one.nodeId === nodeId);
            assert.equal(member?.cannotServe, undefined);
          }
        }
      }),
    );
  });
});

describe("judgeOrder", () => {
  const [a, b] = [live(0), live(1)];
  const start = PlacementTable.empty().withOwner(allShards, a);
  const order = { unit: 0, epoch: start.epochOf(0 as Shard), from: a, to: b, reason: "" };
  const judge = (table: PlacementTable, members: Candidate[], takers = members) => {
    const [unit] = readUnits(table, members, unitSize, []);
    assert.ok(unit !== undefined);
    return judgeOrder(order, unit, takers).state;
  };

  test("waits while it is to come or under way, and is done when the new owner serves", () => {
    const shards = unitShards(0, unitSize);
    assert.equal(judge(start, [a, b]), "pending");
    assert.equal(judge(start.withMove(shards, b), [a, b]), "pending");
    assert.equal(judge(finished(start.withMove(shards, b)), [a, b]), "done");
  });

  test("is dropped when the unit went elsewhere, or its new owner may not have it", () => {
    const shards = unitShards(0, unitSize);
    assert.equal(judge(start.withOwner(shards, live(2)), [a, b, live(2)]), "dropped");
    assert.equal(judge(start, [a]), "dropped");
    assert.equal(judge(start, [a, b], [a]), "dropped");
  });

  // It was pending for as long as its new owner could not serve it, and begun anew after.
  test("is dropped when its new owner cannot serve the unit, before the move and during it", () => {
    const unable = { ...b, cannotServe: [0] };
    assert.equal(judge(start, [a, unable]), "dropped");
    const moving = start.withMove(unitShards(0, unitSize), b);
    assert.equal(judge(moving, [a, unable]), "dropped");
    assert.equal(judge(finished(moving), [a, unable]), "done");
    assert.equal(judge(start, [a, { ...b, cannotServe: [1] }]), "pending");
  });

  test("is dropped when the unit went and came back", () => {
    const shards = unitShards(0, unitSize);
    const moving = start.withMove(shards, b);
    assert.equal(judge(finished(moving.withMove(shards, a)), [a, b]), "dropped");
    assert.equal(judge(moving.withOwner(shards, a), [a, b]), "dropped");
  });
});

describe("OpenMoves", () => {
  const boundMs = 1_000;
  const start = PlacementTable.empty().withOwner(allShards, live(0));
  const moving = start.withMove(unitShards(2, unitSize), live(1));
  const epoch = moving.epochOf(2 as Shard);

  test("counts from when it first saw the move, under that epoch", () => {
    const moves = new OpenMoves(unitSize);
    moves.note(start, 0);
    moves.note(moving, 500);
    moves.note(moving, 1_400);
    assert.deepEqual(moves.overdue(1_499, boundMs), new Map());
    assert.deepEqual(moves.overdue(1_500, boundMs), new Map([[2, epoch]]));
    assert.equal(moves.openForMs(2, 1_500), 1_000);
    const again = moving.withMove(unitShards(2, unitSize), live(0));
    moves.note(again, 1_500);
    assert.deepEqual(moves.overdue(1_600, boundMs), new Map());
  });

  test("forgets a move that has ended", () => {
    const moves = new OpenMoves(unitSize);
    moves.note(moving, 0);
    moves.note(finished(moving), 900);
    assert.deepEqual(moves.overdue(5_000, boundMs), new Map());
    assert.equal(moves.openForMs(2, 5_000), undefined);
  });
});
