/** How lanes share, and how their common bound follows the measured answers. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type LimitState, nextLimit, startLimit } from "../../topology/lane-limit.js";
import { shareOut } from "../../topology/lane-shares.js";

const demands = fc.array(
  fc.record({ weight: fc.integer({ min: 1, max: 100 }), wanted: fc.nat(2_000) }),
  { maxLength: 8 },
);
const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);

describe("shareOut", () => {
  test("gives nobody more than it wants, everybody something, and no more than there is", () => {
    fc.assert(
      fc.property(demands, fc.integer({ min: 1, max: 3_000 }), (wants, limit) => {
        const shares = shareOut(limit, wants);
        for (const [at, { wanted }] of wants.entries()) {
          const share = shares[at] ?? 0;
          assert.ok(share <= wanted);
          assert.ok(wanted === 0 || share >= 1);
        }
        const waiting = wants.filter(({ wanted }) => wanted > 0).length;
        assert.ok(sum(shares) <= Math.max(limit, waiting) + waiting);
        if (limit >= waiting * 101) assert.ok(sum(shares) <= limit);
      }),
    );
  });

  test("leaves nothing unused that somebody wants, but for what does not divide", () => {
    fc.assert(
      fc.property(demands, fc.integer({ min: 1, max: 3_000 }), (wants, limit) => {
        const wanted = sum(wants.map((each) => each.wanted));
        const least = Math.min(wanted, limit - wants.length);
        assert.ok(sum(shareOut(limit, wants)) >= least);
      }),
    );
  });

  test("divides by weight among those who want more than that", () => {
    fc.assert(
      fc.property(demands, fc.integer({ min: 1_000, max: 3_000 }), (wants, limit) => {
        const shares = shareOut(limit, wants);
        const greedy = wants.flatMap(({ weight, wanted }, at) => {
          const share = shares[at] ?? 0;
          return share < wanted ? [{ weight, share }] : [];
        });
        for (const one of greedy) {
          for (const other of greedy) {
            // Each is rounded down, or up to one.
            assert.ok((one.share - 1) / one.weight <= (other.share + 1) / other.weight);
          }
        }
      }),
    );
  });

  test("high, normal and low with enough to do share as 8 to 3 to 1", () => {
    const wanted = 1_000;
    const wants = [8, 3, 1].map((weight) => ({ weight, wanted }));
    assert.deepEqual(shareOut(120, wants), [80, 30, 10]);
    assert.deepEqual(shareOut(120, [...wants.slice(0, 2), { weight: 1, wanted: 0 }]), [87, 32, 0]);
    assert.deepEqual(shareOut(120, [{ weight: 8, wanted: 3 }, ...wants.slice(1)]), [3, 87, 29]);
  });
});

describe("nextLimit", () => {
  const rules = { min: 8, max: 1_000, targetMs: 50 };

  test("stays within its bounds, whatever is measured", () => {
    const sample = fc.record({
      tookMs: fc.nat(500),
      inFlight: fc.nat(2_000),
      pauseMs: fc.nat(100),
    });
    fc.assert(
      fc.property(fc.array(sample, { maxLength: 500 }), (samples) => {
        let state = startLimit(rules);
        let nowMs = 0;
        for (const { tookMs, inFlight, pauseMs } of samples) {
          nowMs += pauseMs;
          state = nextLimit(state, { nowMs, tookMs, inFlight }, rules);
          assert.ok(state.limit >= rules.min && state.limit <= rules.max);
        }
      }),
    );
  });

  /** A store that takes `perMs` pushes a millisecond: more in flight only wait longer. */
  function settle(perMs: number, rounds = 3_000): LimitState {
    let state = startLimit(rules);
    let nowMs = 0;
    for (let round = 0; round < rounds; round++) {
      const inFlight = Math.floor(state.limit);
      const tookMs = Math.max(5, inFlight / perMs);
      nowMs += tookMs;
      for (let at = 0; at < inFlight; at++) {
        state = nextLimit(state, { nowMs, tookMs, inFlight }, rules);
      }
    }
    return state;
  }

  test("comes to what the store takes within the target, from either side", () => {
    for (const perMs of [0.5, 2, 10]) {
      const { limit } = settle(perMs);
      assert.ok(limit <= perMs * rules.targetMs * 1.1 + 1, `${limit} at ${perMs}/ms`);
      assert.ok(limit >= perMs * rules.targetMs * 0.7, `${limit} at ${perMs}/ms`);
    }
  });

  test("does not grow where the bound is not what holds back", () => {
    const before = startLimit(rules);
    const sample = { nowMs: 0, tookMs: 1, inFlight: before.limit / 2 };
    assert.deepEqual(nextLimit(before, sample, rules), before);
  });

  test("is lowered once for the answers of one round", () => {
    const start = startLimit(rules);
    const late = { tookMs: 100, inFlight: start.limit };
    const once = nextLimit(start, { ...late, nowMs: 0 }, rules);
    assert.equal(once.limit, start.limit * 0.8);
    assert.equal(nextLimit(once, { ...late, nowMs: 99 }, rules).limit, once.limit);
    assert.ok(nextLimit(once, { ...late, nowMs: 101 }, rules).limit < once.limit);
  });
});
