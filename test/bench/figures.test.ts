/** What the benches' figures say of their runs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  figureOf,
  median,
  medianOf,
  meetsGoal,
  ratioOf,
  slope,
  tableOf,
} from "../../bench/harness/figures.js";

test("the median is the middle run, or the mean of the two middle ones", () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([9, 1, 5, 6]), 5.5);
  assert.ok(Number.isNaN(median([])));
});

test("keeps the runs behind a median", () => {
  const figure = medianOf([3, 1, 2], { unit: "1/s", better: "higher" });
  assert.deepEqual(figure, { value: 2, unit: "1/s", better: "higher", runs: [3, 1, 2] });
});

test("compares only what ran side by side", () => {
  // The machine became twice as fast after the first pair: each pair's ratio is one half.
  assert.equal(ratioOf([5, 10, 10], [10, 20, 20], { better: "higher" }).value, 0.5);
});

test("a goal is a floor or a ceiling, as better says", () => {
  const shape = { unit: "ms", goal: 5 } as const;
  assert.equal(meetsGoal(figureOf(5, { ...shape, better: "lower" })), true);
  assert.equal(meetsGoal(figureOf(6, { ...shape, better: "lower" })), false);
  assert.equal(meetsGoal(figureOf(4, { ...shape, better: "higher" })), false);
  assert.equal(meetsGoal(figureOf(4, { unit: "ms", better: "lower" })), undefined);
});

test("a slope leaves out what is there without anybody", () => {
  const points = [
    { x: 4_000, y: 50_000_000 },
    { x: 16_000, y: 74_000_000 },
  ];
  assert.equal(slope(points), 2_000);
});

test("the table tells a missed goal and the spread of the runs", () => {
  const table = tableOf({
    p99_ms: medianOf([40, 30, 50], { unit: "ms", better: "lower", goal: 30 }),
  });
  assert.match(table, /p99_ms\s+40\s+ms\s+≤ 30 MISSED\s+30 … 50\s+50 %/);
});
