/** Whom an edge lets in, rule by rule and in their order; and who a client is behind proxies. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AddressRanges } from "../../src/base/address-ranges.js";
import type { Rate } from "../../src/base/token-bucket.js";
import { addressHolder, clientAddress } from "../../topology/client-address.js";
import {
  type EdgeFacts,
  type EdgeRules,
  edgeRefusals,
  lineSeconds,
  placeInLine,
  refusalOf,
} from "../../topology/edge-admission.js";

function ranges(list: string): AddressRanges {
  const parsed = AddressRanges.parse(list);
  assert.ok(parsed !== undefined);
  return parsed;
}

const nowMs = 50_000;
const good: EdgeFacts = {
  ...{ connections: 9, fullAtMs: 0, nowMs, address: "192.0.2.7", connectionsOfAddress: 1 },
  ...{ origin: "https://app.example.com", letInPercent: 50, draw: 49.9, lagMs: 20 },
};
const rules: EdgeRules = {
  ...{ connectionsMax: 10, accepts: { perSecond: 10, burst: 2 }, lagMaxMs: 20 },
  acceptWaitMsMax: 300,
  ...{ allow: ranges("192.0.2.0/24"), deny: ranges("192.0.2.66") },
  ...{ connectionsPerAddressMax: 2, origins: new Set(["https://app.example.com"]) },
};

describe("an edge", () => {
  test("lets in whom no rule refuses, at the very bounds", () => {
    assert.equal(refusalOf(good, rules), undefined);
    assert.equal(refusalOf({ ...good, fullAtMs: nowMs + 400 }, rules), undefined);
    assert.equal(refusalOf({ ...good, origin: undefined }, rules), undefined);
    assert.equal(refusalOf({ ...good, origin: "HTTPS://App.Example.com" }, rules), undefined);
    assert.equal(refusalOf({ ...good, letInPercent: 100, draw: 0 }, rules), undefined);
  });

  const each: readonly (readonly [keyof typeof edgeRefusals, Partial<EdgeFacts>])[] = [
    ["full", { connections: 10 }],
    ["rate", { fullAtMs: nowMs + 401 }],
    ["address", { address: "192.0.2.66" }],
    ["address", { address: "192.0.3.1" }],
    ["address", { address: "" }],
    ["perAddress", { connectionsOfAddress: 2 }],
    ["origin", { origin: "https://evil.example.com" }],
    ["origin", { origin: "null" }],
    ["letIn", { draw: 50 }],
    ["letIn", { letInPercent: 0, draw: 0 }],
    ["lag", { lagMs: 20.1 }],
  ];
  for (const [refusal, facts] of each) {
    test(`refuses for ${refusal}: ${JSON.stringify(facts)}`, () => {
      assert.equal(refusalOf({ ...good, ...facts }, rules), refusal);
    });
  }

  test("asks its rules in their order", () => {
    let facts = good;
    const order: string[] = [];
    for (const [refusal, bad] of [...each].reverse()) {
      facts = { ...facts, ...bad };
      assert.equal(refusalOf(facts, rules), refusal);
      if (order[0] !== refusal) order.unshift(refusal);
    }
    assert.deepEqual(order, Object.keys(edgeRefusals));
  });

  test("without rules of access lets anybody in", () => {
    const { connectionsMax, accepts, acceptWaitMsMax, lagMaxMs } = rules;
    const facts = { ...good, address: "", origin: "null", connectionsOfAddress: 1_000 };
    const bare = { connectionsMax, accepts, acceptWaitMsMax, lagMaxMs };
    assert.equal(refusalOf(facts, bare), undefined);
  });

  test("tells with each 503 and 429 when to come back", () => {
    for (const refusal of Object.values(edgeRefusals)) {
      const isForNow = refusal.status !== 403;
      assert.equal("retryAfterSeconds" in refusal, isForNow);
    }
  });
});

describe("the line for an edge's rate", () => {
  /** Comes by a seed's pauses and bursts; tells who waited how long, and who was refused. */
  function comeInto(seed: number, accepts: Rate, acceptWaitMsMax: number) {
    const random = seeded(seed);
    let fullAtMs = 0;
    let atMs = 1_000;
    const dueMs: number[] = [];
    const waitsMs: number[] = [];
    let refused = 0;
    for (let count = 0; count < 2_000; count++) {
      atMs += random() < 0.02 ? random() * 2_000 : random() < 0.5 ? 0 : random() * 5;
      const facts = { ...good, nowMs: atMs, fullAtMs };
      if (refusalOf(facts, { ...rules, accepts, acceptWaitMsMax }) === "rate") {
        refused++;
        continue;
      }
      const place = placeInLine(fullAtMs, accepts, atMs);
      fullAtMs = place.fullAtMs;
      dueMs.push(atMs + place.waitMs);
      waitsMs.push(place.waitMs);
    }
    return { dueMs, waitsMs, refused };
  }

  for (let seed = 1; seed <= 20; seed++) {
    const accepts = { perSecond: 50 + seed * 40, burst: 1 + ((seed * 7) % 60) };
    const waitMsMax = seed % 4 === 0 ? 0 : seed * 100;
    test(`in no time holds more than rate and burst, keeps the order, and is no longer than its bound: seed ${seed}`, () => {
      const { dueMs, waitsMs, refused } = comeInto(seed, accepts, waitMsMax);
      const isLater = (at: number) => at === 0 || (dueMs[at] ?? 0) >= (dueMs[at - 1] ?? 0) - 1e-6;
      assert.ok(
        dueMs.every((_, at) => isLater(at)),
        "in the order of arrival",
      );
      assert.ok(waitsMs.every((waitMs) => waitMs <= waitMsMax));
      assert.ok(refused > 0 || waitMsMax > 0);
      for (let first = 0; first < dueMs.length; first++) {
        for (const size of [accepts.burst, accepts.burst + 1, accepts.burst + 25]) {
          const last = dueMs[first + size];
          if (last === undefined) continue;
          // One more than the burst needs a step of time, and each further one another.
          const leastMs = ((size + 1 - accepts.burst) * 1_000) / accepts.perSecond;
          assert.ok(last - (dueMs[first] ?? 0) >= leastMs - 1e-6, `${first} and ${size} more`);
        }
      }
    });
  }

  test("tells whom it has no time for when it will be through", () => {
    const accepts = { perSecond: 10, burst: 2 };
    assert.equal(lineSeconds(0, accepts, nowMs), 1);
    assert.equal(lineSeconds(nowMs + 1_100, accepts, nowMs), 1);
    assert.equal(lineSeconds(nowMs + 1_200, accepts, nowMs), 2);
    assert.equal(lineSeconds(nowMs + 4_100, accepts, nowMs), 4);
  });
});

