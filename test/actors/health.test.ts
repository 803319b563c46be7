/** Nodes that cannot do their business hand their shards over by themselves, on virtual time. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import { wellNode } from "../../actors/placement-view.js";
import { HealthBench } from "../support/health-bench.js";

const { badProbesMax, healthProbeEveryMs, storeStallMaxMs, openMaxMs, unwellMs } = defaultLimits;
/** A probe is judged one tick after it was due, and answered by the next one. */
const judgedMs = (badProbesMax + 2) * healthProbeEveryMs;
/** The sessions' freeze, the group's own deadline to end its commit, and the overlap. */
const frozenOutMs = defaultLimits.freezeMaxMs + 10_000 + 1_000;

/** A loop that turns so seldom: a timer is late by what it was set for less. */
const lagMs = healthProbeEveryMs + defaultLimits.loopLagMaxMs + 200;

const named = (bench: HealthBench, name: string) => bench.node(name).context.view.health;

describe("a node whose store stalls", () => {
  test("has its groups served by another within a bound, and nothing answered ok is lost", async () => {
    const bench = await HealthBench.start(["a", "b"]);
    const groups = bench.groupsOf("dc1-b");
    assert.equal(groups.length, 4);
    const users = groups.map((group) => bench.userOf(group));
    const before = users.map((user) => bench.push(user, { body: "before", id: "1" }));
    await bench.pass(100);
    bench.node("b").store.stall();
    const during = users.map((user) => bench.push(user, { body: "during", id: "2" }));
    const tookMs = await bench.until("a serves all", () => bench.groupsOf("dc1-a").length === 8);
    assert.ok(tookMs <= storeStallMaxMs + judgedMs + frozenOutMs, `${tookMs} ms`);
    await bench.until("they are there", () => bench.isServed());
    // What hung was never answered; its publishers repeat it.
    for (const answers of during)
      assert.deepEqual(
        answers.filter(({ ok }) => ok),
        [],
      );
    const after = users.map((user) => bench.push(user, { body: "during", id: "2" }));
    await bench.pass(100);
    bench.node("b").store.goOn();
    await bench.pass(1_000);
    for (const [at, user] of users.entries()) {
      assert.equal(before[at]?.[0]?.ok, true);
      assert.equal(after[at]?.[0]?.ok, true);
      assert.deepEqual(await bench.stored(user), ["before", "during"]);
      assert.deepEqual(
        during[at]?.filter(({ ok }) => ok),
        [],
      );
    }
    assert.deepEqual(bench.crashes, []);
  });

  test("says so in its record, is given nothing, and gets its share back when it is mended", async () => {
    const bench = await HealthBench.start(["a", "b"]);
    bench.node("b").store.stall();
    await bench.until("a serves all", () => bench.groupsOf("dc1-a").length === 8);
    const record = bench.node("a").context.view.nodes.get("dc1-b");
    assert.match(record?.unwell ?? "", /^4 groups do not serve, group \d: no write has come/);
    const reasons = bench.decisions().filter((what) => what.startsWith("moves unit"));
    assert.match(reasons.at(-1) ?? "", /from dc1-b\.i to dc1-a\.i: dc1-b cannot serve it/);
    bench.node("b").store.goOn();
    await bench.pass(unwellMs / 2);
    assert.deepEqual(bench.groupsOf("dc1-b"), []);
    await bench.settle(2 * unwellMs);
    assert.deepEqual(named(bench, "b"), wellNode);
    assert.deepEqual(bench.crashes, []);
  });

  test("is not unwell over its only group, and given no other in its place", async () => {
    const bench = await HealthBench.start(["a", "b"], 2);
    const [group] = bench.groupsOf("dc1-b");
    bench.node("b").store.stall();
    await bench.until("a serves both", () => bench.groupsOf("dc1-a").length === 2);
    const verdict = { ...wellNode, isInDoubt: true, cannotServe: [group] };
    assert.deepEqual(named(bench, "b"), verdict);
    const moves = bench.decisions().length;
    // Moving took a part of it.
    await bench.pass(unwellMs / 3);
    assert.deepEqual(named(bench, "b"), verdict);
    assert.equal(bench.decisions().length, moves);
  });

  test("keeps what it has when nobody else is well", async () => {
    const bench = await HealthBench.start(["a", "b"]);
    for (const node of bench.nodes) node.store.stall();
    const before = [bench.groupsOf("dc1-a"), bench.groupsOf("dc1-b")];
    await bench.pass(storeStallMaxMs + judgedMs + frozenOutMs);
    for (const name of ["a", "b"]) assert.notEqual(named(bench, name).unwell, undefined);
    assert.deepEqual([bench.groupsOf("dc1-a"), bench.groupsOf("dc1-b")], before);
    for (const node of bench.nodes) node.store.goOn();
    const answers = before.flat().map((group) => bench.push(bench.userOf(group), { body: 1 }));
    await bench.pass(5_000);
    assert.ok(answers.every(([answer]) => answer?.ok === true));
  });

  test("is not taken for stalled while its commits are only slow", async () => {
    const bench = await HealthBench.start(["a", "b"]);
    const { store } = bench.node("b");
    for (let round = 0; round < 8; round++) {
      store.stall();
      await bench.pass(storeStallMaxMs - 2 * healthProbeEveryMs);
      store.goOn();
      await bench.pass(healthProbeEveryMs);
    }
    assert.deepEqual(named(bench, "b").cannotServe, []);
    assert.equal(bench.groupsOf("dc1-b").length, 4);
  });
});

