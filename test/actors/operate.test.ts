/**
 * What operators ask of the leader, and what it does by itself about load and about
 * nodes that fail, on virtual time: the real membership, placement and desk.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { DeskRequest } from "../../src/protocol/operator-desk.js";
import { type BenchPlacementNode, PlacementBench } from "../support/placement-bench.js";

/** Started one after the other, so that the first leads, and evenly placed. */
async function start(names: readonly string[], bench = new PlacementBench()) {
  for (const name of names) {
    bench.addNode(name);
    await bench.until(`${name} is in`, async () => (await bench.leader())?.view.nodes.size !== 0);
  }
  await untilEven(bench, names);
  return bench;
}

async function untilEven(bench: PlacementBench, names: readonly string[], boundMs = 60_000) {
  const wanted = 8 / names.length;
  await bench.until(
    "all is placed evenly",
    async () => {
      const served = await bench.served();
      const counts = names.map((name) => served[`dc1-${name}`]?.length ?? 0);
      const sum = counts.reduce((all, count) => all + count, 0);
      return sum === 8 && counts.every((count) => Math.abs(count - wanted) < 1);
    },
    boundMs,
  );
}

interface OpenMove {
  readonly unit: number;
  readonly epoch: number;
  readonly from: { readonly nodeId: string };
}

async function codeOf(
  bench: PlacementBench,
  request: unknown,
  to?: BenchPlacementNode,
): Promise<string> {
  const answer = await bench.operate(request as DeskRequest, to);
  return answer.ok ? "ok" : answer.code;
}

// biome-ignore lint/suspicious/noExplicitAny: a test reads whatever is in the answer.
async function answered(bench: PlacementBench, request: DeskRequest): Promise<any> {
  const answer = await bench.operate(request);
  assert.ok(answer.ok, JSON.stringify(answer));
  return answer.value;
}

async function decisions(bench: PlacementBench): Promise<string[]> {
  const { decisions } = await answered(bench, { kind: "placement" });
  return decisions.map(({ what }: { what: string }) => what);
}

/** Its own place and nothing else of the table. */
async function nonceOf(bench: PlacementBench): Promise<string> {
  return (await bench.table()).nonce;
}

async function heldBy(bench: PlacementBench, nodeId: string): Promise<number> {
  const report = await answered(bench, { kind: "placement" });
  const moving = report.openMoves.filter((move: never) => move["from"]["nodeId"] === nodeId);
  return moving.length + ((await bench.served())[nodeId]?.length ?? 0);
}

