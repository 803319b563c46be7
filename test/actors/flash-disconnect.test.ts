/**
 * A client that is back within moments, on virtual time: its session goes on from memory, on
 * the same edge or another, and no service is told that it was away.
 */
import assert from "node:assert/strict";
import { afterEach, describe, mock, test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import type { BenchClient } from "../support/bench-edge.js";
import { type BenchNode, NodeBench } from "../support/node-bench.js";

const { offlineAfterMs } = defaultLimits;

/** The owner of its shard is a, and so is the edge it comes to first. */
class Flash {
  connects = 1;
  pushed = 0;

  private constructor(
    readonly bench: NodeBench,
    readonly uid: string,
    public client: BenchClient,
  ) {}

  static async start(): Promise<Flash> {
    const bench = await NodeBench.start(["a", "b"]);
    bench.wishes = { presence: true };
    const a = bench.node("a");
    const uid = bench.userOf(a);
    const flash = new Flash(bench, uid, a.edge.connect(uid, "phone"));
    await bench.until("it is attached", () => flash.client.isAttached);
    await flash.push(3);
    await bench.until("it has them", () => flash.client.bodies.length === 3);
    await bench.until("its services know", () => flash.presence.length === 1);
    return flash;
  }

  async push(count: number): Promise<void> {
    for (let at = 0; at < count; at++) {
      const answers = this.bench.request(this.uid, { body: ++this.pushed });
      await this.bench.until("it is stored", () => answers.length === 1);
      assert.ok(answers[0]?.ok);
    }
  }

  /** Back with the position that its app has taken. */
  async comeBack(to: BenchNode): Promise<BenchClient> {
    const again = { connect: ++this.connects, position: this.client.position };
    this.client = to.edge.connect(this.uid, "phone", again);
    await this.bench.until("it is back", () => this.client.isAttached);
    return this.client;
  }

  get presence(): string[] {
    return this.bench.events.stored
      .map(({ subject }) => subject.split(".").at(-1) ?? "")
      .filter((kind) => kind === "online" || kind === "offline");
  }
}

/** How often sessions are loaded and entries read, from now on. */
async function countReads(bench: NodeBench) {
  const group = await bench.inboxes.openGroup(0);
  const prototype = Object.getPrototypeOf(group) as typeof group;
  const loads = mock.method(prototype, "loadSession");
  const reads = mock.method(prototype, "readEntries");
  return () => ({ loads: loads.mock.callCount(), reads: reads.mock.callCount() });
}

describe("a client that is back within moments", () => {
  afterEach(() => mock.restoreAll());

  for (const name of ["a", "b"]) {
    const where = name === "a" ? "the same edge" : "another edge";

    test(`goes on where it was on ${where}, and nothing is read for it`, async () => {
      const flash = await Flash.start();
      const { bench } = flash;
      const reads = await countReads(bench);
      bench.node("a").edge.leave(flash.client);
      await bench.run(1_000);
      const before = flash.client.position;
      const back = await flash.comeBack(bench.node(name));
      assert.deepEqual(back.base, before);
      await flash.push(2);
      await bench.until("it has the new ones", () => back.bodies.length === 2);
      assert.deepEqual(back.bodies, [4, 5]);
      assert.deepEqual(reads(), { loads: 0, reads: 0 });
      await bench.run(2 * offlineAfterMs);
      assert.deepEqual(flash.presence, ["online"]);
    });

    test(`is sent what came meanwhile on ${where}, and nothing twice`, async () => {
      const flash = await Flash.start();
      const { bench } = flash;
      const reads = await countReads(bench);
      bench.node("a").edge.leave(flash.client);
      await flash.push(10);
      const back = await flash.comeBack(bench.node(name));
      await bench.until("it has them", () => back.bodies.length === 10);
      await flash.push(1);
      await bench.until("it has that one, too", () => back.bodies.length === 11);
      assert.deepEqual(back.bodies, [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
      assert.equal(reads().loads, 0);
    });

    test(`acks by its position what it took unacked before it went to ${where}`, async () => {
      const flash = await Flash.start();
      const { bench } = flash;
      flash.client.isAcking = false;
      await flash.push(5);
      await bench.until("it has them", () => flash.client.bodies.length === 8);
      const before = flash.client.position;
      bench.node("a").edge.leave(flash.client);
      await bench.run(500);
      const back = await flash.comeBack(bench.node(name));
      await bench.run(1_000);
      assert.deepEqual([back.bodies, back.base], [[], before]);
      await flash.push(1);
      await bench.until("it goes on", () => back.bodies.length === 1);
      assert.deepEqual(back.bodies, [9]);
    });

    test(`takes over from a connection that nobody saw end, on ${where}`, async () => {
      const flash = await Flash.start();
      const { bench } = flash;
      const silent = flash.client;
      silent.isAcking = false;
      const position = silent.position;
      await flash.push(3);
      await bench.until("the dead one was sent them", () => silent.bodies.length === 6);
      const again = { connect: 2, position };
      const back = bench.node(name).edge.connect(flash.uid, "phone", again);
      await bench.until("it has them", () => back.bodies.length === 3);
      assert.deepEqual(back.bodies, [4, 5, 6]);
      await bench.until("the dead one is closed", () => silent.closedWith !== undefined);
      await bench.run(2 * offlineAfterMs);
      assert.deepEqual(flash.presence, ["online"]);
      assert.equal(back.closedWith, undefined);
    });
  }

  test("is told as away only when its time is over, however often it flashed before", async () => {
    const flash = await Flash.start();
    const { bench } = flash;
    for (let at = 0; at < 6; at++) {
      const [from, to] = at % 2 === 0 ? ["a", "b"] : ["b", "a"];
      bench.node(from as string).edge.leave(flash.client);
      await bench.run(offlineAfterMs * 0.8);
      await flash.comeBack(bench.node(to as string));
    }
    assert.deepEqual(flash.presence, ["online"]);
    bench.node("a").edge.leave(flash.client);
    await bench.run(offlineAfterMs * 0.8);
    assert.deepEqual(flash.presence, ["online"]);
    await bench.until("it is away", () => flash.presence.length === 2);
    assert.deepEqual(flash.presence, ["online", "offline"]);
  });

  test("keeps what it was sent by one edge from being set aside, whatever it acks", async () => {
    const flash = await Flash.start();
    const { bench } = flash;
    flash.client.isAcking = false;
    const { position } = flash.client;
    await flash.push(1);
    // Nine connections that end at once, each of which was sent the message.
    let client = flash.client;
    for (let connect = 2; connect < 11; connect++) {
      const [from, to] = connect % 2 === 0 ? ["a", "b"] : ["b", "a"];
      await bench.until("it was sent", () => client.bodies.includes(4));
      bench.node(from as string).edge.leave(client);
      client = bench.node(to as string).edge.connect(flash.uid, "phone", { connect, position });
      client.isAcking = false;
    }
    await bench.until("it is sent again", () => client.bodies.includes(4));
    client.ack();
    await flash.push(1);
    await bench.until("it goes on", () => client.bodies.includes(5));
    assert.deepEqual(client.bodies, [4, 5]);
  });
});