/** Of 0 to under 1 (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe("who is counted for an address", () => {
  const cases: readonly (readonly [address: string, holder: string])[] = [
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::ffff:c000:201", "192.0.2.1"],
    ["64:ff9b::192.0.2.1", "192.0.2.1"],
    ["2001:db8::1", "20010db800000000/64"],
    ["2001:db8:0:0:ffff:ffff:ffff:ffff", "20010db800000000/64"],
    ["2001:db8:0:1::", "20010db800000001/64"],
    ["fe80::1%eth0", "fe80000000000000/64"],
    ["::1", "0/64"],
    ["", ""],
    ["nonsense:", "nonsense:"],
  ];
  for (const [address, holder] of cases) {
    test(`${address} is ${holder}`, () => assert.equal(addressHolder(address), holder));
  }
});

describe("a client's address", () => {
  const trusted = ranges("10.0.0.0/8, fd00::/8");
  const cases: readonly (readonly [remote: string, header: string | undefined, client: string])[] =
    [
      ["192.0.2.1", undefined, "192.0.2.1"],
      ["192.0.2.1", "203.0.113.9", "192.0.2.1"],
      ["10.0.0.1", undefined, "10.0.0.1"],
      ["10.0.0.1", "203.0.113.9", "203.0.113.9"],
      ["::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"],
      ["10.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"],
      ["10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", "203.0.113.9"],
      ["10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
      ["10.0.0.1", "unknown", "10.0.0.1"],
      ["10.0.0.1", "1.2.3.4, unknown, 10.0.0.2", "10.0.0.2"],
      ["10.0.0.1", "", "10.0.0.1"],
      ["10.0.0.1", "1.2.3.4,", "10.0.0.1"],
      ["fd00::1", "[2001:db8::5]:4711", "2001:db8::5"],
      ["fd00::1", "2001:db8::5", "2001:db8::5"],
      ["10.0.0.1", "203.0.113.9:4711", "203.0.113.9"],
      ["", "203.0.113.9", ""],
    ];
  for (const [remote, header, client] of cases) {
    test(`${remote} that says ${header} is ${client}`, () => {
      assert.equal(clientAddress(remote, header, trusted), client);
    });
  }

  test("is the socket's where nobody is trusted", () => {
    assert.equal(clientAddress("10.0.0.1", "203.0.113.9", undefined), "10.0.0.1");
  });

  test("is found in a bounded part of a list that has no end", () => {
    const header = `203.0.113.9, ${Array.from({ length: 1_000 }, () => "10.0.0.2").join(", ")}`;
    assert.equal(clientAddress("10.0.0.1", header, trusted), "10.0.0.2");
  });
});
