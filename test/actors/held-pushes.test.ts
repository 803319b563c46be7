/**
 * Pushes that an intake holds, on virtual time: whatever keeps the group from serving them,
 * who wants an answer has one by its deadline, and what is held has a bound.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { HeldPushes, HeldRoom } from "../../actors/held-pushes.js";
import { defaultLimits } from "../../actors/limits.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { InboxStore } from "../../src/ports/inbox-store.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { MoveBench, type Sent, unitOf } from "../support/move-bench.js";
import { ShardBench } from "../support/shard-bench.js";
import { TroubledStore } from "../support/troubled-store.js";

const { requestDeadlineMs } = defaultLimits;
const unit = unitOf("u0");

function isUnknown(answer: PushAnswer | undefined): boolean {
  return answer !== undefined && !answer.ok && answer.code === "TIMEOUT" && answer.retryable;
}

/** Groups that do not open until the store goes on. */
async function startHolding() {
  const store = new MemoryInbox(8);
  const path = new TroubledStore(store);
  path.stall();
  return { bench: await ShardBench.start({}, store, 0, path), path };
}

describe("a group that does not open", () => {
  test("has each request answered by its deadline, and serves what nobody waits for", async () => {
    const { bench, path } = await startHolding();
    let early: PushAnswer | undefined;
    void bench.push("alice", { body: "early" }).then((answer) => {
      early = answer;
    });
    bench.publishWith("alice", { body: "plain" }, "");
    await bench.clock.advanceAndSettle(3_000);
    const late = bench.push("alice", { body: "late" });
    await bench.clock.advanceAndSettle(requestDeadlineMs - 3_000);
    assert.ok(isUnknown(early), JSON.stringify(early));
    path.goOn();
    await bench.clock.advanceAndSettle(100);
    assert.ok((await late).ok);
    const bodies = (await bench.inbox("alice")).length;
    assert.equal(bodies, 2, "what was answered is not served");
    assert.deepEqual(bench.crashes, []);
  });

  test("leaves of a deadline what the holding has not used up", async () => {
    const { bench, path } = await startHolding();
    let said: PushAnswer | undefined;
    void bench.push("alice", { body: 1 }).then((answer) => {
      said = answer;
    });
    await bench.clock.advanceAndSettle(3_000);
    path.goOn();
    path.stall();
    await bench.clock.advanceAndSettle(requestDeadlineMs - 3_000);
    assert.ok(said !== undefined && !said.ok && said.retryable, JSON.stringify(said));
  });
});

describe("a move that does not end", () => {
  async function startMove(closing: Promise<void>) {
    const bench = new MoveBench();
    const slow = Object.create(bench.store) as InboxStore;
    slow.openGroup = async (group) => {
      const opened = await bench.store.openGroup(group);
      const { close } = opened;
      opened.close = () => closing.then(() => close.call(opened));
      return opened;
    };
    const stuck = Object.create(bench.store) as InboxStore;
    stuck.openGroup = () => new Promise(() => undefined);
    bench.storeFor = (nodeId) => (nodeId === "dc1-b" ? stuck : slow);
    const [a, b] = [bench.addNode("a", 1, 5), bench.addNode("b", 1, 5)];
    bench.addPublisher(0, 1);
    bench.give(unit, a);
    await bench.clock.advanceAndSettle(100);
    bench.move(unit, b);
    await bench.clock.advanceAndSettle(20);
    const sent = bench.publish(0, "u0", true);
    return { bench, sent };
  }

  function assertInTime({ answers, answeredMs, sentMs }: Sent): void {
    assert.ok(answers.length > 0);
    // Each owner that has it says the same: neither knows what the other does.
    assert.ok(answers.every(isUnknown), JSON.stringify(answers));
    assert.ok(answeredMs - sentMs <= requestDeadlineMs, `${answeredMs - sentMs} ms`);
  }

  test("has answered what its old owner could not hand over", async () => {
    const { bench, sent } = await startMove(new Promise(() => undefined));
    await bench.clock.advanceAndSettle(requestDeadlineMs + 500);
    assertInTime(sent);
  });

  test("counts for the new owner, too, how long the old one held it", async () => {
    let close = () => {};
    const closing = new Promise<void>((resolve) => {
      close = resolve;
    });
    const { bench, sent } = await startMove(closing);
    await bench.clock.advanceAndSettle(3_000);
    close();
    await bench.clock.advanceAndSettle(requestDeadlineMs - 2_000);
    assertInTime(sent);
  });
});

describe("what is held", () => {
  const held = (bytes: number, sinceMs = 0, reply?: string) => ({
    push: {
      subject: "s",
      payload: new Uint8Array(bytes),
      ...(reply === undefined ? {} : { reply }),
    },
    sinceMs,
  });

  test("has one bound for all groups of the node", () => {
    const room = new HeldRoom();
    const limits = { ...defaultLimits, nodeHeldPushesMax: 3, nodeHeldBytesMax: 1_000 };
    const [one, two] = [new HeldPushes(room, limits), new HeldPushes(room, limits)];
    assert.ok(one.add(held(10)) && two.add(held(10)) && one.add(held(10)));
    assert.equal(two.add(held(10)), false);
    assert.equal(one.takeAll().length, 2);
    assert.ok(two.add(held(990)));
    assert.equal(one.add(held(1)), false, "so many bytes are held");
    two.takeAll();
    assert.deepEqual([room.count, room.bytes], [0, 0]);
  });

  test("keeps count of what came here alone when the first of it are overdue", () => {
    const pushes = new HeldPushes(new HeldRoom(), defaultLimits);
    for (const at of [1, 2, 3]) pushes.add(held(at, at, "_INBOX.1"));
    pushes.add(held(4, 1));
    pushes.markAlone();
    pushes.add(held(5, 9, "_INBOX.1"));
    assert.deepEqual(
      pushes.takeOverdue(3).map(({ sinceMs }) => sinceMs),
      [1, 2],
    );
    assert.deepEqual([pushes.alone, pushes.count], [2, 3]);
    assert.deepEqual(
      pushes.takeAll().map(({ push }) => push.payload.length),
      [3, 4, 5],
    );
  });
});
