/**
 * How many connections one user may hold, on virtual time: as many as devices on all edges
 * together, however they come, and few more while nobody answers for the user's shard.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import { nodeNameOf } from "../../actors/placement-view.js";
import { UnattachedConnections } from "../../actors/unattached-connections.js";
import { closeCodes } from "../../src/protocol/close-codes.js";
import { clientKinds } from "../../src/protocol/frames.js";
import { sessionKey } from "../../src/protocol/shards.js";
import { addressOn } from "../../src/runtime/address.js";
import type { BenchClient } from "../support/bench-edge.js";
import { BoundClient } from "../support/bound-client.js";
import { NodeBench } from "../support/node-bench.js";

const { devicesMax } = defaultLimits;
const { REPLACED, QUOTA_EXCEEDED } = closeCodes;

const open = (clients: readonly BenchClient[]) =>
  clients.filter(({ closedWith }) => closedWith === undefined);
const codes = (clients: readonly BenchClient[]) =>
  new Set(clients.flatMap(({ closedWith }) => closedWith ?? []));

/** What the session believes is what the edges hold. */
function assertHeld(bench: NodeBench, uid: string, clients: readonly BenchClient[], count: number) {
  assert.equal(open(clients).length, count);
  const believed = bench.connectionsOf(uid).filter((connection) => connection !== null);
  assert.equal(believed.length, count);
  assert.ok(open(clients).every(({ isAttached }) => isAttached));
  const held = bench.nodes.reduce((sum, { edge }) => sum + edge.connectionCount, 0);
  assert.equal(held, count);
}

