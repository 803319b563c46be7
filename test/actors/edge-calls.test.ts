/** Calls through a whole node on virtual time: from a client's frame to its answer. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { clientKinds } from "../../src/protocol/frames.js";
import type { BusMessage } from "../../src/runtime/ports.js";
import { type BenchNode, NodeBench } from "../support/node-bench.js";

async function started() {
  const bench = await NodeBench.start(["a"]);
  const a = bench.node("a");
  const asked: BusMessage[] = [];
  bench.server.subscribe("uplink.demo.>", (message) => void asked.push(message));
  const answer = (at: number, value: unknown) =>
    bench.server.publish(asked[at]?.reply ?? "", packValue({ ok: true, value }));
  const connected = async (routes?: readonly string[]) => {
    const token = tokenOf(routes);
    const client = a.edge.connect("alice", "phone", { token });
    await bench.until("it is attached", () => client.isAttached);
    return client;
  };
  return { bench, a, asked, answer, connected };
}

const tokenOf = (routes?: readonly string[]) =>
  JSON.stringify({ app: "demo", sub: "alice", ...(routes === undefined ? {} : { routes }) });

const call = (number: number, route = "orders", session = 0) => [
  ...[clientKinds.call, session, number, route, 5_000, "body"],
];

function callsOf({ system }: BenchNode): unknown {
  const edge = system.find("edge")?.cell.inspect() as { calls: unknown } | undefined;
  return edge?.calls;
}

const codes = (client: { answers: unknown[][] }) => client.answers.map(([, code]) => code);

describe("a client's call", () => {
  test("comes to who serves its app, and back", async () => {
    const { bench, asked, answer, connected } = await started();
    const client = await connected();
    client.send(call(7));
    await bench.run(100);
    const { uid, device, route, body } = unpackValue(asked[0]?.payload as Uint8Array) as never;
    assert.deepEqual([uid, device, route, body], ["alice", "phone", "orders", "body"]);
    answer(0, 42);
    await bench.run(100);
    assert.deepEqual(client.answers, [[7, null, 42]]);
    assert.deepEqual(bench.crashes, []);
  });

  test("ends by its deadline, and its connection leaves nothing behind", async () => {
    const { bench, a, asked, answer, connected } = await started();
    const client = await connected(["orders"]);
    client.send(call(1));
    await bench.run(5_100);
    assert.deepEqual(codes(client), ["TIMEOUT"]);
    client.send(call(2));
    await bench.run(100);
    const bytes = asked[1]?.payload.length;
    a.edge.leave(client);
    await bench.run(100);
    assert.deepEqual(callsOf(a), {
      ...{ underWay: 1, bytes, connections: 0, limited: 0 },
      ended: { TIMEOUT: 1 },
    });
    answer(1, "to nobody");
    await bench.run(100);
    const left = { underWay: 0, bytes: 0, connections: 0, limited: 0 };
    assert.deepEqual(callsOf(a), { ...left, ended: { TIMEOUT: 1 } });
    assert.equal(client.answers.length, 1);
  });

  test("while its token is being verified is nobody's", async () => {
    const { bench, a, asked } = await started();
    const client = a.edge.connect("alice", "phone", { token: tokenOf() });
    client.send(call(1));
    await bench.run(100);
    assert.deepEqual([asked, client.answers, bench.crashes], [[], [], []]);
  });

  test("goes by the token's routes, whatever session it names, and by a fresh token's", async () => {
    const { bench, asked, connected } = await started();
    const client = await connected(["chat"]);
    client.send(call(1, "orders"));
    client.send(call(2, "orders", 5));
    client.send(call(3, "chat"));
    await bench.run(100);
    assert.deepEqual([codes(client), asked.length], [["NOT_ALLOWED", "NOT_ALLOWED"], 1]);
    client.send([clientKinds.token, 0, tokenOf(["orders"])]);
    await bench.run(100);
    client.send(call(4, "orders"));
    client.send(call(5, "chat"));
    await bench.run(100);
    assert.deepEqual([codes(client).length, asked.length], [3, 2]);
    client.send([clientKinds.token, 0, tokenOf()]);
    await bench.run(100);
    client.send(call(6, "any"));
    await bench.run(100);
    assert.equal(asked.length, 3);
  });
});
