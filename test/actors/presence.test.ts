/** Edges attach at their pace, and who is not attached yet is unknown, on virtual time. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AttachCalls } from "../../actors/attach-calls.js";
import { defaultLimits } from "../../actors/limits.js";
import { type Shard, sessionKey, shardCount, shardOfKey } from "../../src/protocol/shards.js";
import { type Address, addressOn } from "../../src/runtime/address.js";
import { HealthBench, type WholeNode } from "../support/health-bench.js";
import { VirtualClock } from "../support/virtual-clock.js";

const { attachedWithinMs, presenceGraceMs, attachesPerTick } = defaultLimits;
const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);

function presenceOf(bench: HealthBench, uid: string): unknown {
  const key = sessionKey("demo", uid);
  const shard = shardOfKey(key);
  const group = bench.inbox.groupOf(shard);
  const owner = bench.nodes.find(({ nodeId }) => nodeId === bench.ownerOf(group)) as WholeNode;
  return bench.inspect(owner, `shards/${group}/${shard}/${key}`)["presence"];
}

function connectionsIn(bench: HealthBench, node: WholeNode, phase: string): number {
  return [...node.transport.sent.keys()].filter(
    (connection) => bench.inspect(node, `edge/${connection}`)["phase"] === phase,
  ).length;
}

describe("an edge", () => {
  test("says at once that it will attach again, and does so at its pace", async () => {
    const bench = await HealthBench.start(["a"]);
    const a = bench.node("a");
    const count = 10 * attachesPerTick;
    for (let user = 0; user < count; user++) a.transport.connect(`u${user}`);
    await bench.until("all serve", () => connectionsIn(bench, a, "serving") === count);
    const edge = addressOn(a.name, "edge") as Address;
    const answer = a.system.ask(edge, { kind: "AttachAgain", shards: all }, 1_000);
    const again = a.system.ask(edge, { kind: "AttachAgain", shards: all }, 1_000);
    await bench.pass(1);
    assert.ok((await answer).ok && (await again).ok);
    let queued = bench.inspect(a, "edge")["attachesQueued"] as number;
    assert.equal(queued, count, "those that went at once are due again");
    for (; queued > 0; queued -= attachesPerTick) {
      assert.equal(bench.inspect(a, "edge")["attachesQueued"], queued);
      await bench.pass(10);
    }
    await bench.until("all serve", () => connectionsIn(bench, a, "serving") === count);
    assert.equal(bench.inspect(a, "edge")["attachesUnanswered"], 0);
  });
});

describe("a user", () => {
  test("is unknown, and not away, until the edges had their time", async () => {
    const bench = await HealthBench.start(["a", "b"]);
    await bench.pass(attachedWithinMs);
    bench.node("a").transport.connect("u1");
    bench.push("u2", { body: 1 });
    await bench.pass(100);
    assert.equal(presenceOf(bench, "u1"), "connected");
    assert.equal(presenceOf(bench, "u2"), "away");
    // A commit of unknown fate begins the group again, and nobody is attached.
    bench.inbox.failCommit({ outcome: "unknown", takesEffect: true });
    for (const uid of ["u1", "u2"]) bench.push(uid, { body: 2 });
    await bench.until("it is served again", () => bench.isServed());
    bench.addNode("c");
    const users = Array.from({ length: 8 }, (_, group) => bench.userOf(group, 10));
    await bench.settle();
    for (const uid of users) bench.push(uid, { body: 3 });
    await bench.pass(100);
    const moved = bench.groupsOf("dc1-c").map((group) => bench.userOf(group, 10));
    assert.ok(moved.some((uid) => presenceOf(bench, uid) === "unknown"));
    await bench.pass(attachedWithinMs);
    for (const uid of users) assert.equal(presenceOf(bench, uid), "away");
    assert.equal(presenceOf(bench, "u1"), "connected");
  });

  test("is unknown while an edge says nothing, but not for ever", () => {
    const clock = new VirtualClock();
    const calls = new AttachCalls(
      () => new Promise(() => undefined),
      () => undefined,
      clock,
      defaultLimits,
    );
    const [one, other] = ["dc1-a.i/edge", "dc1-b.i/edge"] as Address[];
    calls.add(one as Address);
    calls.add(other as Address);
    clock.advance(attachedWithinMs);
    calls.delete(one as Address);
    clock.advance(attachedWithinMs - 1);
    assert.equal(calls.isKnown, false);
    clock.advance(presenceGraceMs);
    assert.equal(calls.isKnown, true);
    calls.delete(other as Address);
    assert.equal(calls.isKnown, false, "it is there after all, and its connections come");
    clock.advance(attachedWithinMs);
    assert.equal(calls.isKnown, true);
  });
});