describe("drain", () => {
  test("empties a node, which gets nothing until it is undrained", async () => {
    const bench = await start(["a", "b", "c"]);
    assert.deepEqual(await answered(bench, { kind: "drain", node: "dc1-b" }), {
      node: "dc1-b",
      isDraining: true,
      changed: true,
    });
    await bench.until("b is empty", async () => (await heldBy(bench, "dc1-b")) === 0);
    await untilEven(bench, ["a", "c"]);
    const nonce = await nonceOf(bench);
    await bench.clock.advanceAndSettle(5_000);
    assert.equal(await nonceOf(bench), nonce, "and then nothing moves any more");
    await answered(bench, { kind: "undrain", node: "dc1-b" });
    await untilEven(bench, ["a", "b", "c"]);
    assert.deepEqual(bench.crashes, []);
  });

  test("outlasts the node's restart and the leader's end", async () => {
    const bench = await start(["a", "b", "c"]);
    const [a, b] = [bench.nodes.get("dc1-a"), bench.nodes.get("dc1-b")];
    assert.ok(a !== undefined && b !== undefined);
    await answered(bench, { kind: "drain", node: "dc1-b" });
    await bench.until("b is empty", async () => (await heldBy(bench, "dc1-b")) === 0);
    bench.kill(b);
    await bench.until("b is gone", () => a.view.nodes.size === 2);
    bench.addNode("b");
    await bench.until("b is back", () => a.view.nodes.size === 3);
    bench.kill(a);
    await bench.until("c or b leads", async () => (await bench.leader()) !== undefined);
    await bench.until("c has all", async () => (await bench.served())["dc1-c"]?.length === 8);
    await bench.clock.advanceAndSettle(15_000);
    assert.deepEqual((await bench.table()).draining, ["dc1-b"]);
    assert.equal((await bench.served())["dc1-b"], undefined);
  });

  test("changes nothing when it is refused, or was done before", async () => {
    const bench = await start(["a", "b"]);
    const before = await nonceOf(bench);
    const follower = bench.nodes.get("dc1-b");
    const cases: readonly [request: unknown, code: string, to?: BenchPlacementNode | undefined][] =
      [
        [{ kind: "drain", node: "dc1-q" }, "NOT_FOUND"],
        [{ kind: "undrain", node: "dc1-q" }, "NOT_FOUND"],
        [{ kind: "undrain", node: "dc1-b" }, "ok"],
        [{ kind: "drain", node: "" }, "BAD_COMMAND"],
        [{ kind: "drain", node: "dc1-b\u0000" }, "BAD_COMMAND"],
        [{ kind: "drain", node: "x".repeat(65) }, "BAD_COMMAND"],
        [{ kind: "drain", node: { nodeId: "dc1-b" } }, "BAD_COMMAND"],
        [{ kind: "drain" }, "BAD_COMMAND"],
        [{ kind: "rebalance-commit" }, "BAD_COMMAND"],
        [{ kind: "rebalance-commit", plan: "none-1" }, "PLAN_UNKNOWN"],
        [{ kind: "rebalance" }, "UNSUPPORTED"],
        [{ kind: "drain", node: "dc1-b" }, "NOT_LEADER", follower],
        [{ kind: "placement" }, "NOT_LEADER", follower],
      ];
    for (const [request, code, to] of cases) {
      assert.equal(await codeOf(bench, request, to), code, JSON.stringify(request));
      assert.equal(await nonceOf(bench), before, JSON.stringify(request));
    }
  });

  test("is refused for the last node that is not in drain, and noted with what was asked", async () => {
    const bench = await start(["a", "b"]);
    await answered(bench, { kind: "drain", node: "dc1-b" });
    await bench.until("b is empty", async () => (await heldBy(bench, "dc1-b")) === 0);
    const before = await nonceOf(bench);
    assert.equal(await codeOf(bench, { kind: "drain", node: "dc1-a" }), "LAST_NODE");
    assert.equal((await answered(bench, { kind: "drain", node: "dc1-b" })).changed, false);
    assert.equal(await nonceOf(bench), before);
    const said = await decisions(bench);
    assert.ok(said.includes("is asked by an operator: drain dc1-b; done"), said.join("\n"));
    assert.ok(said.some((what) => /drain dc1-a; refused, LAST_NODE: /.test(what)));
    assert.ok(said.some((what) => /^moves unit \d from dc1-b\.i2 to dc1-a\.i1: drain$/.test(what)));
  });

  test("of two nodes, asked for at once, is granted once", async () => {
    const bench = await start(["a", "b"]);
    const codes = await Promise.all([
      codeOf(bench, { kind: "drain", node: "dc1-a" }),
      codeOf(bench, { kind: "drain", node: "dc1-b" }),
    ]);
    assert.deepEqual(codes.sort(), ["LAST_NODE", "ok"]);
  });
});

/** Units 0 to 3 on one node, 4 to 7 on the other, all of them busy, unevenly. */
async function startUneven() {
  const bench = await start(["a", "b"]);
  const served = await bench.served();
  // Under what the leader moves for by itself.
  const heavy = [300, 1_000, 1_000, 1_000];
  const light = [500, 500, 500, 700];
  for (const [at, unit] of (served["dc1-a"] ?? []).entries()) bench.loads.set(unit, heavy[at] ?? 0);
  for (const [at, unit] of (served["dc1-b"] ?? []).entries()) bench.loads.set(unit, light[at] ?? 0);
  await bench.clock.advanceAndSettle(1_000);
  return bench;
}

