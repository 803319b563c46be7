/**
 * Nodes that lose their lease, on virtual time: off the bus, or stopped past it. They go
 * on as another incarnation; what the former one was has no effect any more.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { nodeNameOf } from "../../actors/placement-view.js";
import { packValue } from "../../src/protocol/codec.js";
import { packRecord, unpackRecord } from "../../src/protocol/message-record.js";
import type { ToSession } from "../../src/protocol/messages.js";
import type { MsgId } from "../../src/protocol/msg-id.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { decodePushCommand, type PushCommand } from "../../src/protocol/push-command.js";
import { sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { operatorSubject, pingSubject } from "../../src/protocol/subjects.js";
import { addressOn } from "../../src/runtime/address.js";
import { decodeBatch } from "../../src/runtime/wire.js";
import type { BenchClient } from "../support/bench-edge.js";
import { type BenchNode, NodeBench } from "../support/node-bench.js";

const leaseMs = 3_000;
/** Past it, and past what others wait beyond it. */
const longMs = 6_000;

function incarnations(bench: NodeBench): string[] {
  return bench.nodes.map(({ context }) => context.incarnation);
}

async function attach(bench: NodeBench, node: BenchNode, uid: string): Promise<BenchClient> {
  const client = node.edge.connect(uid, `on-${node.name}`);
  await bench.until("the client is attached", () => client.isAttached);
  return client;
}

function isOk(answer: PushAnswer | undefined): boolean {
  return answer?.ok === true;
}

/** Sends one body after the other, each until it is answered ok, as a publisher with ids does. */
async function pushUntilOk(bench: NodeBench, uid: string, bodies: readonly number[]) {
  for (const body of bodies) {
    let isDone = false;
    for (let tries = 0; !isDone; tries++) {
      assert.ok(tries < 100, `push ${body} is never answered ok`);
      const answers = bench.request(uid, { body, id: `${uid}-${body}` });
      await bench.run(200);
      isDone = answers.some(isOk);
    }
  }
}

async function stored(bench: NodeBench, uid: string): Promise<unknown[]> {
  const key = sessionKey("demo", uid);
  const shard = shardOfKey(key);
  const group = await bench.inboxes.openGroup(bench.inboxes.groupOf(shard));
  const entries = await group.readEntries(shard, key, 0, 100_000, Number.MAX_SAFE_INTEGER);
  return entries.map((entry) => unpackRecord(entry.record).body);
}

const ascending = (count: number) => Array.from({ length: count }, (_, at) => at);

