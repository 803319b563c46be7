/** Several sessions on one connection, on virtual time: each is served, moved and ended by itself. */
import assert from "node:assert/strict";
import { afterEach, describe, mock, test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import { accepted, refused } from "../../src/base/result.js";
import { packValue } from "../../src/protocol/codec.js";
import { clientKinds } from "../../src/protocol/frames.js";
import { sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { shardInboxSubject } from "../../src/protocol/subjects.js";
import { addressOn } from "../../src/runtime/address.js";
import { BoundClient } from "../support/bound-client.js";
import { type BenchNode, NodeBench } from "../support/node-bench.js";

const { sessionsPerConnectionMax, tokenGraceMs, connectionBufferBytesMax } = defaultLimits;
const { bindsBurst, bindsPerSecond } = defaultLimits;

/** The edge is a's; users of a's shards are `own`, of b's `far`. */
class Binds {
  private constructor(
    readonly bench: NodeBench,
    readonly client: BoundClient,
  ) {}

  static async start(): Promise<Binds> {
    const bench = await NodeBench.start(["a", "b"]);
    const client = bench.node("a").edge.open((toEdge) => new BoundClient(toEdge));
    return new Binds(bench, client);
  }

  /** With one session for each of these users, in that order from index 0. */
  static async of(...users: readonly ("own" | "far")[]): Promise<[Binds, ...string[]]> {
    const binds = await Binds.start();
    const uids = users.map((where, index) => binds[where](index));
    for (const [index, uid] of uids.entries()) {
      if (index === 0) binds.client.hello({ uid });
      else binds.client.bind(index, { uid });
    }
    await binds.bench.until("all are attached", () =>
      uids.every((uid, index) => binds.client.seat(index).uid === uid),
    );
    return [binds, ...uids];
  }

  own(index: number): string {
    return this.bench.userOf(this.bench.node("a"), index);
  }

  far(index: number): string {
    return this.bench.userOf(this.bench.node("b"), index);
  }

  async push(uid: string, body: unknown, qos = 1): Promise<void> {
    const answers = this.bench.request(uid, { body, qos });
    await this.bench.until("it is answered", () => answers.length === 1);
    assert.ok(answers[0]?.ok);
  }

  async bodies(index: number, count: number): Promise<unknown[]> {
    const { bodies } = this.client.seat(index);
    await this.bench.until(`${count} came`, () => bodies.length >= count);
    return bodies;
  }

  edge(node: BenchNode = this.bench.node("a")): Record<string, unknown> {
    return node.system.find("edge")?.cell.inspect() ?? {};
  }

  async usage(): Promise<unknown> {
    const { system } = this.bench.node("a");
    const view = { kind: "ViewUsage", appToken: "demo" };
    const asked = system.ask(addressOn("dc1-a.a0", "edge"), view, 1_000);
    await this.bench.run(50);
    const answer = await asked;
    return answer.ok ? answer.value : undefined;
  }

  connections(uid: string): number {
    return this.bench.connectionsOf(uid).filter((connection) => connection !== null).length;
  }

  async refusal(index: number): Promise<string | undefined> {
    const { refused } = this.client.seat(index);
    await this.bench.until("it is refused", () => refused.length > 0);
    return refused.shift();
  }

  async ended(index: number): Promise<number | undefined> {
    const seat = this.client.seat(index);
    await this.bench.until("it has ended", () => seat.endedWith !== undefined);
    return seat.endedWith;
  }
}

describe("several sessions on one connection", () => {
  afterEach(() => mock.restoreAll());

  test("have a chain and acks of their own, whoever owns them", async () => {
    const [binds, ...uids] = await Binds.of("own", "far", "own", "far");
    const { bench, client } = binds;
    assert.deepEqual(client.takes.includes(clientKinds.bind), true);
    for (let number = 1; number <= 70; number++) {
      for (const uid of uids) bench.publish(uid, { body: number });
    }
    const wanted = Array.from({ length: 70 }, (_, at) => at + 1);
    for (const index of uids.keys()) assert.deepEqual(await binds.bodies(index, 70), wanted);
    // A window is 64: without its own acks none of them had got so far.
    client.isAcking = false;
    await binds.push(uids[1] ?? "", "late");
    await binds.push(uids[0] ?? "", "later");
    assert.deepEqual((await binds.bodies(1, 71)).at(-1), "late");
    assert.deepEqual((await binds.bodies(0, 71)).at(-1), "later");
    assert.equal(client.seat(2).bodies.length, 70);
    assert.deepEqual(bench.crashes, []);
  });

  test("take the hello's device where they name none, and count for their app each", async () => {
    const [binds, own, far] = await Binds.of("own", "far");
    assert.equal(binds.client.seat(1).device, "phone");
    assert.notEqual(own, far);
    const { connections, furtherSessions } = binds.edge();
    assert.deepEqual([connections, furtherSessions], [1, 1]);
    assert.deepEqual(await binds.usage(), { connections: 2, refused: 0 });
  });

  test("whose owner is gone are attached anew, and no other one is", async () => {
    const [binds, own, far] = await Binds.of("own", "far");
    const { bench, client } = binds;
    await binds.push(far ?? "", 1);
    await binds.bodies(1, 1);
    bench.node("b").process.stop();
    const { view, nodeId } = bench.node("a").context;
    const shard = shardOfKey(sessionKey("demo", far ?? ""));
    await bench.until("another one owns it", () => view.ownerOf(shard)?.nodeId === nodeId);
    await binds.push(far ?? "", 2);
    await binds.push(own ?? "", "mine");
    assert.deepEqual(await binds.bodies(1, 2), [1, 2]);
    assert.deepEqual(await binds.bodies(0, 1), ["mine"]);
    assert.equal(client.seat(0).attaches, 1);
  });

  test("end with the connection, all of them, and nothing is kept of them", async () => {
    const [binds, ...uids] = await Binds.of("own", "far", "own");
    const { bench, client } = binds;
    bench.node("a").edge.leave(client);
    await bench.until("nobody is connected", () =>
      uids.every((uid) => binds.connections(uid) === 0),
    );
    await bench.until("no actor is left", () => binds.edge()["furtherSessions"] === 0);
    assert.equal(binds.edge()["connections"], 0);
    assert.equal(binds.edge()["attachesUnanswered"], 0);
    assert.deepEqual(await binds.usage(), { connections: 0, refused: 0 });
  });

  test("are unbound one by one, the first one too, and the last one closes", async () => {
    const [binds, own, far, third] = await Binds.of("own", "far", "own");
    const { bench, client } = binds;
    client.unbind(1);
    assert.equal(await binds.ended(1), 1_000);
    await bench.until("its owner knows", () => binds.connections(far ?? "") === 0);
    client.unbind(0);
    assert.equal(await binds.ended(0), 1_000);
    await bench.until("its owner knows", () => binds.connections(own ?? "") === 0);
    await binds.push(own ?? "", "not here");
    await binds.push(third ?? "", "here");
    assert.deepEqual(await binds.bodies(2, 1), ["here"]);
    assert.deepEqual([client.seat(0).bodies, client.closedWith], [[], undefined]);
    // Its index is free again, and what came meanwhile is there.
    client.bind(1, { uid: own ?? "" }, { connect: 2 });
    assert.deepEqual(await binds.bodies(1, 1), ["not here"]);
    client.unbind(1);
    client.unbind(2);
    await bench.until("it is closed", () => client.closedWith !== undefined);
    assert.equal(client.closedWith, 1_000);
    assert.deepEqual(bench.crashes, []);
  });
});

describe("what a client says last", () => {
  for (const [how, leave] of [
    ["the unbind", ({ client }: Binds) => client.unbind(1)],
    ["the end of its connection", ({ bench, client }: Binds) => bench.node("a").edge.leave(client)],
  ] as const) {
    test(`of a further session before ${how} is heard`, async () => {
      const [binds, , far] = await Binds.of("own", "far");
      const { bench, client } = binds;
      client.isAcking = false;
      await binds.push(far ?? "", "shown");
      await binds.bodies(1, 1);
      client.ack(1);
      leave(binds);
      await bench.until("its owner knows", () => binds.connections(far ?? "") === 0);
      const [session] = bench.sessionsOf(far ?? "");
      assert.deepEqual(session?.["inbox"], { messages: 0, bytes: 0 });
      assert.deepEqual(bench.crashes, []);
    });
  }

  test("is behind what it is told of that session: after `ended` there is nothing", async () => {
    const [binds, , far] = await Binds.of("own", "far");
    const { bench, client } = binds;
    const [where] = bench.connectionsOf(far ?? "");
    const connection = Number(where?.split("/").at(-1));
    const record = Buffer.concat(["id", {}, "passing"].map(packValue));
    const passing = { kind: "DeliverPassing", connection, record };
    const edge = addressOn("dc1-a.a0", "edge");
    bench.node("a").system.tell(edge, passing);
    await bench.until("it comes to the session", () => client.seat(1).passing.length === 1);
    // The edge has it before the client lets go, and its session after that.
    bench.node("a").system.tell(edge, passing);
    client.unbind(1);
    assert.equal(await binds.ended(1), 1_000);
    await bench.until("its actor is gone", () => binds.edge()["furtherSessions"] === 0);
    assert.equal(client.seat(1).passing.length, 1);
  });
});

describe("an owner that believes in a session which is over", () => {
  for (const index of [0, 1]) {
    test(`is told so of ${index === 0 ? "the first one" : "a further one"}`, async () => {
      const [binds, own, far] = await Binds.of("own", "far");
      const { bench, client } = binds;
      const uid = (index === 0 ? own : far) ?? "";
      const [where] = bench.connectionsOf(uid);
      const connection = Number(where?.split("/").at(-1));
      client.unbind(index);
      await bench.until("its owner knows", () => binds.connections(uid) === 0);
      // As if its attach had come late, and been answered.
      const key = sessionKey("demo", uid);
      const shard = shardOfKey(key);
      const owner = bench.node("a").context.view.ownerOf(shard);
      const edge = addressOn("dc1-a.a0", "edge");
      const device = { device: "phone", platform: "x", connect: 9, start: "all" };
      const message = { kind: "Attach", edge, connection, ...device };
      const late = { kind: "ToSession", shard, epoch: owner?.epoch, key, message };
      const { system } = bench.node("a");
      system.tell(addressOn(`${owner?.nodeId}.${owner?.incarnation}`, "shards"), late);
      await bench.run(50);
      await bench.until("it knows again", () => binds.connections(uid) === 0);
      assert.equal(bench.connectionsOf(uid).length, 1);
      assert.equal(client.seat(index).attaches, 1);
      assert.deepEqual(bench.crashes, []);
    });
  }
});

describe("what ends one session of a connection", () => {
  afterEach(() => mock.restoreAll());

  test("a newer connection of its device: the others stay, the last one closes", async () => {
    const [binds, own, far] = await Binds.of("own", "far");
    const { bench, client } = binds;
    bench.node("b").edge.connect(own ?? "", "phone", { connect: 2 });
    assert.equal(await binds.ended(0), 4505);
    await binds.push(far ?? "", "still here");
    assert.deepEqual(await binds.bodies(1, 1), ["still here"]);
    assert.equal(client.closedWith, undefined);
    bench.node("b").edge.connect(far ?? "", "phone", { connect: 2 });
    await bench.until("it is closed", () => client.closedWith !== undefined);
    assert.equal(client.closedWith, 4505);
    assert.deepEqual([binds.connections(own ?? ""), binds.connections(far ?? "")], [1, 1]);
  });

  test("a newer connection of a further one's device", async () => {
    const [binds, own, far] = await Binds.of("own", "far");
    const { bench, client } = binds;
    bench.node("b").edge.connect(far ?? "", "phone", { connect: 2 });
    assert.equal(await binds.ended(1), 4505);
    await binds.push(own ?? "", "still here");
    assert.deepEqual(await binds.bodies(0, 1), ["still here"]);
    assert.equal(client.closedWith, undefined);
    await bench.until("nothing is left of it", () => binds.edge()["furtherSessions"] === 0);
  });

  test("a newer connection, where its own mailbox is full, is no end of the others", async () => {
    const [binds, own, far] = await Binds.of("own", "far");
    const { bench, client } = binds;
    const [where] = bench.connectionsOf(far ?? "");
    const connection = Number(where?.split("/").at(-1));
    const { system } = bench.node("a");
    const edge = addressOn("dc1-a.a0", "edge");
    const record = Buffer.concat(["id", {}, "passing"].map(packValue));
    // A turn of the edge fills it, and the next one fills what it took meanwhile.
    for (let count = 0; count < 1_024 + 512; count++) {
      system.tell(edge, { kind: "DeliverPassing", connection, record });
    }
    system.tell(edge, { kind: "CloseConnection", connection, close: "REPLACED" });
    assert.equal(await binds.ended(1), 4505);
    assert.ok(client.seat(1).passing.length < 1_024 + 512, "it was full");
    await binds.push(own ?? "", "still here");
    assert.deepEqual(await binds.bodies(0, 1), ["still here"]);
    assert.equal(client.closedWith, undefined);
  });

  test("its token's end, told before by its index; a fresh one keeps it", async () => {
    const binds = await Binds.start();
    const { bench, client } = binds;
    const [own, far, third] = [binds.own(0), binds.far(1), binds.own(2)];
    const claims = { exp: bench.clock.wallMs() / 1_000 + 90 };
    client.hello({ uid: own });
    client.bind(1, { uid: far, claims });
    client.bind(2, { uid: third, claims });
    await bench.until("all are attached", () => client.seat(2).attaches > 0);
    for (let pings = 0; pings < 8; pings++) {
      await bench.run(5_000);
      client.send([clientKinds.pong, pings]);
    }
    const told = [0, 1, 2].map((index) => client.seat(index).tokenWanted);
    assert.deepEqual(told, [0, 1, 1]);
    client.refresh(2, { uid: third });
    for (let pings = 0; pings < 12 + tokenGraceMs / 5_000; pings++) {
      await bench.run(5_000);
      client.send([clientKinds.pong, pings]);
    }
    assert.equal(client.seat(1).endedWith, 4003);
    assert.equal(client.seat(2).endedWith, undefined);
    assert.equal(client.closedWith, undefined);
    await bench.until("its owner knows", () => binds.connections(far) === 0);
  });

  test("the end of the first one's token", async () => {
    const binds = await Binds.start();
    const { bench, client } = binds;
    const [own, far] = [binds.own(0), binds.far(1)];
    client.hello({ uid: own, claims: { exp: bench.clock.wallMs() / 1_000 + 5 } });
    client.bind(1, { uid: far });
    await bench.until("both are attached", () => client.seat(1).attaches > 0);
    for (let pings = 0; pings < 8; pings++) {
      await bench.run(5_000);
      client.send([clientKinds.pong, pings]);
    }
    assert.deepEqual([client.seat(0).endedWith, client.closedWith], [4003, undefined]);
    await binds.push(far, "still here");
    assert.deepEqual(await binds.bodies(1, 1), ["still here"]);
  });

  test("a fresh token that is somebody else's", async () => {
    const [binds, own, far] = await Binds.of("own", "far");
    binds.client.refresh(1, { uid: own ?? "" });
    assert.equal(await binds.ended(1), 4504);
    assert.equal(binds.client.closedWith, undefined);
    await binds.bench.until("its owner knows", () => binds.connections(far ?? "") === 0);
  });

  test("the user's erasure", async () => {
    const [binds, own, far] = await Binds.of("own", "far");
    const { bench } = binds;
    const key = sessionKey("demo", far ?? "");
    bench.server.publish(shardInboxSubject(shardOfKey(key), key), packValue({ op: "erase" }));
    assert.equal(await binds.ended(1), 4506);
    await binds.push(own ?? "", "still here");
    assert.deepEqual(await binds.bodies(0, 1), ["still here"]);
  });

  test("the failure of its actor", async () => {
    const [binds, own, far] = await Binds.of("own", "far");
    const { bench, client } = binds;
    const { system } = bench.node("a");
    const key = sessionKey("demo", far ?? "");
    const [where] = bench.connectionsOf(far ?? "");
    const connection = Number(where?.split("/").at(-1));
    const held = system.find(`edge/${connection}`)?.cell.inspect() ?? {};
    const { epoch, generation, sentSeq: prev } = held;
    const broken = { kind: "Deliver", connection, key, epoch, generation, prev, seqs: null };
    system.tell(addressOn("dc1-a.a0", "edge"), broken);
    assert.equal(await binds.ended(1), 4006);
    assert.equal(bench.crashes.splice(0).length, 1);
    client.bind(1, { uid: far ?? "" }, { connect: 2 });
    await bench.until("it is bound again", () => client.seat(1).attaches === 2);
    await binds.push(own ?? "", "still here");
    assert.deepEqual(await binds.bodies(0, 1), ["still here"]);
  });
});

describe("a bind", () => {
  afterEach(() => mock.restoreAll());

  test("is refused at an index that is none, or in use, and where the user is bound", async () => {
    const [binds, own, far] = await Binds.of("own", "far");
    const { client, bench } = binds;
    const uid = binds.own(5);
    for (const [index, who, code] of [
      [0, uid, "BAD_INDEX"],
      [16, uid, "BAD_INDEX"],
      [2 ** 40, uid, "BAD_INDEX"],
      [1, uid, "INDEX_IN_USE"],
      [2, own, "ALREADY_BOUND"],
      [3, far, "ALREADY_BOUND"],
    ] as const) {
      client.bind(index, { uid: who ?? "" });
      assert.equal(await binds.refusal(index), code);
    }
    assert.equal(client.closedWith, undefined);
    client.bind(2, { uid });
    await bench.until("the index is free", () => client.seat(2).uid === uid);
  });

  test("is refused above the bound, by a token, by the app's quota, and by the edge's", async () => {
    const [binds] = await Binds.of("own");
    const { client, bench } = binds;
    const { tokens, apps } = bench.node("a").context;
    const verify = mock.method(tokens, "verify", async () => refused("TOKEN_EXPIRED", "too late"));
    client.bind(1, { uid: "x" });
    assert.equal(await binds.refusal(1), "TOKEN_EXPIRED");
    verify.mock.mockImplementation(async () => Promise.reject(new Error("no verifier")));
    client.bind(1, { uid: "x" });
    assert.equal(await binds.refusal(1), "AUTH_UNAVAILABLE");
    verify.mock.restore();
    const find = mock.method(apps, "find", () => ({ limits: { connections: 0 } }) as never);
    client.bind(1, { uid: "x" });
    assert.equal(await binds.refusal(1), "QUOTA_EXCEEDED");
    find.mock.restore();
    for (let index = 1; index <= sessionsPerConnectionMax; index++) {
      client.bind(index, { uid: `user-${index}` });
    }
    assert.equal(await binds.refusal(sessionsPerConnectionMax), "TOO_MANY");
    await bench.until("the others are bound", () => binds.edge()["furtherSessions"] === 7);
    assert.equal(client.closedWith, undefined);
  });

  test("is refused where the edge has as many further sessions as it may", async () => {
    const bench = await NodeBench.start(["a"], { furtherSessionsMax: 1 });
    const client = bench.node("a").edge.open((toEdge) => new BoundClient(toEdge));
    client.hello({ uid: "first" });
    client.bind(1, { uid: "second" });
    client.bind(2, { uid: "third" });
    await bench.until("both are answered", () => client.seat(2).refused.length > 0);
    assert.deepEqual(client.seat(2).refused, ["OVERLOADED"]);
    client.unbind(1);
    await bench.until("it has ended", () => client.seat(1).endedWith === 1_000);
    client.bind(2, { uid: "third" });
    await bench.until("there is room again", () => client.seat(2).attaches === 1);
  });

  test("before the hello closes; with it it waits for what the hello is", async () => {
    const binds = await Binds.start();
    const { client, bench } = binds;
    const { tokens } = bench.node("a").context;
    const verified: string[] = [];
    const open: (() => void)[] = [];
    const verify = mock.method(tokens, "verify", async (token: string) => {
      verified.push(JSON.parse(token).sub);
      await new Promise<void>((resolve) => open.push(resolve));
      return accepted({ jti: "", exp: 2 ** 40, ...JSON.parse(token) });
    });
    client.hello({ uid: binds.own(0) });
    client.bind(1, { uid: binds.far(1) });
    await bench.run(200);
    assert.deepEqual(verified, [binds.own(0)]);
    for (const resolve of open.splice(0)) resolve();
    await bench.until("the bind's turn has come", () => verified.length === 2);
    for (const resolve of open.splice(0)) resolve();
    await bench.until("it is bound", () => client.seat(1).attaches === 1);
    verify.mock.restore();
    mock.method(tokens, "verify", () => new Promise(() => {}));
    const gone = bench.node("a").edge.open((toEdge) => new BoundClient(toEdge));
    gone.hello({ uid: "x" });
    gone.bind(1, { uid: "y" });
    gone.unbind(0);
    await bench.until("it is closed", () => gone.closedWith !== undefined);
    assert.deepEqual([gone.closedWith, gone.seat(0).endedWith], [1_000, undefined]);
    const early = bench.node("a").edge.open((toEdge) => new BoundClient(toEdge));
    early.bind(1, { uid: "x" });
    await bench.until("it is closed", () => early.closedWith !== undefined);
    assert.equal(early.closedWith, 4502);
    const late = bench.node("a").edge.open((toEdge) => new BoundClient(toEdge));
    mock.method(bench.node("a").context.tokens, "verify", async () =>
      refused("UNAUTHORIZED", "forged"),
    );
    late.hello({ uid: "x" });
    late.bind(1, { uid: "y" });
    await bench.until("it is closed", () => late.closedWith !== undefined);
    assert.equal(late.closedWith, 4504);
    assert.deepEqual(bench.crashes, []);
  });

  // Peers who share a hello's token wait together for its one answer, 7 binds of 8 KiB each.
  test("that comes before anybody vouches for its connection waits with 4 KiB of tokens", async () => {
    const binds = await Binds.start();
    const { client, bench } = binds;
    const { tokens } = bench.node("a").context;
    const open: (() => void)[] = [];
    const verify = mock.method(tokens, "verify", async (token: string) => {
      await new Promise<void>((resolve) => open.push(resolve));
      return accepted({ jti: "", exp: 2 ** 40, ...JSON.parse(token) });
    });
    const large = { pad: "x".repeat(1_500) };
    client.hello({ uid: "own", claims: { pad: "x".repeat(7_000) } });
    for (const index of [1, 2, 3]) client.bind(index, { uid: `user-${index}`, claims: large });
    client.bind(4, { uid: "user-4" });
    assert.equal(await binds.refusal(3), "RATE_LIMITED");
    client.unbind(1);
    client.bind(1, { uid: "user-1", claims: large });
    await bench.run(200);
    assert.deepEqual(
      [1, 2, 4].flatMap((index) => client.seat(index).refused),
      [],
    );
    verify.mock.restore();
    for (const resolve of open) resolve();
    await bench.until("it is vouched for", () => client.takes.length > 0);
    client.bind(3, { uid: "user-3", claims: { pad: "x".repeat(7_000) } });
    await bench.until("all are bound", () =>
      [1, 2, 3, 4].every((index) => client.seat(index).attaches === 1),
    );
  });

  test("comes to nothing where the edge closes the connection meanwhile, as a hello does", async () => {
    for (const isBind of [true, false]) {
      const [binds, own] = await Binds.of("own");
      const { bench } = binds;
      const { tokens, transport } = bench.node("a").context;
      const open: (() => void)[] = [];
      mock.method(tokens, "verify", async (token: string) => {
        await new Promise<void>((resolve) => open.push(resolve));
        return accepted({ jti: "", exp: 2 ** 40, ...JSON.parse(token) });
      });
      const other = bench.node("a").edge.open((toEdge) => new BoundClient(toEdge));
      const client = isBind ? binds.client : other;
      const uid = binds.far(1);
      if (isBind) client.bind(1, { uid });
      else client.hello({ uid });
      await bench.until("its token is checked", () => open.length === 1);
      // Its peer does not answer the close yet.
      mock.method(transport, "close", () => undefined);
      client.send([clientKinds.unbind, "no index"]);
      for (const resolve of open) resolve();
      await bench.run(1_000);
      assert.equal(binds.edge()["furtherSessions"], 0);
      assert.deepEqual(await binds.usage(), { connections: 1, refused: 0 });
      assert.deepEqual([binds.connections(own ?? ""), binds.connections(uid)], [1, 0]);
      mock.restoreAll();
    }
  });

  test("costs one token check at a time, however many come", async () => {
    const [binds, own] = await Binds.of("own");
    const { client, bench } = binds;
    const { tokens } = bench.node("a").context;
    const open: (() => void)[] = [];
    const verify = tokens.verify.bind(tokens);
    let checks = 0;
    mock.method(tokens, "verify", (token: string) => {
      checks++;
      return new Promise<void>((resolve) => open.push(resolve)).then(() => verify(token));
    });
    for (let round = 0; round < 50; round++) {
      for (let index = 1; index <= 15; index++) client.bind(index, { uid: `user-${index}` });
      await bench.run(50);
    }
    assert.equal(checks, 1);
    // Taken back while it is verified: not bound, and its turn goes on to the next.
    client.unbind(1);
    assert.equal(await binds.ended(1), 1_000);
    client.bind(1, { uid: "user-1" });
    await bench.run(50);
    assert.equal(checks, 1);
    for (let check = 1; check <= 8; check++) {
      assert.equal(open.length, 1, `at check ${check}`);
      open.shift()?.();
      await bench.run(50);
    }
    assert.equal(checks, 8);
    await bench.until("seven are bound", () => binds.edge()["furtherSessions"] === 7);
    assert.equal(client.seat(1).uid, "user-1");
    assert.deepEqual(client.seat(8).refused[0], "TOO_MANY");
    await binds.push(own ?? "", "unharmed");
    assert.deepEqual(await binds.bodies(0, 1), ["unharmed"]);
  });
});

describe("binds and unbinds without end", () => {
  test("are held to a rate, and the connection goes on", async () => {
    const [binds, own] = await Binds.of("own");
    const { client, bench } = binds;
    const verify = mock.method(bench.node("a").context.tokens, "verify");
    const seconds = 20;
    for (let round = 0; round < seconds * 20; round++) {
      client.bind(1, { uid: `user-${round % 2}` }, { connect: round });
      client.unbind(1);
      await bench.run(50);
    }
    const checks = verify.mock.callCount();
    assert.ok(checks >= bindsBurst && checks <= bindsBurst + bindsPerSecond * seconds, `${checks}`);
    assert.equal(client.seat(1).refused[0], "RATE_LIMITED");
    await binds.push(own ?? "", "unharmed");
    assert.deepEqual(await binds.bodies(0, 1), ["unharmed"]);
    verify.mock.restore();
    await bench.run(10_000);
    client.bind(1, { uid: "user-0" }, { connect: 10_000 });
    await bench.until("it is bound", () => client.seat(1).uid === "user-0");
    assert.deepEqual(bench.crashes, []);
  });
});

describe("frames for what is not bound", () => {
  test("are ignored and counted", async () => {
    const [binds, own] = await Binds.of("own");
    const { client, bench } = binds;
    client.isAcking = false;
    await binds.push(own ?? "", 1);
    await binds.bodies(0, 1);
    const { generation, lastSeq } = client.seat(0);
    client.send([clientKinds.ack, 1, generation, lastSeq]);
    client.send([clientKinds.resend, 7, generation, 0]);
    client.send([clientKinds.token, 200, "no token"]);
    client.unbind(1);
    client.unbind(99);
    await bench.run(200);
    assert.equal(binds.edge()["unknownSessions"], 5);
    assert.equal(client.closedWith, undefined);
    assert.deepEqual(client.seat(0).bodies, [1]);
  });
});

describe("a client that reads too slowly", () => {
  test("is spared QoS 0 above half of its buffer, and closed above all of it", async () => {
    const [binds, own, far] = await Binds.of("own", "far");
    const { client, bench } = binds;
    const { edge } = bench.node("a");
    await binds.push(own ?? "", "typing", 0);
    edge.unreadBytes = connectionBufferBytesMax / 2 + 1;
    for (const uid of [own, far]) await binds.push(uid ?? "", "typing", 0);
    await binds.push(far ?? "", "stored");
    assert.deepEqual(await binds.bodies(1, 1), ["stored"]);
    assert.deepEqual(client.seat(0).passing, ["typing"]);
    assert.deepEqual(client.seat(1).passing, []);
    assert.equal(binds.edge()["passingDropped"], 2);
    edge.unreadBytes = connectionBufferBytesMax / 2;
    await binds.push(far ?? "", "typing", 0);
    await bench.until("it reads again", () => client.seat(1).passing.length === 1);
    edge.unreadBytes = connectionBufferBytesMax + 1;
    await binds.push(far ?? "", "too much");
    await bench.until("it is closed", () => client.closedWith !== undefined);
    assert.equal(client.closedWith, 4002);
  });

  test("are looked at together: what the client tells of its app is told to each owner", async () => {
    const [binds, ...uids] = await Binds.of("own", "far");
    binds.client.send([clientKinds.tell, { app: "background" }]);
    const states = () => uids.map((uid) => binds.bench.sessionsOf(uid)[0]?.["appState"]);
    await binds.bench.until("both know", () => states().every((app) => app === "background"));
    // `belfry user` shows these beside the user's own app and uid.
    const fields = binds.bench.sessionsOf(uids[0] ?? "").flatMap(Object.keys);
    assert.ok(!fields.includes("app") && !fields.includes("uid"));
  });
});
