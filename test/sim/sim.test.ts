/** A few dozen seeds of the simulator, and the proof that its checkers can fail. */
import { equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import { breakages } from "./breakages.js";
import { runSeed } from "./run-seed.js";
import { Violation } from "./world.js";

const seeds = 16;
const runsMs = 120_000;

describe("the actors under faults on virtual time", () => {
  test(`keep every invariant on ${seeds} seeds`, { timeout: runsMs }, async () => {
    for (let seed = 1; seed <= seeds; seed++) {
      const { failure } = await runSeed({ seed });
      equal(failure?.message, undefined, `make sim SEED=${seed}`);
    }
  });

  test("do the same things in two runs of a seed", { timeout: runsMs }, async () => {
    for (const seed of [3, 14, 25]) {
      const [once, again] = [await runSeed({ seed }), await runSeed({ seed })];
      equal(once.hash, again.hash);
      ok(once.events > 1_000);
    }
  });

  test("do other things in another seed", { timeout: runsMs }, async () => {
    const [one, other] = [await runSeed({ seed: 1 }), await runSeed({ seed: 2 })];
    ok(one.hash !== other.hash);
  });
});

describe("the simulator's checkers", () => {
  for (const breakage of breakages) {
    const { name, invariants, seedsMax, firstSeed = 1 } = breakage;
    const lastSeed = firstSeed + seedsMax - 1;
    test(`catch ${name} in seeds ${firstSeed} to ${lastSeed}`, { timeout: runsMs }, async () => {
      for (let seed = firstSeed; seed <= lastSeed; seed++) {
        const { failure } = await runSeed({ seed, breakage });
        if (failure === undefined) continue;
        ok(failure instanceof Violation, `${failure.stack}`);
        ok(invariants.includes(failure.invariant), failure.message);
        return;
      }
      ok(false, "not seen");
    });
  }
});
