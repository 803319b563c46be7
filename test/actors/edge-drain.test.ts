/** An edge in drain, on virtual time: who is told to move when, and what becomes of who stays. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Dispatcher } from "../../actors/dispatcher.js";
import { defaultLimits } from "../../actors/limits.js";
import { nodeNameOf } from "../../actors/placement-view.js";
import { addressOn } from "../../src/runtime/address.js";
import type { BenchClient } from "../support/bench-edge.js";
import { attachAll, insideEdge, order, toldOf } from "../support/drain-orders.js";
import { NodeBench } from "../support/node-bench.js";

/** Tells how many had been told by each moment. */
async function watchTelling(bench: NodeBench, clients: readonly BenchClient[]) {
  const seen: { readonly atMs: number; readonly told: number }[] = [];
  const fromMs = bench.clock.monotonicMs();
  await bench.until("all are told", () => {
    seen.push({ atMs: bench.clock.monotonicMs() - fromMs, told: toldOf(clients) });
    return toldOf(clients) === clients.length;
  });
  return seen;
}

describe("an edge in drain", () => {
  test("tells its clients at the rate that was set, each once, where else to go", async () => {
    const bench = await NodeBench.start(["a", "b", "c"]);
    const a = bench.node("a");
    const clients = await attachAll(bench, a, 200);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 50 });
    const seen = await watchTelling(bench, clients);
    for (const { atMs, told } of seen) {
      assert.ok(told <= (atMs * 50) / 1_000 + 5, `${told} are told after ${atMs} ms`);
    }
    assert.ok((seen.at(-1)?.atMs ?? 0) < 6_000, "it takes 4 s at 50 a second");
    await bench.run(1_000);
    const others = new Set<string>();
    for (const { directives } of clients) {
      assert.equal(directives.length, 1);
      const [directive] = directives as [{ do: string; edges: { url: string; idc: string }[] }];
      assert.equal(directive.do, "reconnect");
      const urls = directive.edges.map(({ url }) => url);
      assert.deepEqual([...urls].sort(), ["ws://b/connect", "ws://c/connect"]);
      others.add(urls[0] ?? "");
    }
    assert.equal(others.size, 2, "all are sent to the same edge");
    assert.deepEqual(bench.crashes, []);
  });

  test("closes who has been told and stays, and nobody else", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const a = bench.node("a");
    const clients = await attachAll(bench, a, 20);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 1 });
    await bench.until("one is told", () => toldOf(clients) === 1);
    const [told] = clients.filter((client) => client.directives.length > 0);
    await bench.run(defaultLimits.moveWithinMs - 500);
    assert.equal(told?.closedWith, undefined);
    await bench.until("it is closed", () => told?.closedWith === 4_000, 2_000);
    const closed = clients.filter((client) => client.closedWith !== undefined);
    assert.ok(closed.length <= 2, `${closed.length} are closed at one a second`);
    const { drain } = insideEdge(a) as { drain: Record<string, unknown> };
    assert.equal(drain["overdue"], closed.length);
  });

  test("forgets who has left, and tells who comes late", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const a = bench.node("a");
    const [first] = await attachAll(bench, a, 1);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 500 });
    await bench.until("it is told", () => first?.directives.length === 1);
    a.edge.leave(first as BenchClient);
    await bench.run(100);
    assert.deepEqual((insideEdge(a) as { drain: object }).drain, {
      ...{ perSecond: 500, isHeld: false, told: 1, leaving: 0, overdue: 0, refused: 0 },
    });
    // It was let in before the drain began, and has its connection only now.
    const late = a.edge.connect("late", "phone");
    await bench.until("it is told, too", () => late.directives.length === 1, 1_000);
  });

  test("makes up for nothing: the rate holds at any moment", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 5 });
    await bench.run(5_000);
    const clients = await attachAll(bench, bench.node("a"), 20);
    await bench.run(500);
    const told = toldOf(clients);
    assert.ok(told > 0 && told <= 6, `${told} are told in about half a second`);
  });

  test("ends with undrain: nobody more is told, and nobody is closed for having stayed", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const a = bench.node("a");
    const clients = await attachAll(bench, a, 20);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 5 });
    await bench.until("some are told", () => toldOf(clients) >= 3);
    await order(bench, { kind: "edge-undrain", node: "dc1-a" });
    await bench.run(100);
    const told = toldOf(clients);
    await bench.run(defaultLimits.moveWithinMs + 2_000);
    assert.equal(toldOf(clients), told);
    assert.ok(clients.every((client) => client.closedWith === undefined));
    // Those who stayed are told again when it begins anew.
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 500 });
    await bench.until("all are told", () => toldOf(clients) === 20);
    const again = clients.filter(({ directives }) => directives.length === 2);
    assert.equal(again.length, told);
  });

  test("takes another rate while it goes on, and tells nobody twice", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const a = bench.node("a");
    const clients = await attachAll(bench, a, 100);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 1 });
    await bench.run(2_000);
    assert.ok(toldOf(clients) <= 3);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 500 });
    await bench.until("all are told", () => toldOf(clients) === 100, 1_000);
    for (const { directives } of clients) assert.equal(directives.length, 1);
  });
});

describe("an edge whose node stops", () => {
  test("sends its clients to others, also while its own record still says that it is open", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const [a, b] = bench.nodes;
    assert.ok(a !== undefined && b !== undefined);
    const told = new Dispatcher(a.context).elsewhereFor("k").map(({ url }) => url);
    assert.deepEqual(told, ["ws://b/connect"]);
  });

  test("tells all its clients in a part of the time that it has, and no dispatcher sends more", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const a = bench.node("a");
    const clients = await attachAll(bench, a, 3_000);
    const { context, system } = a;
    system.tell(addressOn(nodeNameOf(context), "membership"), { kind: "LeaveEdge" });
    const fromMs = bench.clock.monotonicMs();
    await bench.until("half are told", () => toldOf(clients) > 1_500);
    const halfMs = bench.clock.monotonicMs() - fromMs;
    // Three fifths of the time for all of them.
    const allMs = defaultLimits.edgeLeaveMs * 0.6;
    assert.ok(halfMs > allMs / 3 && halfMs < allMs, `half are told after ${halfMs} ms`);
    for (const client of clients) if (client.directives.length > 0) a.edge.leave(client);
    // Whatever else happens, they look at their pace again.
    await order(bench, { kind: "edge-weigh", node: "dc1-b", weight: 50 });
    await bench.until("all are told", () => toldOf(clients) === 3_000);
    const tookMs = bench.clock.monotonicMs() - fromMs;
    assert.ok(tookMs < allMs + 500, `it takes ${tookMs} ms`);
    assert.ok(clients.every((client) => !JSON.stringify(client.directives).includes("ws://a/")));
    const { view } = bench.node("b").context;
    await bench.until("the other knows", () => view.nodes.get("dc1-a")?.isEdgeClosed === true);
  });
});
