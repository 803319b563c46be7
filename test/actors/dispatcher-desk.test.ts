/** What operators say about the edges, as each node's view and dispatcher come to know it. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { edgeSwitchKey, encodeEdgeSwitch } from "../../src/protocol/edge-switch.js";
import { drainRate, edgePolicyKey } from "../../topology/edge-policy.js";
import { PlacementBench } from "../support/placement-bench.js";

async function start(names: readonly string[]) {
  const bench = new PlacementBench();
  for (const name of names) bench.addNode(name);
  const nodes = [...bench.nodes.values()];
  await bench.until("all see all", async () =>
    nodes.every(({ view }) => view.nodes.size === names.length),
  );
  return { bench, nodes };
}

// biome-ignore lint/suspicious/noExplicitAny: a test reads whatever is in the answer.
async function answered(bench: PlacementBench, request: any, to?: any): Promise<any> {
  const answer = await bench.operate(request, to);
  assert.ok(answer.ok, JSON.stringify(answer));
  return answer.value;
}

async function codeOf(bench: PlacementBench, request: object): Promise<string> {
  // biome-ignore lint/suspicious/noExplicitAny: what no type allows, too.
  const answer = await bench.operate(request as any);
  return answer.ok ? "ok" : answer.code;
}

describe("the edges' desk", () => {
  test("any node takes an order, and all follow it", async () => {
    const { bench, nodes } = await start(["a", "b"]);
    for (const [at, request] of [
      { kind: "edge-weigh", node: "dc1-a", weight: 50 },
      { kind: "edge-drain", node: "dc1-a" },
      { kind: "edges-other", idc: "dc2", edges: [], dispatcher: "https://two/edges" },
      { kind: "edges-away", idc: "dc2" },
    ].entries()) {
      const to = nodes[at % 2];
      assert.deepEqual(await answered(bench, request, to), { changed: true });
    }
    await bench.bucket.create(edgeSwitchKey, encodeEdgeSwitch({ letInPercent: 25 }));
    await bench.until("all know", async () =>
      nodes.every(({ view }) => view.edgePolicy.awayTo === "dc2" && view.letInPercent === 25),
    );
    for (const { view } of nodes) {
      assert.deepEqual([...view.edgePolicy.weights], [["dc1-a", 50]]);
      assert.deepEqual([...view.edgePolicy.draining], [["dc1-a", drainRate.plain]]);
    }
    const value = await answered(bench, { kind: "edges" });
    assert.deepEqual([value.letInPercent, value.awayTo, value.others[0].idc], [25, "dc2", "dc2"]);
    assert.deepEqual(
      // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever is in the answer.
      value.edges.map((edge: any) => [edge.nodeId, edge.weight, edge.drainPerSecond]).sort(),
      [
        ["dc1-a", 50, drainRate.plain],
        ["dc1-b", 100, null],
      ],
    );
    const told = await answered(bench, { kind: "edges-told", key: "k", attempt: 0 });
    assert.deepEqual([told.edges.length, told.letIn], [1, 0.25]);
    await answered(bench, { kind: "edge-undrain", node: "dc1-a" });
    for (const again of [
      { kind: "edge-undrain", node: "dc1-a" },
      { kind: "edge-weigh", node: "dc1-a", weight: 50 },
      { kind: "edge-weigh", node: "dc1-b", weight: 100 },
    ]) {
      assert.deepEqual(await answered(bench, again), { changed: false });
    }
    await answered(bench, { kind: "edges-away" });
    await answered(bench, { kind: "edges-forget", idc: "dc2" });
    await bench.until("all know", async () =>
      nodes.every(({ view }) => view.edgePolicy.others.length === 0),
    );
    assert.deepEqual(bench.crashes, []);
  });

  test("refuses what makes no sense, by its code", async () => {
    const { bench } = await start(["a", "b"]);
    for (const [request, code] of [
      [{ kind: "edge-weigh", node: "dc1-a", weight: 1_001 }, "BAD_COMMAND"],
      [{ kind: "edge-weigh", node: "dc1/a", weight: 1 }, "BAD_COMMAND"],
      [{ kind: "edge-weigh", node: "dc1-q", weight: 1 }, "NOT_FOUND"],
      [{ kind: "edge-drain", node: "dc1-a", perSecond: 0 }, "BAD_COMMAND"],
      [{ kind: "edge-drain", node: "dc1-q" }, "NOT_FOUND"],
      [{ kind: "edges-other", idc: "dc1", edges: [] }, "BAD_COMMAND"],
      [{ kind: "edges-other", idc: "dc2", edges: ["http://two"] }, "BAD_COMMAND"],
      [{ kind: "edges-away", idc: "dc9" }, "NOT_FOUND"],
      [{ kind: "edges-told", key: "k".repeat(257), attempt: 0 }, "BAD_COMMAND"],
      [{ kind: "edge-drain", node: "dc1-a" }, "ok"],
      [{ kind: "edge-drain", node: "dc1-b" }, "LAST_NODE"],
    ] as const) {
      assert.equal(await codeOf(bench, request), code, JSON.stringify(request));
    }
  });

  test("keeps what it knew when the record is noise, and writes nothing over it", async () => {
    const { bench, nodes } = await start(["a", "b"]);
    await answered(bench, { kind: "edge-drain", node: "dc1-a" });
    await bench.until("all know", async () =>
      nodes.every(({ view }) => view.edgePolicy.draining.size === 1),
    );
    const entry = await bench.bucket.get(edgePolicyKey);
    await bench.bucket.update(
      edgePolicyKey,
      new TextEncoder().encode("noise"),
      entry?.revision ?? 0,
    );
    await bench.until("all see it", async () =>
      nodes.every(({ view }) => view.unreadable.has(edgePolicyKey)),
    );
    for (const { view } of nodes) assert.equal(view.edgePolicy.draining.size, 1);
    assert.equal(await codeOf(bench, { kind: "edge-undrain", node: "dc1-a" }), "UNSUPPORTED");
  });
});