describe("rebalance", () => {
  test("plans what is uneven, and carries the plan out when it is committed", async () => {
    const bench = await startUneven();
    await bench.clock.advanceAndSettle(60_000);
    const nonce = await nonceOf(bench);
    const plan = await answered(bench, { kind: "rebalance-plan" });
    assert.equal(plan.nonce, nonce);
    assert.ok(plan.moves.length > 0);
    assert.equal(await nonceOf(bench), nonce, "a plan changes nothing");
    const heaviest = (nodes: { weight: number }[]) => Math.max(...nodes.map((n) => n.weight));
    assert.ok(heaviest(plan.after) < heaviest(plan.before));
    await answered(bench, { kind: "rebalance-commit", plan: plan.plan });
    assert.notEqual(await nonceOf(bench), nonce);
    await bench.until("it is carried out", async () => {
      const { rebalance } = await answered(bench, { kind: "placement" });
      assert.ok((await answered(bench, { kind: "placement" })).openMoves.length <= 1);
      return rebalance.done === plan.moves.length;
    });
    const { nodes } = await answered(bench, { kind: "placement" });
    for (const { nodeId, weight } of plan.after) {
      const node = nodes.find((one: { nodeId: string }) => one.nodeId === nodeId);
      assert.ok(Math.abs(node.weight - weight) < 0.1, `${nodeId}: ${node.weight} for ${weight}`);
    }
    const again = await answered(bench, { kind: "rebalance-plan" });
    assert.deepEqual([again.plan, again.moves], [null, []]);
  });

  test("lets exactly one of two operators commit at once", async () => {
    for (const isSamePlan of [true, false]) {
      const bench = await startUneven();
      const one = (await answered(bench, { kind: "rebalance-plan" })).plan;
      const other = isSamePlan ? one : (await answered(bench, { kind: "rebalance-plan" })).plan;
      assert.equal(one === other, isSamePlan);
      const codes = await Promise.all([
        codeOf(bench, { kind: "rebalance-commit", plan: one }),
        codeOf(bench, { kind: "rebalance-commit", plan: other }),
      ]);
      assert.equal(codes.filter((code) => code === "ok").length, 1, codes.join());
      assert.ok(codes.some((code) => code === "CONFLICT" || code === "PLAN_OUTDATED"));
    }
  });

  test("refuses a plan that the table has outrun, one of another leader, and changes nothing", async () => {
    const bench = await startUneven();
    const { plan } = await answered(bench, { kind: "rebalance-plan" });
    await answered(bench, { kind: "drain", node: "dc1-b" });
    await answered(bench, { kind: "undrain", node: "dc1-b" });
    await bench.clock.advanceAndSettle(5_000);
    const before = await nonceOf(bench);
    assert.equal(await codeOf(bench, { kind: "rebalance-commit", plan }), "PLAN_OUTDATED");
    assert.equal(await nonceOf(bench), before);
    const leader = await bench.leader();
    assert.ok(leader !== undefined);
    bench.kill(leader);
    await bench.until("another leads", async () => (await bench.leader()) !== undefined);
    assert.equal(await codeOf(bench, { kind: "rebalance-commit", plan }), "PLAN_UNKNOWN");
  });

  test("drops what does not apply any more, and says so", async () => {
    const bench = await startUneven();
    bench.addNode("c");
    await bench.clock.advanceAndSettle(20_000);
    for (let unit = 0; unit < 8; unit++) bench.loads.set(unit, unit < 2 ? 5_000 : 200);
    await bench.clock.advanceAndSettle(1_000);
    const { plan, moves } = await answered(bench, { kind: "rebalance-plan" });
    assert.ok(moves.length > 0);
    const to = moves[0].to.nodeId as string;
    const target = bench.nodes.get(to);
    assert.ok(target !== undefined);
    target.startsUnits = false;
    await answered(bench, { kind: "rebalance-commit", plan });
    await answered(bench, { kind: "drain", node: to });
    await bench.clock.advanceAndSettle(60_000);
    const { rebalance } = await answered(bench, { kind: "placement" });
    assert.equal(rebalance.done + rebalance.dropped, moves.length);
    assert.ok(rebalance.dropped > 0);
    const said = await decisions(bench);
    assert.ok(said.some((what) => what.startsWith(`drops unit ${moves[0].unit} of plan ${plan}`)));
    assert.ok(said.some((what) => what.startsWith(`ends plan ${plan}`)));
  });
});

