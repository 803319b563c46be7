/** What is granted to a client that says what is around it, and how long it may be silent. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { ClientSurroundings } from "../../src/protocol/client-surroundings.js";
import { grantedHeartbeatMs, type HeartbeatRules, putOffMs } from "../../topology/heartbeat.js";

const rules: HeartbeatRules = {
  plainMs: 30_000,
  networkMs: { wifi: 120_000, cellular: 240_000, ethernet: 60_000 },
  frontMs: 60_000,
  bounds: { minMs: 15_000, maxMs: 300_000 },
};

describe("a granted heartbeat", () => {
  const cases: readonly (readonly [string, ClientSurroundings, number])[] = [
    ["is the edge's own for who says nothing", {}, 30_000],
    [
      "also where it says that nobody looks, and not by which network",
      { app: "background" },
      30_000,
    ],
    ["is minutes by wifi while nobody looks", { network: "wifi", app: "background" }, 120_000],
    ["is longest where each wakes a radio", { network: "cellular", app: "background" }, 240_000],
    ["is a minute while somebody looks", { network: "cellular", app: "front" }, 60_000],
    ["takes who does not say for looked at", { network: "wifi" }, 60_000],
    ["is what is asked for", { network: "wifi", heartbeatMs: 240_000, app: "front" }, 240_000],
    ["is the longest for who asks for more", { heartbeatMs: 2 ** 53 - 1 }, 300_000],
    ["is the least for who asks for less", { heartbeatMs: 0 }, 15_000],
  ];
  for (const [what, said, wanted] of cases) {
    test(what, () => assert.equal(grantedHeartbeatMs(said, rules), wanted));
  }

  const ms = fc.integer({ min: 1_000, max: 3_600_000 });
  const anyRules = fc.record({
    plainMs: ms,
    networkMs: fc.record({ wifi: ms, cellular: ms, ethernet: ms }),
    frontMs: ms,
    bounds: fc.tuple(ms, ms).map(([a, b]) => ({ minMs: Math.min(a, b), maxMs: Math.max(a, b) })),
  });
  const network = fc.constantFrom("wifi", "cellular", "ethernet");
  const anySaid = fc.record(
    { network, heartbeatMs: fc.maxSafeNat(), app: fc.constantFrom("front", "background") },
    { requiredKeys: [] },
  ) as fc.Arbitrary<ClientSurroundings>;

  test("lies within the bounds, is the wish where that does, and grows when nobody looks", () => {
    fc.assert(
      fc.property(anySaid, anyRules, (said, some) => {
        const { minMs, maxMs } = some.bounds;
        const granted = grantedHeartbeatMs(said, some);
        assert.ok(granted >= minMs && granted <= maxMs);
        // Asking for what was granted gives it again: no client and edge go on for ever.
        assert.equal(grantedHeartbeatMs({ ...said, heartbeatMs: granted }, some), granted);
        const { heartbeatMs } = said;
        if (heartbeatMs !== undefined && heartbeatMs >= minMs && heartbeatMs <= maxMs) {
          assert.equal(granted, heartbeatMs);
        }
        const front = grantedHeartbeatMs({ ...said, app: "front" }, some);
        assert.ok(grantedHeartbeatMs({ ...said, app: "background" }, some) >= front);
      }),
    );
  });
});

test("a second is put off for each KiB that moved, for one frame's length at most", () => {
  const max = 64 * 1_024;
  assert.deepEqual(
    [-5, 0, 512, 1_024].map((bytes) => putOffMs(bytes, max)),
    [0, 0, 500, 1_000],
  );
  assert.deepEqual(
    [max, max + 1, 2 ** 32].map((bytes) => putOffMs(bytes, max)),
    [64_000, 64_000, 64_000],
  );
});
