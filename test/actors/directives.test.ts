/** What an operator has single clients told, on virtual time, and what becomes of who stays. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import { decodeDeskAnswer } from "../../src/cli/answer.js";
import { closeCodes } from "../../src/protocol/close-codes.js";
import type { Directive } from "../../src/protocol/directive.js";
import { type DeskAnswer, encodeDesk } from "../../src/protocol/operator-desk.js";
import { sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { operatorSubject } from "../../src/protocol/subjects.js";
import { BoundClient } from "../support/bound-client.js";
import { NodeBench } from "../support/node-bench.js";

const { moveWithinMs, presenceGraceMs } = defaultLimits;
const kick: Directive = { do: "kick", reason: "signed out" };

/** Of the node that owns the user's shard, unless another one is named. */
async function ask(
  bench: NodeBench,
  uid: string,
  directive: unknown,
  more: { readonly device?: string; readonly at?: string } = {},
) {
  const { at, ...toDevice } = more;
  const owner = bench.nodes[0]?.context.view.ownerOf(shardOfKey(sessionKey("demo", uid)));
  const node = at === undefined ? bench.nodeOf(owner?.nodeId ?? "") : bench.node(at);
  const { nodeId, incarnation } = node.context;
  const request = { kind: "directive", app: "demo", uid, directive, ...toDevice };
  let bytes: Uint8Array | undefined;
  void bench.server
    .request(operatorSubject(nodeId, incarnation), encodeDesk(request as never), 10_000)
    .then((answer) => {
      bytes = answer;
    });
  await bench.until("the desk has answered", () => bytes !== undefined);
  return decodeDeskAnswer(bytes as Uint8Array);
}

async function start(...names: string[]) {
  const bench = await NodeBench.start(names);
  await bench.run(presenceGraceMs + 1_000);
  const connect = async (node: string, uid: string, device = "phone") => {
    const client = bench.node(node).edge.connect(uid, device);
    await bench.until("it is attached", () => client.isAttached);
    return client;
  };
  return { bench, connect };
}

const valueIn = (answer: unknown) => (answer as DeskAnswer).value;

describe("a directive", () => {
  test("reaches all of a user's clients, on whatever edge, and nobody else's", async () => {
    const { bench, connect } = await start("a", "b");
    const phone = await connect("a", "u1");
    const tablet = await connect("b", "u1", "tablet");
    const other = await connect("a", "u2");
    const config: Directive = { do: "config", config: { version: 3 } };
    assert.deepEqual(valueIn(await ask(bench, "u1", config)), { connections: 2, told: 2 });
    const heartbeat: Directive = { do: "heartbeat", heartbeatMs: 7_000 };
    const toTablet = await ask(bench, "u1", heartbeat, { device: "tablet" });
    assert.deepEqual(valueIn(toTablet), { connections: 1, told: 1 });
    assert.deepEqual(phone.directives, [config]);
    assert.deepEqual(tablet.directives, [config, heartbeat]);
    assert.deepEqual(other.directives, []);
    assert.deepEqual(valueIn(await ask(bench, "nobody", kick)), { connections: 0, told: 0 });
  });

  test("to leave closes who stays, with a code that does not bring it back", async () => {
    const { bench, connect } = await start("a");
    const [stays, leaves] = [await connect("a", "u1"), await connect("a", "u1", "tablet")];
    await ask(bench, "u1", kick);
    bench.node("a").edge.leave(leaves);
    await bench.run(moveWithinMs - 1_000);
    assert.equal(stays.closedWith, undefined);
    await bench.run(3_000);
    assert.equal(stays.closedWith, closeCodes.KICKED.code);
    assert.equal(leaves.closedWith, 1_000);
    const edge = bench.node("a").system.find("edge")?.cell.inspect() as Record<string, unknown>;
    assert.deepEqual(edge["directives"], { told: 2, leaving: 0, overdue: 1 });
  });

  test("to move closes who stays behind its window, and a kick is not undone by it", async () => {
    const { bench, connect } = await start("a");
    const [moved, kicked] = [await connect("a", "u1"), await connect("a", "u2")];
    const move: Directive = {
      do: "reconnect",
      edges: [{ url: "wss://b/connect" }],
      spreadMs: 5_000,
    };
    await ask(bench, "u1", move);
    await ask(bench, "u2", kick);
    await ask(bench, "u2", { ...move, spreadMs: 60_000 });
    assert.deepEqual(moved.directives, [move]);
    await bench.run(moveWithinMs + 2_000);
    assert.deepEqual([moved.closedWith, kicked.closedWith], [undefined, closeCodes.KICKED.code]);
    await bench.run(6_000);
    assert.equal(moved.closedWith, closeCodes.GOING_AWAY.code);
  });

  test("is not told of by an edge that has the client no more", async () => {
    const { bench, connect } = await start("a", "b");
    const uid = bench.userOf(bench.node("b"));
    await connect("a", uid);
    // Its session, elsewhere, does not know yet.
    bench.node("a").process.stop();
    const answer = await ask(bench, uid, kick);
    assert.deepEqual(valueIn(answer), { connections: 1, told: 0 });
  });

  test("is refused where it makes no sense, and by a node that does not serve the user", async () => {
    const { bench } = await start("a", "b");
    const uid = bench.userOf(bench.node("b"));
    for (const [directive, code] of [
      [{ do: "kick" }, "BAD_COMMAND"],
      [{ do: "kick", reason: "r".repeat(257) }, "BAD_COMMAND"],
      [{ do: "heartbeat", heartbeatMs: 999 }, "BAD_COMMAND"],
      [{ do: "config", config: "c".repeat(4_096) }, "BAD_COMMAND"],
      [{ do: "reconnect", edges: [{ url: "http://b" }] }, "BAD_COMMAND"],
      [{ do: "reconnect", edges: Array(5).fill({ url: "ws://b" }) }, "BAD_COMMAND"],
      [{ do: "dance" }, "BAD_COMMAND"],
    ] as const) {
      const answer = await ask(bench, uid, directive);
      assert.deepEqual([answer.ok, !answer.ok && answer.code], [false, code]);
    }
    const misdirected = await ask(bench, uid, kick, { at: "a" });
    assert.equal(!misdirected.ok && misdirected.code, "WRONG_SHARD");
  });

  test("waits until it is known who is connected", async () => {
    const bench = await NodeBench.start(["a"]);
    const answer = await ask(bench, "u1", kick);
    assert.ok(!answer.ok && answer.code === "NOT_READY" && answer.retryable);
  });

  test("to one of several users of a connection leaves the others where they are", async () => {
    const bench = await NodeBench.start(["a"]);
    await bench.run(presenceGraceMs + 1_000);
    const client = bench.node("a").edge.open((toEdge) => new BoundClient(toEdge));
    client.hello({ uid: "u1" });
    client.bind(1, { uid: "u2" });
    client.bind(2, { uid: "u3" });
    await bench.until("all are attached", () => client.seat(2).uid === "u3");
    assert.deepEqual(valueIn(await ask(bench, "u2", kick)), { connections: 1, told: 1 });
    await bench.until("the second has ended", () => client.seat(1).endedWith !== undefined);
    assert.equal(client.seat(1).endedWith, closeCodes.KICKED.code);
    assert.deepEqual(valueIn(await ask(bench, "u1", kick)), { connections: 1, told: 1 });
    await bench.until("the first has ended", () => client.seat(0).endedWith !== undefined);
    await bench.run(moveWithinMs * 2);
    assert.deepEqual([client.seat(2).endedWith, client.closedWith], [undefined, undefined]);
    assert.deepEqual(bench.crashes, []);
  });
});