describe("a node that is off the bus", () => {
  test("for less than its lease goes on as it was", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const before = incarnations(bench);
    bench.node("a").process.goOut();
    await bench.run(1_500);
    bench.node("a").process.comeBack();
    await bench.run(longMs);
    assert.deepEqual(incarnations(bench), before);
    assert.deepEqual(bench.crashes, []);
  });

  test("past its lease rejoins, keeps its sockets, and its devices miss and repeat nothing", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const [a, b] = [bench.node("a"), bench.node("b")];
    const [ofA, ofB] = [bench.userOf(a), bench.userOf(b)];
    const clients = [await attach(bench, a, ofA), await attach(bench, a, ofB)];
    const elsewhere = await attach(bench, b, ofB);
    for (const uid of [ofA, ofB]) await pushUntilOk(bench, uid, [0, 1, 2]);
    const formerly = a.context.incarnation;
    a.process.goOut();
    await bench.run(leaseMs + 300);
    assert.notEqual(a.context.incarnation, formerly);
    assert.equal(bench.store.isHeldBy("a"), false, "it has closed what it had open");
    await bench.run(longMs);
    for (const uid of [ofA, ofB]) await pushUntilOk(bench, uid, [3, 4, 5]);
    a.process.comeBack();
    await bench.until("all is placed again", () => bench.isSettled());
    for (const uid of [ofA, ofB]) await pushUntilOk(bench, uid, [6, 7, 8]);
    for (const client of [...clients, elsewhere]) {
      await bench.until("all has come", () => client.bodies.length >= 9);
      assert.deepEqual(client.bodies, ascending(9));
      assert.equal(client.closedWith, undefined);
    }
    assert.equal(a.system.node, nodeNameOf(a.context));
    assert.equal(a.context.view.rejoins, 1);
    assert.equal(b.context.view.rejoins, 0);
    assert.deepEqual(bench.store.killed, []);
    assert.deepEqual(bench.crashes, []);
  });

  test("loses no ack: the edge says it again to the next owner, long before the ack is overdue", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const [a, b] = [bench.node("a"), bench.node("b")];
    const uid = bench.userOf(b);
    const client = await attach(bench, a, uid);
    client.isAcking = false;
    await pushUntilOk(bench, uid, [0, 1]);
    await bench.until("both have come", () => client.bodies.length === 2);
    b.process.goOut();
    client.ack();
    await bench.run(longMs);
    const owner = a.context.view.ownerOf(shardOfKey(sessionKey("demo", uid)));
    assert.equal(owner?.nodeId, a.context.nodeId, "it has another owner");
    assert.deepEqual(await stored(bench, uid), []);
    assert.deepEqual(client.bodies, [0, 1]);
  });

  test("leaves no ghosts: sessions know its connections by the new name, and only those that are", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const [a, b] = [bench.node("a"), bench.node("b")];
    const uid = bench.userOf(b);
    await attach(bench, a, uid);
    a.process.goOut();
    await bench.run(leaseMs + 300);
    a.process.comeBack();
    await bench.until("all is placed again", () => bench.isSettled());
    await bench.run(1_000);
    const [at] = bench.connectionsOf(uid);
    assert.ok(at?.startsWith(`${nodeNameOf(a.context)}/edge/`), `${at}`);
  });

  test("whose client left meanwhile has it in no session afterwards", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const [a, b] = [bench.node("a"), bench.node("b")];
    const uid = bench.userOf(b);
    await attach(bench, a, uid);
    assert.notDeepEqual(bench.connectionsOf(uid), [null]);
    a.process.goOut();
    await bench.run(leaseMs + 300);
    a.edge.closeAll();
    a.process.comeBack();
    await bench.until("all is placed again", () => bench.isSettled());
    await bench.run(1_000);
    assert.deepEqual(bench.connectionsOf(uid), [null]);
  });

  test("has no connection of its former name in a session, however late its attach comes", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const [a, b] = [bench.node("a"), bench.node("b")];
    const uid = bench.userOf(b);
    await attach(bench, a, uid);
    const formerly = nodeNameOf(a.context);
    a.process.goOut();
    await bench.run(leaseMs + 300);
    a.process.comeBack();
    await bench.until("all is placed again", () => bench.isSettled());
    const key = sessionKey("demo", uid);
    const shard = shardOfKey(key);
    for (const edge of [`${formerly}/edge`, "dc1-new.not-seen-yet/edge"]) {
      const ref = { edge, connection: 77, connect: 1, start: "all", platform: "" } as const;
      const message = { kind: "Attach", ...ref, device: edge } as const;
      const epoch = b.context.view.table.epochOf(shard);
      const told: ToSession = { kind: "ToSession", shard, epoch, key, message };
      b.system.tell(addressOn(nodeNameOf(b.context), "shards"), told);
    }
    await bench.run(100);
    const edges = bench.connectionsOf(uid).map((at) => at?.slice(0, at.lastIndexOf("/")));
    assert.deepEqual(edges, [`${nodeNameOf(a.context)}/edge`, "dc1-new.not-seen-yet/edge"]);
  });

  test("answers pings and operators under its new name alone", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const { context, process } = bench.node("a");
    const { nodeId, incarnation: formerly } = context;
    process.goOut();
    await bench.run(longMs);
    process.comeBack();
    await bench.until("all is placed again", () => bench.isSettled());
    const { incarnation } = context;
    for (const subject of [pingSubject(nodeId, formerly), operatorSubject(nodeId, formerly)]) {
      await assert.rejects(bench.server.request(subject, new Uint8Array(0), 1_000), /nobody/);
    }
    for (const subject of [
      pingSubject(nodeId, incarnation),
      operatorSubject(nodeId, incarnation),
    ]) {
      const answer = bench.server.request(subject, new Uint8Array(0), 1_000);
      await bench.run(100);
      await answer;
    }
  });

  test("together with all others has its groups again: nobody's store is taken from it", async () => {
    const bench = await NodeBench.start(["a", "b", "c"]);
    const before = { owners: bench.owners(), incarnations: incarnations(bench) };
    const clients = await Promise.all(
      bench.nodes.map((node) => attach(bench, node, bench.userOf(bench.node("a")))),
    );
    for (const { process } of bench.nodes) process.goOut();
    await bench.run(10_000);
    for (const { process } of bench.nodes) process.comeBack();
    const tookMs = await bench.until("all is placed again", () => bench.isSettled());
    assert.deepEqual(bench.owners(), before.owners);
    for (const [index, incarnation] of incarnations(bench).entries()) {
      assert.notEqual(incarnation, before.incarnations[index]);
    }
    assert.deepEqual(bench.store.killed, []);
    // Nobody waits for the lease of a former leader or owner.
    assert.ok(tookMs < leaseMs / 2, `${tookMs} ms`);
    for (const client of clients) assert.equal(client.closedWith, undefined);
    await pushUntilOk(bench, bench.userOf(bench.node("a")), [1]);
    for (const client of clients) assert.deepEqual(client.bodies, [1]);
    assert.deepEqual(bench.crashes, []);
  });

  test("closes what it has open before it says that its former incarnation is over", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const a = bench.node("a");
    const owned = bench.owners();
    a.process.goOut();
    bench.store.closeMs = 800;
    await bench.until("its lease is lost", () => a.context.view.rejoins === 1);
    assert.equal(bench.store.isHeldBy("a"), true);
    // Back before the others' patience ends, and while it still closes.
    a.process.comeBack();
    const { bucket } = bench;
    await bench.run(300);
    const record = await bucket.get("node.dc1-a");
    assert.ok(!Buffer.from(record?.value ?? []).includes(a.context.incarnation), "not claimed yet");
    bench.store.closeMs = 0;
    await bench.until("all is placed again", () => bench.isSettled());
    assert.deepEqual(bench.store.killed, []);
    assert.deepEqual(bench.owners(), owned);
  });
});

