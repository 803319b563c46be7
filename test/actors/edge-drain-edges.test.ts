/**
 * What can happen to a drain, on virtual time: a client that owes an ack, several drains at
 * once, nobody left who takes clients, a node that stops or dies in the middle of it.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Dispatcher } from "../../actors/dispatcher.js";
import { defaultLimits } from "../../actors/limits.js";
import { nodeNameOf } from "../../actors/placement-view.js";
import { addressOn } from "../../src/runtime/address.js";
import type { BenchClient } from "../support/bench-edge.js";
import { ask, attachAll, insideEdge, order, toldOf } from "../support/drain-orders.js";
import { type BenchNode, NodeBench } from "../support/node-bench.js";

const drainOf = (node: BenchNode) => insideEdge(node)["drain"] as Record<string, unknown>;

function urlsTold({ directives }: BenchClient): string[] {
  const all = directives as { edges: { url: string }[] }[];
  return all.flatMap(({ edges }) => edges.map(({ url }) => url));
}

/** It goes where it was told, and names what it has. */
function follow(bench: NodeBench, from: BenchNode, client: BenchClient, uid: string): BenchClient {
  const [, name = ""] = /^ws:\/\/(\w+)\//.exec(urlsTold(client)[0] ?? "") ?? [];
  from.edge.leave(client);
  const { position } = client;
  return bench.node(name).edge.connect(uid, "phone", { connect: 2, position });
}

describe("a client that is told to move", () => {
  test("is given again what it did not take, and nothing that it did", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const a = bench.node("a");
    const [client] = await attachAll(bench, a, 1);
    assert.ok(client !== undefined);
    client.isAcking = false;
    bench.request("u0", { body: "before" });
    await bench.until("it has the first", () => client.bodies.length === 1);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 500 });
    await bench.until("it is told", () => client.directives.length === 1);
    // Behind the directive, to a client that is about to go.
    const taken = client.position;
    bench.request("u0", { body: "behind" });
    await bench.until("it is sent the second", () => client.bodies.length === 2);
    a.edge.leave(client);
    bench.request("u0", { body: "between" });
    await bench.run(100);
    const back = bench.node("b").edge.connect("u0", "phone", { connect: 2, position: taken });
    await bench.until("it has the rest", () => back.bodies.length === 2);
    await bench.run(defaultLimits.ackWaitMs + 1_000);
    assert.deepEqual(back.bodies, ["behind", "between"]);
    assert.deepEqual(bench.crashes, []);
  });

  test("is forgotten by the edge that it leaves, and served by the other alone", async () => {
    const bench = await NodeBench.start(["a", "b", "c"]);
    const a = bench.node("a");
    const clients = await attachAll(bench, a, 40);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 500 });
    await bench.until("all are told", () => toldOf(clients) === 40);
    const moved = clients.map((client, at) => follow(bench, a, client, `u${at}`));
    await bench.until("all are back", () => moved.every(({ isAttached }) => isAttached));
    for (let at = 0; at < 40; at++) {
      bench.request(`u${at}`, { body: at });
      assert.equal(bench.connectionsOf(`u${at}`).length, 1);
      assert.doesNotMatch(bench.connectionsOf(`u${at}`)[0] ?? "", /dc1-a/);
    }
    await bench.run(1_000);
    for (const [at, { bodies }] of moved.entries()) assert.deepEqual(bodies, [at]);
    assert.equal(insideEdge(a)["connections"], 0);
  });
});

describe("two edges in drain", () => {
  test("send nobody to each other", async () => {
    const bench = await NodeBench.start(["a", "b", "c"]);
    const [a, b] = [bench.node("a"), bench.node("b")];
    const ofA = await attachAll(bench, a, 30);
    const ofB = Array.from({ length: 30 }, (_, at) => b.edge.connect(`v${at}`, "phone"));
    await bench.until("b's are attached", () => ofB.every(({ isAttached }) => isAttached));
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 100 });
    await order(bench, { kind: "edge-drain", node: "dc1-b", perSecond: 100 });
    const fromMs = bench.clock.monotonicMs();
    await bench.until("all are told", () => toldOf([...ofA, ...ofB]) === 60);
    assert.ok(bench.clock.monotonicMs() - fromMs < 2_000);
    // Some of a's were told while b still took clients; whom b had by then it tells as well.
    for (const client of ofB) assert.deepEqual(urlsTold(client), ["ws://c/connect"]);
    const late = ofA.filter((client) => urlsTold(client).join() !== "ws://c/connect");
    assert.ok(late.length < 30, "nobody of a is sent past b");
    for (const { directives } of [...ofA, ...ofB]) assert.equal(directives.length, 1);
    const refused = await ask(bench, { kind: "edge-drain", node: "dc1-c", perSecond: 1 });
    assert.equal(refused.ok === false && refused.code, "LAST_NODE");
  });
});

