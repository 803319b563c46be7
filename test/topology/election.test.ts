/** When the holder of a lease counts as gone. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeLeader, encodeLeader, goneReason } from "../../topology/election.js";

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