/** What reached others in batches that this node sent under `name`: the kinds of its messages. */
function kindsSent(node: BenchNode, name: string, fromIndex: number): string[] {
  return node.bus.published.slice(fromIndex).flatMap(({ payload, subject }) => {
    const batch = subject.endsWith(".actors") ? decodeBatch(payload) : undefined;
    if (!batch?.ok || batch.from !== name) return [];
    return batch.entries.flatMap((entry) =>
      "message" in entry ? [(entry.message as { kind: string }).kind] : [],
    );
  });
}

function answersSent(node: BenchNode, fromIndex: number): number {
  const sent = node.bus.published.slice(fromIndex);
  return sent.filter(({ subject }) => subject.startsWith("_INBOX.publisher.")).length;
}

describe("an owner that was stopped past its lease and goes on", () => {
  for (const victim of ["a", "b"]) {
    test(`answers nothing, delivers nothing, attaches nobody (${victim} of a and b)`, async () => {
      const bench = await NodeBench.start(["a", "b"]);
      const sleeper = bench.node(victim);
      const other = bench.node(victim === "a" ? "b" : "a");
      const uid = bench.userOf(sleeper);
      const client = await attach(bench, other, uid);
      const formerly = nodeNameOf(sleeper.context);
      sleeper.process.stop();
      const unheard = [0, 1].map((qos) => bench.request(uid, { body: "unheard", qos }));
      await bench.until("the other owns all", () =>
        bench.owners(other).every((nodeId) => nodeId === other.context.nodeId),
      );
      await bench.run(1_000);
      const heard = [0, 1].map((qos) => bench.request(uid, { body: "heard", qos }));
      // Its attach goes to the new owner, the sleeper has another one waiting.
      const late = await attach(bench, other, bench.userOf(other));
      await bench.run(500);
      const from = sleeper.bus.published.length;
      sleeper.process.resume();
      await bench.run(leaseMs);
      assert.equal(sleeper.context.view.rejoins, 1);
      assert.deepEqual(unheard, [[], []]);
      assert.deepEqual(
        heard.map((answers) => answers.map(isOk)),
        [[true], [true]],
      );
      assert.equal(answersSent(sleeper, from), 0);
      const kinds = new Set(kindsSent(sleeper, formerly, from));
      for (const kind of ["Attached", "Deliver", "DeliverPassing", "WrongOwner", "AttachAgain"]) {
        assert.ok(!kinds.has(kind), kind);
      }
      assert.deepEqual([client.passing, client.bodies], [["heard"], ["heard"]]);
      assert.equal(late.closedWith, undefined);
      await bench.until("all is placed again", () => bench.isSettled());
      assert.deepEqual(bench.crashes, []);
    });
  }

  test("says ok for what it has on disk, and nothing of what it only was to hand on", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const [a, b] = [bench.node("a"), bench.node("b")];
    const uid = bench.userOf(b);
    const client = await attach(bench, a, uid);
    const both = (id: number) =>
      [0, 1].map((qos) => bench.request(uid, { body: qos, id: `${id}-${qos}`, qos }));
    bench.store.commitMs = 200;
    const first = bench.request(uid, { body: "first" });
    await bench.run(50);
    // In the second commit, which is on its way when the process stops; in the third.
    const second = both(2);
    await bench.run(200);
    const third = both(3);
    await bench.run(20);
    b.process.stop();
    // So soon that nobody has the shard yet: the third commit is not fenced.
    await bench.run(leaseMs + 300);
    b.process.resume();
    await bench.run(1_000);
    assert.deepEqual(first.map(isOk), [true]);
    for (const [passing, durable] of [second, third]) {
      assert.deepEqual([passing, durable?.map(isOk)], [[], [true]]);
    }
    await bench.until("all is placed again", () => bench.isSettled());
    await bench.until("all has come", () => client.bodies.length === 3);
    assert.deepEqual([client.bodies, client.passing], [["first", 1, 1], []]);
  });

  test("opens no store again that failed before: its new holder would be killed for it", async () => {
    const bench = await NodeBench.start(["a", "b"]);
    const [a, b] = [bench.node("a"), bench.node("b")];
    const uid = bench.userOf(b);
    bench.inboxes.failCommit({ outcome: "unknown", takesEffect: false });
    bench.request(uid, { body: 1 });
    for (let ms = 0; ms < 100 && bench.crashes.length === 0; ms++) await bench.run(1);
    assert.match(bench.crashes[0] ?? "", /on CommitEnded/);
    // It is about to be opened again: that timer is due before any look at the lease.
    b.process.stop();
    await bench.until("the other owns all", () =>
      bench.owners(a).every((nodeId) => nodeId === a.context.nodeId),
    );
    await bench.run(1_000);
    b.process.resume("timers");
    await bench.run(1_000);
    assert.ok(!bench.store.killed.some((kill) => kill.endsWith("by b")), `${bench.store.killed}`);
    await bench.until("all is placed again", () => bench.isSettled());
  });
});