describe("measured load", () => {
  const loadMoves = async (bench: PlacementBench) =>
    (await decisions(bench)).filter((what) => /: load: /.test(what)).length;

  test("is evened out after a pause, a move at a time, and then left alone", async () => {
    const bench = await start(["a", "b"]);
    const [first = 0, second = 1] = (await bench.served())["dc1-a"] ?? [];
    bench.loads.set(first, 5_000).set(second, 5_000);
    await bench.clock.advanceAndSettle(20_000);
    assert.equal(await loadMoves(bench), 0, "the leader has only just begun");
    await bench.until("one of the busy ones has moved", async () => (await loadMoves(bench)) > 0);
    await bench.clock.advanceAndSettle(20_000);
    assert.equal(await loadMoves(bench), 1);
    await bench.clock.advanceAndSettle(200_000);
    const { nodes } = await answered(bench, { kind: "placement" });
    assert.ok(Math.abs(nodes[0].weight - nodes[1].weight) <= 2, JSON.stringify(nodes));
    const nonce = await nonceOf(bench);
    await bench.clock.advanceAndSettle(200_000);
    assert.equal(await nonceOf(bench), nonce);
  });

  test("moves nothing while the system is almost idle, however uneven it is", async () => {
    const bench = await start(["a", "b"]);
    const [first = 0] = (await bench.served())["dc1-a"] ?? [];
    bench.loads.set(first, 999);
    const nonce = await nonceOf(bench);
    await bench.clock.advanceAndSettle(150_000);
    assert.equal(await nonceOf(bench), nonce);
  });

  test("that swings by a fifth around an even system moves nothing", async () => {
    const bench = await start(["a", "b", "c", "d"]);
    const nonce = await nonceOf(bench);
    for (let round = 0; round < 48; round++) {
      for (let unit = 0; unit < 8; unit++) {
        bench.loads.set(unit, 1_000 + 200 * Math.sin(round * (unit + 1)));
      }
      await bench.clock.advanceAndSettle(5_000);
    }
    assert.equal(await nonceOf(bench), nonce);
  });

  test("outlives a change of leader: numbers alone do not undo what it moved", async () => {
    const bench = await start(["a", "b", "c"]);
    const leader = await bench.leader();
    assert.ok(leader !== undefined);
    // In drain, it takes nothing with it when it ends.
    await answered(bench, { kind: "drain", node: leader.nodeId });
    const others = ["a", "b", "c"].filter((name) => `dc1-${name}` !== leader.nodeId);
    await untilEven(bench, others);
    const [hot = 0] = (await bench.served())[`dc1-${others[0]}`] ?? [];
    bench.loads.set(hot, 10_000);
    await bench.until(
      "the busy one is alone",
      async () => (await bench.served())[`dc1-${others[0]}`]?.length === 1,
      300_000,
    );
    const placed = await bench.served();
    bench.kill(leader);
    await bench.until("another leads", async () => (await bench.leader()) !== undefined);
    for (let look = 0; look < 300; look++) {
      await bench.clock.advanceAndSettle(100);
      assert.deepEqual(await bench.served(), placed);
    }
  });
});

describe("a new owner that lives and never starts", () => {
  test("loses the unit again, to whom it came from, and is offered none for a while", async () => {
    const bench = await start(["a"]);
    const b = bench.addNode("b");
    b.startsUnits = false;
    await bench.until("a unit is on its way to b", async () => {
      const served = await bench.served();
      return served["dc1-a"]?.length === 7;
    });
    const [move] = (await answered(bench, { kind: "placement" })).openMoves;
    assert.equal(move.to.nodeId, "dc1-b");
    await bench.clock.advanceAndSettle(28_000);
    assert.equal((await bench.served())["dc1-a"]?.length, 7, "it has its time");
    await bench.until(
      "a has it back",
      async () => (await bench.served())["dc1-a"]?.length === 8,
      5_000,
    );
    assert.ok((await bench.epochOf(move.unit)) > move.epoch);
    const { avoided } = await answered(bench, { kind: "placement" });
    assert.deepEqual(avoided, [{ nodeId: "dc1-b", incarnation: b.incarnation }]);
    const said = await decisions(bench);
    const why = `gives unit ${move.unit} to dc1-a.i1: dc1-b.i2 did not start it in time`;
    assert.ok(said.includes(why), said.join("\n"));
    const nonce = await nonceOf(bench);
    await bench.clock.advanceAndSettle(200_000);
    assert.equal(await nonceOf(bench), nonce, "it is left alone");
    b.startsUnits = true;
    await untilEven(bench, ["a", "b"], 150_000);
  });

  test("is given another's unit no more where that one is gone: a third gets it", async () => {
    const bench = await start(["a", "c"]);
    const b = bench.addNode("b");
    b.startsUnits = false;
    let move: OpenMove | undefined;
    await bench.until("a unit is on its way to b", async () => {
      [move] = (await answered(bench, { kind: "placement" })).openMoves as OpenMove[];
      return move !== undefined;
    });
    assert.ok(move !== undefined);
    const { unit, from } = move;
    const old = bench.nodes.get(from.nodeId);
    assert.ok(old !== undefined);
    bench.kill(old);
    const third = from.nodeId === "dc1-a" ? "dc1-c" : "dc1-a";
    const hasIt = async () => (await bench.served())[third]?.includes(unit) === true;
    // It may have to be led anew first, and the next leader's clock begins with it.
    await bench.until("the third has it", hasIt, 45_000);
    assert.ok((await bench.epochOf(unit)) > move.epoch);
  });
});
