/** When something counts as unwell, as properties over many courses of probes. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Health, judge, wellFromTheStart } from "../../topology/health.js";

const limits = { badProbesMax: 3, goodProbesMin: 5, unwellMs: 10_000, unwellMsMax: 60_000 };
const everyMs = 1_000;

/** One probe a second; true is a bad one. Returns what stood after each. */
function follow(probes: readonly boolean[], from: Health = wellFromTheStart): Health[] {
  let health = from;
  return probes.map((isBad, at) => {
    health = judge(health, isBad ? `bad ${at}` : undefined, at * everyMs, limits);
    return health;
  });
}

const probes = fc.array(fc.boolean(), { maxLength: 300 });
const repeated = (isBad: boolean, count: number) => Array.from({ length: count }, () => isBad);

describe("judge", () => {
  test("becomes unwell with the last of so many bad probes in a row, and not before", () => {
    fc.assert(
      fc.property(probes, (course) => {
        const states = follow(course);
        for (const [at, { reason }] of states.entries()) {
          const wasUnwell = states[at - 1]?.reason !== undefined;
          if (wasUnwell) continue;
          const lastOnes = course.slice(Math.max(0, at + 1 - limits.badProbesMax), at + 1);
          const isDue = lastOnes.length === limits.badProbesMax && lastOnes.every(Boolean);
          // Probes from before the last recovery count for nothing.
          if (reason !== undefined) assert.ok(isDue);
        }
      }),
    );
    assert.equal(follow(repeated(true, 3)).at(-1)?.reason, "bad 2");
    assert.equal(follow(repeated(true, 2)).at(-1)?.reason, undefined);
  });

  test("is well again only after its time, and so many good probes in a row", () => {
    fc.assert(
      fc.property(probes, (course) => {
        const states = follow(course);
        let sinceMs = 0;
        for (const [at, { reason }] of states.entries()) {
          const before = states[at - 1]?.reason;
          if (before === undefined && reason !== undefined) sinceMs = at * everyMs;
          if (before === undefined || reason !== undefined) continue;
          assert.ok(at * everyMs - sinceMs >= limits.unwellMs);
          assert.ok(!course.slice(at + 1 - limits.goodProbesMin, at + 1).some(Boolean));
        }
      }),
    );
  });

  test("keeps its first reason", () => {
    const states = follow(repeated(true, 20));
    assert.deepEqual([...new Set(states.slice(2).map(({ reason }) => reason))], ["bad 2"]);
  });

  test("changes its mind less and less often over what is bad half of the time", () => {
    const course = Array.from({ length: 2_000 }, (_, at) => at % 20 < 5);
    const turns = follow(course).flatMap(({ reason }, at, all) =>
      reason !== undefined && all[at - 1]?.reason === undefined ? [at] : [],
    );
    const gaps = turns.slice(1).map((at, index) => at - (turns[index] ?? 0));
    assert.ok(turns.length < 2_000 / 50, `${turns.length} times unwell`);
    assert.ok((gaps.at(-1) ?? 0) * everyMs >= limits.unwellMsMax);
  });

  test("forgets its relapses after a long time of health", () => {
    const ill = repeated(true, 3);
    const once = follow([...ill, ...repeated(false, 20), ...ill]).at(-1);
    assert.equal(once?.unwellMs, 2 * limits.unwellMs);
    const later = follow([...ill, ...repeated(false, 100), ...ill]).at(-1);
    assert.equal(later?.unwellMs, limits.unwellMs);
  });
});
