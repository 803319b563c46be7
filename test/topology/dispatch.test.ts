/** Which edges a client is told, and in which order. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  addressesMax,
  attemptsUntilElsewhere,
  dispatch,
  type EdgeChoice,
  edgeChoice,
  isStaleRecord,
} from "../../topology/dispatch.js";
import { type EdgePolicy, plainPolicy } from "../../topology/edge-policy.js";
import type { NodeRecord } from "../../topology/node-record.js";

const clients = Array.from({ length: 10_000 }, (_, at) => `demo:user-${at}`);

function node(name: string, changes: Partial<NodeRecord> = {}): NodeRecord {
  return {
    v: 1,
    nodeId: `dc1-${name}`,
    incarnation: "i",
    idc: "dc1",
    pid: 1,
    processStart: "1",
    version: "test",
    leaseMs: 3_000,
    startedAtMs: 0,
    edgeUrl: `ws://${name}/connect`,
    ...changes,
  };
}

function choose(nodes: readonly NodeRecord[], policy: Partial<EdgePolicy> = {}): EdgeChoice {
  const all = { ...plainPolicy, ...policy };
  return edgeChoice({ idc: "dc1", policy: all, nodes, isStale: () => false });
}

function firstOf(choice: EdgeChoice, key: string): string | undefined {
  return dispatch(choice, key, 0)[0]?.url;
}

function shares(choice: EdgeChoice): Map<string, number> {
  const counts = new Map<string, number>();
  for (const key of clients) {
    const url = firstOf(choice, key) ?? "none";
    counts.set(url, (counts.get(url) ?? 0) + 1);
  }
  return counts;
}

const abcd = ["a", "b", "c", "d"].map((name) => node(name));

describe("dispatch", () => {
  test("gives the same order to the same client, whatever order the nodes come in", () => {
    for (const key of clients.slice(0, 100)) {
      const told = dispatch(choose(abcd), key, 0);
      assert.deepEqual(told, dispatch(choose([...abcd].reverse()), key, 0));
      assert.equal(new Set(told.map(({ url }) => url)).size, 4);
    }
  });

  test("gives each edge its even share of clients that differ in a number alone", () => {
    for (const [url, count] of shares(choose(abcd))) {
      // Four standard deviations of a fair draw are 173.
      assert.ok(Math.abs(count - 2_500) < 175, `${url} has ${count}`);
    }
  });

  test("gives an edge its share by weight", () => {
    const counts = shares(choose(abcd, { weights: new Map([["dc1-a", 300]]) }));
    const ofA = counts.get("ws://a/connect") ?? 0;
    assert.ok(Math.abs(ofA - 5_000) < 200, `a has ${ofA}`);
  });

  test("sends nobody elsewhere but those of an edge that goes, and back when it is back", () => {
    const [before, without] = [choose(abcd), choose(abcd.slice(1))];
    for (const key of clients) {
      const first = firstOf(before, key);
      if (first === "ws://a/connect") continue;
      assert.equal(firstOf(without, key), first);
    }
  });

  test("makes the alternative of those whose edge goes what was their second", () => {
    const without = choose(abcd.slice(1));
    for (const key of clients.slice(0, 1_000)) {
      const told = dispatch(choose(abcd), key, 0).map(({ url }) => url);
      if (told[0] === "ws://a/connect") assert.equal(firstOf(without, key), told[1]);
    }
  });

  test("varies ports and hosts: a round of all edges, then their other addresses", () => {
    const edgeUrls = ["wss://a:443/c", "wss://a:8443/c", "wss://a.other:443/c"];
    const nodes = [node("a", { edgeUrls }), node("b")];
    const told = dispatch(choose(nodes), "k", 0).map(({ url }) => url);
    assert.deepEqual([...told].sort(), [...edgeUrls, "ws://b/connect"].sort());
    assert.ok(told.indexOf("ws://b/connect") < 2, "b comes in the first round");
    const firsts = new Set(clients.slice(0, 100).map((key) => firstOf(choose(nodes), key)));
    for (const url of edgeUrls) assert.ok(firsts.has(url), `${url} is nobody's first`);
  });

  test("keeps the list bounded", () => {
    const many = Array.from({ length: 50 }, (_, at) => node(`n${at}`));
    assert.equal(dispatch(choose(many), "k", 0).length, addressesMax);
    const edges = Array.from({ length: 16 }, (_, at) => `wss://other/${at}`);
    const choice = choose(many, { others: [{ idc: "dc2", edges }] });
    assert.equal(dispatch(choice, "k", 99).length, addressesMax);
  });

  test("names other datacenters only after enough failures, and keeps own ones between", () => {
    const others = [{ idc: "dc2", edges: ["wss://two/c"] }];
    const choice = choose([...abcd.slice(0, 2), node("x", { idc: "dc3" })], { others });
    const early = dispatch(choice, "k", attemptsUntilElsewhere - 1);
    assert.deepEqual(new Set(early.map(({ idc }) => idc)), new Set(["dc1"]));
    const late = dispatch(choice, "k", attemptsUntilElsewhere).map(({ idc }) => idc);
    assert.equal(late.length, 4);
    assert.deepEqual([late[1], late[3]], ["dc1", "dc1"]);
    assert.deepEqual(new Set(late), new Set(["dc1", "dc2", "dc3"]));
  });

  test("names other datacenters at once where there is no edge here", () => {
    const choice = choose([], { others: [{ idc: "dc2", edges: ["wss://two/c"] }] });
    assert.deepEqual(dispatch(choice, "k", 0), [{ url: "wss://two/c", idc: "dc2" }]);
    assert.deepEqual(dispatch(choose([]), "k", 0), []);
  });
});

describe("edgeChoice", () => {
  const ids = (choice: EdgeChoice) => choice.own.map(({ id }) => id).sort();

  test("leaves out who is in drain, stopping, stale, or has weight 0", () => {
    const nodes = [...abcd, node("e"), node("f", { isEdgeClosed: true })];
    const policy = {
      ...plainPolicy,
      draining: new Map([["dc1-a", 500]]),
      weights: new Map([["dc1-b", 0]]),
    };
    const isStale = ({ nodeId }: NodeRecord) => nodeId === "dc1-c";
    const choice = edgeChoice({ idc: "dc1", policy, nodes, isStale });
    assert.deepEqual(ids(choice), ["dc1-d", "dc1-e"]);
  });

  test("tells of who is in drain while there is nobody else, and of nobody who stops", () => {
    const draining = new Map(abcd.map(({ nodeId }) => [nodeId, 500]));
    const stopping = node("e", { isEdgeClosed: true });
    const urlsOf = (choice: EdgeChoice) => dispatch(choice, "k", 0).map(({ url }) => url);
    const all = urlsOf(choose([...abcd, stopping], { draining }));
    assert.deepEqual([...all].sort(), abcd.map(({ edgeUrl }) => edgeUrl).sort());
    assert.deepEqual(urlsOf(choose([...abcd, node("f")], { draining })), ["ws://f/connect"]);
    const others = [{ idc: "dc2", edges: ["wss://two/c"] }];
    assert.deepEqual(urlsOf(choose(abcd, { draining, others })), ["wss://two/c"]);
  });

  test("leaves out who is unwell as long as somebody is well", () => {
    const ill = node("a", { unwell: "lags" });
    assert.deepEqual(ids(choose([ill, node("b")])), ["dc1-b"]);
    assert.deepEqual(ids(choose([ill])), ["dc1-a"]);
    assert.deepEqual(ids(choose([ill, node("x", { idc: "dc2" })])), ["dc1-a"]);
  });
});

describe("isStaleRecord", () => {
  test("is of a record that has not changed for longer than its lease and the margin", () => {
    const seen = { revision: 1, sinceMs: 1_000 };
    assert.equal(isStaleRecord(node("a"), seen, 5_000, 1_000), false);
    assert.equal(isStaleRecord(node("a"), seen, 5_001, 1_000), true);
    assert.equal(isStaleRecord(node("a"), undefined, 0, 1_000), true);
  });
});