describe("a user's connections", () => {
  test("are as many as devices on all edges together, the newest ones", async () => {
    const bench = await NodeBench.start(["a", "b", "c"]);
    const clients: BenchClient[] = [];
    for (let index = 0; index < 9 * devicesMax; index++) {
      clients.push(bench.node("abc".charAt(index % 3)).edge.connect("alice", `device${index}`));
      // Some together, some apart.
      if (index % 7 === 0) await bench.run(100);
    }
    await bench.run(1_000);
    assertHeld(bench, "alice", clients, devicesMax);
    assert.deepEqual(codes(clients), new Set([REPLACED.code]));
    assert.ok((clients.at(-1) as BenchClient).isAttached);
  });

  test("of one device are one, whoever comes first with whatever counter", async () => {
    const bench = await NodeBench.start(["a", "b", "c"]);
    const clients: BenchClient[] = [];
    for (let round = 0; round < 20; round++) {
      for (const { edge } of bench.nodes) {
        const connect = [1, round, 1_000 - round, round % 3][clients.length % 4] ?? 0;
        clients.push(edge.connect("alice", "phone", { connect }));
      }
      if (round % 3 === 0) await bench.run(50);
    }
    await bench.run(1_000);
    assertHeld(bench, "alice", clients, 1);
  });

  test("that come again and again with other devices' names leave no more behind", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const clients: BenchClient[] = [];
    for (let round = 0; round < 10; round++) {
      for (const { edge } of bench.nodes) {
        for (let index = 0; index < 15; index++) {
          clients.push(edge.connect("alice", `${round % 3}-${index}`, { connect: round }));
        }
      }
      await bench.run(round % 2 === 0 ? 20 : 500);
    }
    await bench.run(1_000);
    assertHeld(bench, "alice", clients, devicesMax);
  });

  // Without it they were as many as an edge has room for.
  test("are few on each edge while the owner of the user's shard answers nobody", async () => {
    const bench = await NodeBench.start(["a", "b", "c"]);
    const [a, b, c] = [bench.node("a"), bench.node("b"), bench.node("c")];
    const uid = bench.userOf(c);
    const other = bench.userOf(c, 1);
    c.process.stop();
    const clients = [a, b].map(({ edge }) =>
      Array.from({ length: 5 * devicesMax }, (_, index) => edge.connect(uid, `d${index}`)),
    );
    const bystander = a.edge.connect(other, "phone");
    await bench.run(500);
    for (const each of clients) {
      assert.equal(open(each).length, devicesMax);
      assert.deepEqual(codes(each), new Set([QUOTA_EXCEEDED.code]));
    }
    assert.equal(bystander.closedWith, undefined, "another user is not meant");
    // Whoever goes leaves a place for the next.
    a.edge.leave(clients[0]?.find(({ closedWith }) => closedWith === undefined) as BenchClient);
    await bench.run(50);
    const next = [1, 2].map((count) => a.edge.connect(uid, `next${count}`));
    await bench.run(50);
    assert.deepEqual(
      next.map(({ closedWith }) => closedWith),
      [undefined, QUOTA_EXCEEDED.code],
    );
    const all = [...clients.flat(), ...next];
    await bench.until("somebody else serves the user", () => open(all)[0]?.isAttached === true);
    await bench.until("all are settled", () => open(all).every(({ isAttached }) => isAttached));
    await bench.run(2_000);
    assert.ok(open(all).length <= devicesMax, `${open(all).length} are open`);
    await bench.until("the bystander is served", () => bystander.isAttached);
  });

  // The session had closed it, and it stayed: its mailbox took no more.
  test("do not outlive their end by filling their mailbox", async () => {
    const bench = await NodeBench.start(["a"]);
    const { edge, system, context } = bench.node("a");
    const client = edge.connect("alice", "phone");
    await bench.until("it is attached", () => client.isAttached);
    const connection = 1 * 2 ** 20;
    const close = { kind: "CloseConnection", connection, close: "REPLACED" };
    system.tell(addressOn(nodeNameOf(context), "edge"), close);
    for (let count = 0; count < 1_024; count++) client.send([clientKinds.ack, 0, 1, 0]);
    assert.equal(client.closedWith, undefined, "not one too many");
    await bench.run(100);
    assert.equal(client.closedWith, REPLACED.code);
  });

  // It was taken for a connection of its own, of which there is no socket to close.
  test("do not outlive their end as one of several either: that one goes", async () => {
    const bench = await NodeBench.start(["a"]);
    const { edge, system, context } = bench.node("a");
    const client = edge.open((toEdge) => new BoundClient(toEdge));
    client.hello({ uid: "alice" });
    client.bind(1, { uid: "bob" });
    await bench.until("both are attached", () => client.seat(1).attaches > 0);
    const first = system.find(`edge/${1 * 2 ** 20}`)?.cell.inspect();
    const [{ number }] = (first as { bound: [{ number: number }] }).bound;
    const node = nodeNameOf(context);
    system.tell(addressOn(node, "edge"), {
      ...{ kind: "CloseConnection", connection: number, close: "REPLACED" },
    });
    const ack = { kind: "ack", session: 1, position: { generation: 1, seq: 0 } };
    for (let count = 0; count < 1_024; count++) {
      system.tell(addressOn(node, `edge/${number}`), { kind: "ReceiveFrame", frame: ack });
    }
    await bench.run(100);
    assert.deepEqual([client.seat(1).endedWith, client.closedWith], [REPLACED.code, undefined]);
    assert.equal(system.find(`edge/${number}`), undefined);
  });
});

describe("who waits for a first attach", () => {
  test("is counted by user, and forgotten with the last", () => {
    const waiting = new UnattachedConnections(2);
    const [alice, bob] = [sessionKey("demo", "alice"), sessionKey("demo", "bob")];
    waiting.enter(alice);
    assert.ok(!waiting.isFull(alice));
    waiting.enter(alice);
    assert.ok(waiting.isFull(alice) && !waiting.isFull(bob));
    waiting.leave(alice);
    assert.ok(!waiting.isFull(alice));
    waiting.leave(alice);
    waiting.leave(alice);
    assert.equal(waiting.users, 0);
  });
});
