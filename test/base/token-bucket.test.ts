import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { BucketTable } from "../../src/base/bucket-table.js";
import { taken, waitMs } from "../../src/base/token-bucket.js";

const rate = fc.record({
  perSecond: fc.double({ min: 0.01, max: 100_000, noNaN: true }),
  burst: fc.double({ min: 1, max: 10_000, noNaN: true }),
});
const pauses = fc.array(fc.double({ min: 0, max: 5_000, noNaN: true }), { maxLength: 300 });

describe("a token bucket", () => {
  test("lets through at most its burst and what its rate gives meanwhile", () => {
    fc.assert(
      fc.property(rate, pauses, (given, waits) => {
        let nowMs = 1;
        let fullAtMs = 0;
        let passed = 0;
        for (const pauseMs of waits) {
          nowMs += pauseMs;
          if (waitMs(fullAtMs, given, nowMs) > 0) continue;
          fullAtMs = taken(fullAtMs, given, nowMs);
          passed++;
        }
        const most = given.burst + (given.perSecond * (nowMs - 1)) / 1_000;
        assert.ok(passed <= most + 1e-3, `${passed} of at most ${most}`);
      }),
    );
  });

  test("lets the next one through after exactly the wait that it names", () => {
    fc.assert(
      fc.property(rate, fc.integer({ min: 1, max: 200 }), (given, count) => {
        let fullAtMs = 0;
        for (let at = 0; at < count; at++) fullAtMs = taken(fullAtMs, given, 1_000);
        const wait = waitMs(fullAtMs, given, 1_000);
        assert.equal(waitMs(fullAtMs, given, 1_000 + wait), 0);
        if (wait > 0.01) assert.ok(waitMs(fullAtMs, given, 1_000 + wait * 0.9) > 0);
      }),
    );
  });

  test("with a rate of 0 lets nothing through", () => {
    assert.equal(waitMs(0, { perSecond: 0, burst: 1 }, 1_000), Number.POSITIVE_INFINITY);
  });
});

describe("a table of token buckets", () => {
  const slow = { perSecond: 1, burst: 2 };
  const pass = (table: BucketTable, key: string, nowMs: number) => {
    if (table.waitMs(key, slow, nowMs) > 0) return false;
    table.take(key, slow, nowMs);
    return true;
  };

  test("never refuses a key for what others took, however many they are", () => {
    const table = new BucketTable(64);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 500 }), (keys) => {
        for (const key of keys) {
          for (let taken = 0; taken < 2; taken++) pass(table, `busy-${key}`, 1_000);
        }
        const fresh = `fresh-${keys.length}-${keys.join()}`;
        assert.equal(table.waitMs(fresh, slow, 1_000), 0);
      }),
      { numRuns: 50 },
    );
  });

  test("when it is full still holds back whoever takes most", () => {
    const table = new BucketTable(64);
    let passed = 0;
    for (let round = 0; round < 2_000; round++) {
      if (pass(table, "flood", 1_000)) passed++;
      pass(table, `user-${round}`, 1_000);
    }
    assert.equal(passed, 2);
  });

  test("counts each key on its own while there is room", () => {
    const table = new BucketTable(4_096);
    for (let round = 0; round < 2; round++) {
      for (let user = 0; user < 1_000; user++) assert.ok(pass(table, `user-${user}`, 1_000));
    }
    const refused = Array.from({ length: 1_000 }, (_, user) => pass(table, `user-${user}`, 1_000));
    assert.ok(refused.filter((isPassed) => isPassed).length < 10);
    assert.ok(pass(table, "user-1", 2_001));
    assert.equal(table.places, 4_096);
  });
});
