/** What the lanes of one group may have in flight, as their workers ask for it. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LanePace } from "../../actors/lane-pace.js";

const rules = { min: 12, max: 120, targetMs: 50 };
/** Enough for every lane. */
const workers = 8_000;

/** Starts what each may, in turn, until nobody may start more; returns how many each has. */
function fillUp(pace: LanePace, lanes: Readonly<Record<string, number>>): number[] {
  const inFlight = new Map(Object.keys(lanes).map((lane) => [lane, 0]));
  for (let moved = true; moved; ) {
    moved = false;
    for (const [lane, waiting] of Object.entries(lanes)) {
      const own = inFlight.get(lane) ?? 0;
      const room = Math.min(pace.room(lane, waiting - own), waiting - own);
      for (let at = 0; at < room; at++) pace.started(lane);
      inFlight.set(lane, own + room);
      moved ||= room > 0;
    }
  }
  return [...inFlight.values()];
}

describe("the pace of a group's lanes", () => {
  test("comes to the weights once pushes end, whoever began", () => {
    const pace = new LanePace(rules, 8);
    for (const [lane, weight] of [
      ["high", 8],
      ["normal", 3],
      ["low", 1],
    ] as const) {
      pace.set(lane, { weight, workers });
    }
    assert.equal(pace.limit, 96);
    // All of it is there for who is alone.
    assert.deepEqual(fillUp(pace, { low: 1_000 }), [96]);
    pace.room("high", 1_000);
    for (let at = 0; at < 96; at++) pace.ended("low", 0);
    assert.deepEqual(fillUp(pace, { high: 1_000, low: 1_000 }), [85, 10]);
  });

  test("gives a lane its workers' share at most, at least one, and none to one that rests", () => {
    const pace = new LanePace(rules, 8);
    pace.set("some", { weight: 1, workers: 40 });
    pace.set("few", { weight: 1, workers: 3 });
    pace.set("rests", { weight: 1, workers: 0 });
    assert.deepEqual(fillUp(pace, { some: 100, few: 100, rests: 100 }), [5, 1, 0]);
    assert.equal(pace.room("unknown", 5), 0);
  });

  test("forgets what a worker had in flight that begins anew", () => {
    const pace = new LanePace(rules, 8);
    pace.set("high", { weight: 1, workers });
    assert.deepEqual(fillUp(pace, { high: 1_000 }), [96]);
    assert.equal(pace.room("high", 1_000), 0);
    pace.reset("high");
    assert.equal(pace.room("high", 1_000), 96);
    pace.remove("high");
    assert.equal(pace.room("high", 1_000), 0);
  });

  test("takes more at a time while answers are quick, and less when they come late", () => {
    const pace = new LanePace(rules, 8);
    pace.set("high", { weight: 1, workers });
    for (let nowMs = 0; nowMs < 100; nowMs++) {
      fillUp(pace, { high: 1_000 });
      for (let at = 0; at < 90; at++) pace.ended("high", nowMs, 10);
      pace.reset("high");
    }
    const grown = pace.limit;
    assert.ok(grown > 96);
    fillUp(pace, { high: 1_000 });
    pace.ended("high", 200, 80);
    assert.ok(pace.limit < grown);
  });
});
