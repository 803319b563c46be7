/** When the holder of a lease counts as gone. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeLeader, encodeLeader, goneReason, isSucceeded } from "../../topology/election.js";

const rule = { leaseMs: 3_000, marginMs: 1_000, silenceMs: 300 };

describe("goneReason", () => {
  test("waits for the lease and its margin", () => {
    const sighting = { revision: 1, sinceMs: 0 };
    assert.equal(goneReason(sighting, 3_999, rule), undefined);
    assert.equal(goneReason(sighting, 4_000, rule), "lease ran out");
  });

  test("does not wait for one whose inbox has no responders, but for a moment", () => {
    const sighting = { revision: 1, sinceMs: 1_000, silentSinceMs: 1_100 };
    assert.equal(goneReason(sighting, 1_399, rule), undefined);
    assert.equal(goneReason(sighting, 1_400, rule), "no responders");
  });
});

describe("isSucceeded", () => {
  const self = { nodeId: "dc1-a", incarnation: "a1" };
  const nodes = new Map([["dc1-b", { nodeId: "dc1-b", incarnation: "b2" }]]);

  test("is true of a leader whose node goes on as another incarnation, oneself included", () => {
    assert.equal(isSucceeded({ nodeId: "dc1-b", incarnation: "b1" }, nodes, self), true);
    assert.equal(isSucceeded({ nodeId: "dc1-a", incarnation: "a0" }, nodes, self), true);
  });

  test("is not true of one that is there, nor of one that has no record", () => {
    assert.equal(isSucceeded({ nodeId: "dc1-b", incarnation: "b2" }, nodes, self), false);
    assert.equal(isSucceeded(self, nodes, self), false);
    assert.equal(isSucceeded({ nodeId: "dc1-c", incarnation: "c1" }, nodes, self), false);
  });
});

describe("the leader's record", () => {
  test("survives the round trip, and garbage is refused", () => {
    const record = { nodeId: "dc1-a", incarnation: "x", epoch: 3, leaseMs: 3_000 };
    const decoded = decodeLeader(encodeLeader(record));
    assert.deepEqual(decoded, { ok: true, value: { v: 1, ...record } });
    for (const bytes of [new Uint8Array(0), Uint8Array.of(0xc1), Uint8Array.of(0x80)]) {
      assert.equal(decodeLeader(bytes).ok, false);
    }
  });
});