test("a message at most once of another epoch than the connection's is not put on the wire", async () => {
  const bench = await NodeBench.start(["a"]);
  const a = bench.node("a");
  const uid = bench.userOf(a);
  const client = await attach(bench, a, uid);
  await bench.run(100);
  const [at] = bench.connectionsOf(uid);
  const connection = Number(at?.slice(at.lastIndexOf("/") + 1));
  const epoch = a.context.view.table.epochOf(shardOfKey(sessionKey("demo", uid)));
  const record = packRecord("0000000000000000" as MsgId, decoded({ body: "passing", qos: 0 }));
  for (const told of [{ epoch: epoch - 1 }, { epoch: epoch + 1 }, { epoch }, {}]) {
    a.system.tell(addressOn(nodeNameOf(a.context), "edge"), {
      kind: "DeliverPassing",
      connection,
      record,
      ...told,
    });
  }
  await bench.run(100);
  assert.deepEqual(client.passing, ["passing", "passing"]);
});

function decoded(command: object): PushCommand {
  const result = decodePushCommand(packValue(command));
  if (!result.ok) throw new Error(result.message);
  return result.value;
}

/** Repeats each push under its id until it is answered ok, then goes on to the next. */
class Publisher {
  /** Answered ok. */
  accepted = 0;
  isWanted = true;
  private answers: PushAnswer[] | undefined;
  private sentMs = 0;

