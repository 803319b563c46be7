import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Ring } from "../../src/base/ring.js";

describe("a ring", () => {
  it("behaves as a bounded array does, whatever is done to it", () => {
    const action = fc.oneof(
      fc.record({ type: fc.constant("push" as const), value: fc.nat() }),
      fc.record({ type: fc.constantFrom("shift" as const, "shift" as const) }),
      fc.record({ type: fc.constant("clear" as const) }),
    );
    fc.assert(
      fc.property(fc.nat(40), fc.array(action, { maxLength: 200 }), (max, actions) => {
        const ring = new Ring<number>(max, 2);
        const model: number[] = [];
        for (const act of actions) {
          if (act.type === "push") {
            const fits = model.length < max;
            if (fits) model.push(act.value);
            assert.equal(ring.push(act.value), fits);
          } else if (act.type === "shift") {
            assert.equal(ring.shift(), model.shift());
          } else if (model.length > 20) {
            ring.clear();
            model.length = 0;
          }
          assert.equal(ring.size, model.length);
          for (let at = -1; at <= model.length; at++) assert.equal(ring.at(at), model[at]);
        }
      }),
      { numRuns: 300, seed: 1 },
    );
  });
});