describe("a group that does not open", () => {
  test("goes to another node, and the rest stays", async () => {
    const bench = new HealthBench();
    bench.addNode("a").store.closedToOpening.add(7);
    await bench.until("a is to serve it", () => bench.ownerOf(7) === "dc1-a");
    bench.addNode("b");
    const withinMs = openMaxMs + judgedMs;
    await bench.until("b serves it", () => bench.ownerOf(7) === "dc1-b", withinMs);
    assert.deepEqual(named(bench, "a"), { ...wellNode, cannotServe: [7] });
    await bench.until("it is there", () => bench.isServed());
    const push = bench.push(bench.userOf(7), { body: 1 });
    await bench.pass(100);
    assert.equal(push[0]?.ok, true);
    await bench.settle();
  });

  test("moves on when it opens nowhere, more and more seldom, and takes no other along", async () => {
    const bench = new HealthBench();
    for (const name of ["a", "b", "c"]) bench.addNode(name).store.closedToOpening.add(3);
    await bench.pass(10 * 60_000);
    const moves = bench.decisions().filter((what) => what.startsWith("moves unit 3 "));
    assert.ok(moves.length >= 2, "it was tried elsewhere");
    assert.ok(moves.length <= 20, `${moves.length} moves in 10 min`);
    for (const node of bench.nodes) assert.equal(node.context.view.health.unwell, undefined);
    const others = [0, 1, 2, 4, 5, 6, 7].map((group) =>
      bench.push(bench.userOf(group), { body: 1 }),
    );
    await bench.pass(100);
    assert.ok(others.every(([answer]) => answer?.ok === true));
  });

  test("moves on from a new owner that cannot open it while it moves", async () => {
    const bench = await HealthBench.start(["a", "b", "c"]);
    const byLoad = [...bench.nodes].sort(
      (one, other) => bench.groupsOf(one.nodeId).length - bench.groupsOf(other.nodeId).length,
    );
    const [light, sick, third] = byLoad;
    assert.ok(light !== undefined && sick !== undefined && third !== undefined);
    const group = bench.groupsOf(sick.nodeId)[0] ?? -1;
    light.store.closedToOpening.add(group);
    sick.store.stall();
    const withinMs =
      storeStallMaxMs + 2 * judgedMs + frozenOutMs + openMaxMs + defaultLimits.moveDeadlineMs;
    await bench.until("the third has it", () => bench.ownerOf(group) === third.nodeId, withinMs);
    await bench.until("it serves", () => bench.isServed());
    const ofGroup = new RegExp(`^(moves|gives) unit ${group} .*cannot serve it$`);
    assert.deepEqual(
      bench.decisions().filter((what) => ofGroup.test(what)),
      [
        `moves unit ${group} from ${sick.name} to ${light.name}: ${sick.nodeId} cannot serve it`,
        `gives unit ${group} to ${third.name}: ${light.nodeId} cannot serve it`,
      ],
    );
  });
});

describe("a node whose event loop lags", () => {
  test("hands all over, and another one leads", async () => {
    const bench = await HealthBench.start(["a", "b"]);
    const leader = bench.leader() === "dc1-a" ? "a" : "b";
    const other = leader === "a" ? "b" : "a";
    bench.node(leader).clock.lagMs = lagMs;
    await bench.until("the other has all", () => bench.groupsOf(`dc1-${other}`).length === 8);
    assert.match(named(bench, leader).unwell ?? "", /^the event loop lags by \d+ ms$/);
    assert.equal(bench.leader(), `dc1-${other}`);
    const decisions = bench.decisions();
    assert.ok(decisions.some((what) => what === "leads no more: its event loop lags"));
    assert.ok(decisions.some((what) => /^moves unit \d .*: unwell: the event loop/.test(what)));
    bench.node(leader).clock.lagMs = 0;
    await bench.settle(3 * unwellMs);
    assert.equal(named(bench, leader).unwell, undefined);
  });

  // It gave the lead up to the record of a node that was no more, each time that it had it.
  test("leads on when the only other one hangs, and takes its shards", async () => {
    const bench = await HealthBench.start(["a", "b"]);
    bench.node("a").clock.lagMs = lagMs;
    await bench.until("b has all", () => bench.groupsOf("dc1-b").length === 8);
    bench.node("b").clock.lagMs = 1e9;
    await bench.until("a has all", () => bench.groupsOf("dc1-a").length === 8, 30_000);
    assert.equal(bench.leader(), "dc1-a");
  });

  test("leads on when it is alone", async () => {
    const bench = await HealthBench.start(["a"]);
    bench.node("a").clock.lagMs = lagMs;
    await bench.pass(20_000);
    assert.notEqual(named(bench, "a").unwell, undefined);
    assert.equal(bench.leader(), "dc1-a");
    assert.equal(bench.groupsOf("dc1-a").length, 8);
  });

  test("is not unwell over one long pause, nor over a lag below the bound", async () => {
    const bench = await HealthBench.start(["a", "b"]);
    const { clock } = bench.node("b");
    clock.lagMs = lagMs - 300;
    await bench.pass(30_000);
    assert.equal(named(bench, "b").unwell, undefined);
    clock.lagMs = 2_900;
    await bench.pass(2_000);
    clock.lagMs = 0;
    await bench.pass(10_000);
    assert.equal(named(bench, "b").unwell, undefined);
    assert.equal(bench.groupsOf("dc1-b").length, 4);
  });
});
