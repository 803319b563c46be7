/** What operators say about the edges: changes, their bounds, and the record they stand in. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  decodeEdgePolicy,
  type EdgePolicy,
  encodeEdgePolicy,
  isDispatcherUrl,
  isEdgeUrl,
  namedEdgesMax,
  otherIdcsMax,
  plainPolicy,
  withAway,
  withEdgeDrain,
  withHeartbeat,
  withOther,
  withoutOther,
  withWeight,
} from "../../topology/edge-policy.js";

const dc2 = { idc: "dc2", dispatcher: "https://two/edges", edges: ["wss://two/connect"] };

function made(changed: ReturnType<typeof withWeight>): EdgePolicy {
  assert.ok(changed.ok, JSON.stringify(changed));
  return changed.value;
}

const codeOf = (changed: ReturnType<typeof withWeight>) => (changed.ok ? "ok" : changed.code);

describe("edge policy", () => {
  test("comes back from its record as it was", () => {
    let policy = made(withWeight(plainPolicy, "dc1-a", 0));
    policy = made(withEdgeDrain(policy, "dc1-b", 250));
    policy = made(withAway(made(withOther(policy, dc2)), "dc2"));
    policy = made(withHeartbeat(policy, { minMs: 20_000, maxMs: 60_000 }));
    assert.deepEqual(decodeEdgePolicy(encodeEdgePolicy(policy)), policy);
    assert.deepEqual(decodeEdgePolicy(encodeEdgePolicy(plainPolicy)), plainPolicy);
  });

  test("bounds heartbeats as operators say, and no more once they say nothing", () => {
    const bound = made(withHeartbeat(plainPolicy, { maxMs: 60_000 }));
    assert.deepEqual(bound.heartbeat, { maxMs: 60_000 });
    assert.deepEqual(made(withHeartbeat(bound, {})), plainPolicy);
    assert.equal(codeOf(withHeartbeat(bound, { minMs: 2_000, maxMs: 1_000 })), "BAD_COMMAND");
    const record = { v: 1, weights: {}, draining: {}, others: [] };
    for (const [stored, read] of [
      [{ minMs: 5_000, maxMs: "x" }, { minMs: 5_000 }],
      [{ minMs: 1 }, {}],
      ["fast", undefined],
    ] as const) {
      const bytes = new TextEncoder().encode(JSON.stringify({ ...record, heartbeat: stored }));
      assert.deepEqual(decodeEdgePolicy(bytes)?.heartbeat, read);
    }
  });

  test("forgets a plain weight, a drain that is over, another datacenter that is taken back", () => {
    const weighed = made(withWeight(plainPolicy, "dc1-a", 5));
    assert.deepEqual(made(withWeight(weighed, "dc1-a", 100)), plainPolicy);
    const draining = made(withEdgeDrain(plainPolicy, "dc1-a", 5));
    assert.deepEqual(made(withEdgeDrain(draining, "dc1-a", undefined)), plainPolicy);
    assert.deepEqual(made(withoutOther(made(withOther(plainPolicy, dc2)), "dc2")), plainPolicy);
  });

  test("sends clients only to where a dispatcher is known, and keeps that one meanwhile", () => {
    assert.equal(codeOf(withAway(plainPolicy, "dc2")), "NOT_FOUND");
    const silent = made(withOther(plainPolicy, { idc: "dc2", edges: dc2.edges }));
    assert.equal(codeOf(withAway(silent, "dc2")), "BAD_COMMAND");
    const away = made(withAway(made(withOther(silent, dc2)), "dc2"));
    assert.equal(codeOf(withoutOther(away, "dc2")), "BAD_COMMAND");
    assert.equal(made(withAway(away, undefined)).awayTo, undefined);
    assert.equal(codeOf(withoutOther(plainPolicy, "dc9")), "NOT_FOUND");
  });

  test("keeps its lists bounded", () => {
    let policy = plainPolicy;
    for (let at = 0; at < namedEdgesMax; at++) {
      policy = made(withEdgeDrain(made(withWeight(policy, `n${at}`, 1)), `n${at}`, 1));
    }
    assert.equal(codeOf(withWeight(policy, "one-more", 1)), "BAD_COMMAND");
    assert.equal(codeOf(withEdgeDrain(policy, "one-more", 1)), "BAD_COMMAND");
    assert.equal(codeOf(withWeight(policy, "n1", 2)), "ok");
    for (let at = 0; at < otherIdcsMax; at++) {
      policy = made(withOther(policy, { idc: `x${at}`, edges: [] }));
    }
    assert.equal(codeOf(withOther(policy, dc2)), "BAD_COMMAND");
  });

  test("reads nothing from noise, another version, or values out of range", () => {
    const good = { v: 1, weights: {}, draining: {}, others: [] };
    const bad = [
      "noise",
      { ...good, v: 2 },
      { ...good, weights: { a: 1_001 } },
      { ...good, draining: { a: 0 } },
      { ...good, others: [{ idc: "dc2", edges: ["http://two"] }] },
      { ...good, others: [{ idc: "DC 2", edges: [] }] },
      { ...good, others: [{ ...dc2, dispatcher: "ws://two" }] },
      { ...good, awayTo: 2 },
    ];
    const bytesOf = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
    assert.deepEqual(decodeEdgePolicy(bytesOf(good)), plainPolicy);
    for (const value of bad) assert.equal(decodeEdgePolicy(bytesOf(value)), undefined);
  });

  test("knows an edge's address, also of IPv6, from what is none", () => {
    for (const url of ["ws://[::1]:8080/connect", "wss://push.example.com/connect?x=1"]) {
      assert.ok(isEdgeUrl(url), url);
    }
    const none = ["http://a/", "ws://", "ws://::1:8080/c", "ws://user@a/", "ws://a/#b", 5, ""];
    for (const url of none) assert.equal(isEdgeUrl(url), false, String(url));
    assert.ok(isDispatcherUrl("https://[2001:db8::1]/edges"));
    assert.equal(isDispatcherUrl("wss://a/"), false);
  });
});
