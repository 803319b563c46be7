import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { StringPool } from "../../src/base/string-pool.js";

describe("a string pool", () => {
  it("gives an equal string, whatever went through it before", () => {
    const pool = new StringPool(100);
    const text = fc.oneof(
      fc.string({ maxLength: 120 }),
      fc.string({ unit: "binary", maxLength: 60 }),
      fc.nat(3_000).map((n) => `demo.user-${n}`),
    );
    fc.assert(
      fc.property(text, (whole) => {
        const cut = `<${whole}>`.slice(1, -1);
        assert.equal(pool.own(cut), whole);
      }),
      { numRuns: 5_000, seed: 1 },
    );
  });
});