describe("an edge in drain that clients stand in line for", () => {
  test("tells them to look for another at once", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const { edge } = bench.node("a");
    for (let count = 0; count < defaultLimits.acceptsBurst + 300; count++) edge.shake();
    const waiting = edge.line.length;
    assert.ok(waiting >= 250, `${waiting}`);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 5 });
    await bench.until("all are told", () => edge.refusedInLine.length === waiting);
    assert.ok(edge.refusedInLine.every(({ status }) => status === 503));
    assert.deepEqual([edge.line.length, insideEdge(bench.node("a"))["waiting"]], [0, 0]);
    assert.equal(drainOf(bench.node("a"))["refused"], waiting);
  });
});

describe("an edge in drain of which no other takes clients", () => {
  /** a is in drain, b is gone. */
  async function alone() {
    const bench = await NodeBench.start(["a", "b"]);
    const [a, b] = [bench.node("a"), bench.node("b")];
    const clients = await attachAll(bench, a, 60);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 5 });
    await bench.until("some are told", () => toldOf(clients) >= 3);
    assert.equal(a.edge.shake()?.status, 503);
    b.process.goOut();
    await bench.until("a is alone", () => drainOf(a)["isHeld"] === true);
    return { bench, a, b, clients };
  }

  test("keeps its clients, lets others in, and is told of", async () => {
    const { bench, a, clients } = await alone();
    const told = toldOf(clients);
    assert.ok(told < 60, "the drain was over before");
    const closed = clients.filter(({ closedWith }) => closedWith !== undefined).length;
    await bench.run(defaultLimits.moveWithinMs + 2_000);
    assert.equal(toldOf(clients), told);
    const closedNow = clients.filter(({ closedWith }) => closedWith !== undefined).length;
    assert.equal(closedNow, closed, "who was told and has nowhere to go is closed");
    assert.equal(a.edge.shake(), undefined);
    const edges = new Dispatcher(a.context).answer("k", 0).edges.map(({ url }) => url);
    assert.deepEqual(edges, ["ws://a/connect"]);
  });

  test("goes on, at its rate, when another is back", async () => {
    const { bench, a, b, clients } = await alone();
    await bench.run(10_000);
    b.process.comeBack();
    await bench.until("b takes clients", () => drainOf(a)["isHeld"] === false);
    const before = clients.reduce((sum, { directives }) => sum + directives.length, 0);
    await bench.run(1_000);
    const after = clients.reduce((sum, { directives }) => sum + directives.length, 0);
    assert.ok(after > before, "it tells nobody");
    assert.ok(after - before <= 7, `${after - before} are told in about a second`);
    assert.equal(a.edge.shake()?.status, 503);
  });
});

describe("a node in drain", () => {
  test("that is stopped tells the rest in the time that it has, nobody twice", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const a = bench.node("a");
    const clients = await attachAll(bench, a, 200);
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 1 });
    await bench.until("the first is told", () => toldOf(clients) === 1, 2_000);
    const { context, system } = a;
    system.tell(addressOn(nodeNameOf(context), "membership"), { kind: "LeaveEdge" });
    const allMs = defaultLimits.edgeLeaveMs * 0.6;
    await bench.until("all are told", () => toldOf(clients) === 200, allMs + 500);
    for (const client of clients) {
      assert.equal(client.directives.length, 1);
      assert.deepEqual(urlsTold(client), ["ws://b/connect"]);
    }
    // The rate that an operator wanted is not asked any more.
    await order(bench, { kind: "edge-undrain", node: "dc1-a" });
    await bench.run(500);
    assert.ok(Number(drainOf(a)["perSecond"]) >= 500);
    assert.equal(a.edge.shake()?.status, 503);
  });

  test("that dies leaves nobody unserved", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const a = bench.node("a");
    const clients = await attachAll(bench, a, 30);
    for (let at = 0; at < 30; at++) bench.request(`u${at}`, { body: "first" });
    await bench.until("all have it", () => clients.every(({ bodies }) => bodies.length === 1));
    await order(bench, { kind: "edge-drain", node: "dc1-a", perSecond: 5 });
    await bench.until("some are told", () => toldOf(clients) >= 3);
    a.process.goOut();
    a.process.stop();
    const b = bench.node("b");
    const back = clients.map(({ position }, at) =>
      b.edge.connect(`u${at}`, "phone", { connect: 2, position }),
    );
    await bench.until("all are back", () => back.every(({ isAttached }) => isAttached));
    for (let at = 0; at < 30; at++) bench.request(`u${at}`, { body: "second" });
    await bench.until("all have it", () => back.every(({ bodies }) => bodies.length > 0));
    await bench.run(1_000);
    for (const { bodies } of back) assert.deepEqual(bodies, ["second"]);
  });
});