  constructor(
    private readonly bench: NodeBench,
    readonly uid: string,
  ) {}

  step(): void {
    const nowMs = this.bench.clock.monotonicMs();
    if (this.answers?.some(isOk)) {
      this.accepted++;
      this.answers = undefined;
    }
    const isDue = this.answers === undefined ? this.isWanted : nowMs - this.sentMs > 1_000;
    if (!isDue) return;
    this.sentMs = nowMs;
    const body = this.accepted;
    this.answers = this.bench.request(this.uid, { body, id: `${this.uid}-${body}` });
  }

  get isIdle(): boolean {
    return this.answers === undefined;
  }
}

const scenario = fc.record({
  /** Which sides lose it: the giver, the taker, or both. */
  sides: fc.constantFrom(["from"], ["to"], ["from", "to"]),
  how: fc.constantFrom("out", "stopped"),
  afterMs: fc.integer({ min: 0, max: 150 }),
  lostMs: fc.integer({ min: 3_200, max: 9_000 }),
});

type Scenario = typeof scenario extends fc.Arbitrary<infer Value> ? Value : never;

describe("a lease that is lost in the middle of a move", () => {
  test("ends with one owner, and nothing is lost of what was answered", async () => {
    const check = async ({ sides, how, afterMs, lostMs }: Scenario) => {
      const bench = await NodeBench.start(["a", "b"]);
      const publishers = ascending(12).map((n) => new Publisher(bench, `u${n}`));
      const go = async (ms: number, isDone = () => false) => {
        for (let left = ms; left > 0 && !isDone(); left -= 50) {
          for (const publisher of publishers) publisher.step();
          await bench.run(50);
        }
        return isDone();
      };
      await go(500);
      bench.addNode("c");
      assert.ok(await go(20_000, () => bench.isMoving()), "a move begins");
      const [from, to] = bench.moving() ?? [];
      const victims = sides.map((side) => bench.nodeOf((side === "from" ? from : to) as string));
      await bench.run(afterMs);
      for (const { process } of victims) how === "out" ? process.goOut() : process.stop();
      await go(lostMs);
      for (const { process } of victims) how === "out" ? process.comeBack() : process.resume();
      for (const publisher of publishers) publisher.isWanted = false;
      const isIdle = () => publishers.every((publisher) => publisher.isIdle);
      assert.ok(await go(60_000, () => isIdle() && bench.isSettled()), "all is placed again");
      for (const { uid, accepted } of publishers) {
        assert.deepEqual(await stored(bench, uid), ascending(accepted), uid);
      }
      assert.deepEqual(bench.crashes, []);
      // Who is off the bus lives, and closes what it has in time.
      if (how === "out") assert.deepEqual(bench.store.killed, []);
    };
    await fc.assert(fc.asyncProperty(scenario, check), { numRuns: 25, seed: 7 });
  });
});
