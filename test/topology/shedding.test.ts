import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Priority } from "../../src/protocol/push-command.js";
import { admits, nextBound } from "../../topology/shedding.js";

const byRank: readonly Priority[] = ["low", "normal", "high"];
const pressure = fc.double({ min: 0, max: 3, noNaN: true });

describe("shedding", () => {
  test("never refuses a higher priority while a lower one is admitted", () => {
    fc.assert(
      fc.property(pressure, fc.nat(2), fc.nat(2), (at, one, other) => {
        const lower = byRank[Math.min(one, other)] as Priority;
        const higher = byRank[Math.max(one, other)] as Priority;
        assert.ok(admits(higher, at) || !admits(lower, at));
      }),
    );
  });

  test("refuses more as the pressure rises, and everything at the bound", () => {
    fc.assert(
      fc.property(pressure, pressure, fc.constantFrom(...byRank), (one, other, priority) => {
        assert.ok(
          admits(priority, Math.min(one, other)) || !admits(priority, Math.max(one, other)),
        );
        assert.equal(admits(priority, 1 + one), false);
        assert.equal(admits(priority, 0), true);
      }),
    );
    const order = [0.6, 0.9].map((at) => byRank.filter((priority) => admits(priority, at)));
    assert.deepEqual(order, [["normal", "high"], ["high"]]);
  });
});

describe("the bound of what waits", () => {
  const rules = { most: 20_000, least: 64, promptMs: 500, drainMs: 1_000 };

  /** A store with a fixed cost for each commit and one for each push, always with work. */
  const settle = (from: number, fixedMs: number, perPushMs: number) => {
    let bound = from;
    for (let commit = 0; commit < 30; commit++) {
      bound = nextBound(bound, bound, fixedMs + bound * perPushMs, rules);
    }
    return bound;
  };

  test("comes down to what the store commits in a second, from wherever it began", () => {
    for (const begin of [64, 1_000, 20_000]) {
      // 100 ms and 1 ms each: 900 in a second. Up to half a second it may double.
      const bound = settle(begin, 100, 1);
      assert.ok(bound >= 450 && bound <= 1_000, `${bound} from ${begin}`);
    }
  });

  test("goes back to the most when the store has recovered", () => {
    assert.equal(settle(64, 5, 0.01), 20_000);
  });

  test("is not lowered to nothing by one slow commit of few", () => {
    const bound = nextBound(20_000, 3, 900, rules);
    assert.equal(bound, 10_000);
    assert.equal(nextBound(bound, 5_000, 50, rules), 20_000);
  });

  test("does not grow on prompt commits of far fewer than it allows", () => {
    assert.equal(nextBound(1_000, 400, 400, rules), 1_000);
  });

  test("stays within its ends", () => {
    fc.assert(
      fc.property(fc.nat(20_000), fc.nat(50_000), fc.nat(60_000), (bound, pushes, tookMs) => {
        const next = nextBound(bound, pushes, tookMs, rules);
        assert.ok(next >= rules.least && next <= rules.most);
      }),
    );
  });
});
