/** What services ask of an inbox stands in line with what they push, and an erasure ends. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultLaneLimits } from "../../actors/lane-limits.js";
import { Fault } from "../../src/base/result.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import { MemoryLanes } from "../../src/drivers/memory-lanes.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import type { InboxErased, InboxRecalled } from "../../src/protocol/inbox-answer.js";
import { laneRecordVersion } from "../../src/protocol/lane-record.js";
import { sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { addressOn } from "../../src/runtime/address.js";
import { ShardBench } from "../support/shard-bench.js";
import { TroubledStore } from "../support/troubled-store.js";

const key = sessionKey("demo", "alice");

/** Its MsgID reservation has run out: the next push waits for a longer one. */
async function idleBench(): Promise<ShardBench> {
  const bench = await ShardBench.start();
  await bench.pushAll("alice", [{ body: 1 }]);
  await bench.clock.advanceAndSettle(120_000);
  return bench;
}

/** A push of hers hangs on its way to disk, and an erasure is asked for behind it. */
async function erasureBehindPush(
  store: MemoryInbox,
  before: (bench: ShardBench) => Promise<void> = () => Promise.resolve(),
) {
  const path = new TroubledStore(store);
  const bench = await ShardBench.start({}, store, 0, path);
  await bench.pushAll("alice", [{ body: 1 }]);
  await before(bench);
  path.stall();
  const pushed = bench.push("alice", { body: 2 });
  await bench.clock.advanceAndSettle(20);
  const erased = bench.askInbox("alice", { op: "erase" });
  return { path, bench, pushed, erased };
}

describe("behind a push that waits for a MsgID reservation", () => {
  test("a recall takes it back", async () => {
    const bench = await idleBench();
    const pushed = bench.push("alice", { body: 2, collapse: "offer" });
    const recalled = bench.askInbox("alice", { op: "recall", collapse: "offer" });
    const behind = bench.push("alice", { body: 3, collapse: "offer" });
    await bench.clock.advanceAndSettle(50);
    const [first, taken] = [await pushed, (await recalled) as InboxRecalled];
    assert.ok(first.ok && (await behind).ok);
    assert.deepEqual(taken, { ok: true, recalled: [first.id] });
    assert.deepEqual(await bench.inbox("alice"), [1, 3]);
  });

  test("an erasure takes it with it, and what came after it stays", async () => {
    const bench = await idleBench();
    const pushed = bench.push("alice", { body: 2 });
    const erased = bench.askInbox("alice", { op: "erase" });
    const behind = bench.push("alice", { body: 3 });
    const listed = bench.askInbox("alice", { op: "list" });
    await bench.clock.advanceAndSettle(50);
    assert.ok((await pushed).ok);
    assert.deepEqual(await erased, { ok: true, messages: 2, devices: 0 });
    const [kept, list] = [await behind, await listed];
    assert.ok(kept.ok && kept.seq === 1);
    assert.ok(list.ok && "entries" in list);
    assert.deepEqual(bench.crashes, []);
    assert.deepEqual(await bench.inbox("alice"), [1]);
  });

  test("the same one twice is the same one twice", async () => {
    const bench = await idleBench();
    const pushed = bench.push("alice", { body: 2 });
    const [once, twice] = [1, 2].map(() => bench.askInbox("alice", { op: "erase" }));
    await bench.clock.advanceAndSettle(50);
    assert.ok((await pushed).ok);
    assert.deepEqual(await once, { ok: true, messages: 2, devices: 0 });
    assert.deepEqual(await twice, { ok: true, messages: 0, devices: 0 });
  });
});

describe("an erasure that does not come through", () => {
  test("does not keep its group, whose commit failed, from beginning again", async () => {
    const store = new MemoryInbox(8);
    const { path, bench, pushed, erased } = await erasureBehindPush(store);
    await bench.clock.advanceAndSettle(20);
    store.failCommit({ outcome: "unknown", takesEffect: true });
    path.goOn();
    await bench.clock.advanceAndSettle(1_000);
    const answer = await pushed;
    assert.ok(!answer.ok && answer.code === "STORE_UNAVAILABLE");
    const again = bench.push("bob", { body: 1 });
    const anew = bench.push("alice", { body: 3 });
    await bench.clock.advanceAndSettle(1_000);
    assert.ok((await anew).ok, "within two seconds it serves again");
    assert.ok((await again).ok);
    const said = await erased;
    assert.ok(!said.ok && said.retryable, JSON.stringify(said));
    assert.deepEqual(await bench.inbox("alice"), [1, 2, 3]);
  });

  test("ends although its session crashes while it is written", async () => {
    const store = new MemoryInbox(8);
    const path = new TroubledStore(store);
    const bench = await ShardBench.start({}, store, 0.5, path);
    await bench.attach("alice", 1);
    await bench.pushAll("alice", [{ body: 1 }, { body: 2 }]);
    path.stall();
    const erased = bench.askInbox("alice", { op: "erase" });
    await bench.clock.advanceAndSettle(20);
    crashSession(bench);
    await bench.clock.advanceAndSettle(500);
    path.goOn();
    await bench.clock.advanceAndSettle(500);
    assert.deepEqual(await erased, { ok: true, messages: 2, devices: 1 });
    assert.equal(bench.crashes.length, 1);
    const closed = bench.toEdge.flatMap((told) => (told.kind === "CloseConnection" ? [told] : []));
    assert.deepEqual(
      closed.map(({ connection, close }) => [connection, close]),
      [[1, "ERASED"]],
    );
    const called = bench.toEdge.filter(({ kind }) => kind === "AttachAgain");
    assert.deepEqual(called, [], "an erased user's connections are not called to come back");
    assert.equal(await bench.stored("alice"), undefined);
    const again = await bench.ofInbox<InboxErased>("alice", { op: "erase" });
    assert.deepEqual(again, { ok: true, messages: 0, devices: 0 });
    await bench.pushAll("alice", [{ body: "new" }]);
    assert.deepEqual(await bench.inbox("alice"), [1]);
  });

  test("is refused when its session crashes before that, and what waits behind it", async () => {
    const store = new MemoryInbox(8);
    const { path, bench, pushed, erased } = await erasureBehindPush(store);
    const behind = bench.push("alice", { body: 3 });
    await bench.clock.advanceAndSettle(20);
    crashSession(bench);
    await bench.clock.advanceAndSettle(20);
    for (const said of [await erased, await behind]) {
      assert.ok(!said.ok && said.code === "NOT_READY", JSON.stringify(said));
    }
    path.goOn();
    await bench.clock.advanceAndSettle(500);
    assert.ok((await pushed).ok);
    assert.deepEqual(await bench.inbox("alice"), [1, 2]);
    const again = await bench.ofInbox<InboxErased>("alice", { op: "erase" });
    assert.deepEqual(again, { ok: true, messages: 2, devices: 0 });
  });

  test("is refused as retryable where the store cannot be read, and its session goes on", async () => {
    const store = new UnreadableInbox(8);
    const bench = await ShardBench.start({}, store);
    await bench.pushAll("alice", [{ body: 1 }]);
    store.isUnreadable = true;
    const erased = await bench.ofInbox("alice", { op: "erase" });
    assert.ok(!erased.ok && erased.code === "STORE_UNAVAILABLE");
    store.isUnreadable = false;
    const again = await bench.ofInbox<InboxErased>("alice", { op: "erase" });
    assert.deepEqual(again, { ok: true, messages: 1, devices: 0 });
    assert.deepEqual(bench.crashes, []);
  });
});

describe("an erasure that is refused when its turn comes", () => {
  /** A push is on its way to disk, an erasure behind it; the store cannot be read by then. */
  async function refusedErasure(meanwhile: (bench: ShardBench) => Promise<void>) {
    const store = new UnreadableInbox(8);
    const { path, bench, pushed, erased } = await erasureBehindPush(store, async (each) => {
      await each.attach("alice", 1);
      await each.ack("alice", 1, 1);
    });
    await bench.clock.advanceAndSettle(20);
    await meanwhile(bench);
    store.isUnreadable = true;
    path.goOn();
    await bench.clock.advanceAndSettle(50);
    const [push, answer] = [await pushed, await erased];
    assert.ok(push.ok && !answer.ok && answer.code === "STORE_UNAVAILABLE");
    store.isUnreadable = false;
    return bench;
  }

  test("leaves out none of the pushes before it", async () => {
    const bench = await refusedErasure(() => Promise.resolve());
    await bench.pushAll("alice", [{ body: 3 }]);
    assert.deepEqual(bench.bodies(1), [1, 2, 3]);
    await bench.ack("alice", 1, 3);
    assert.deepEqual(await bench.inbox("alice"), []);
    assert.deepEqual(bench.crashes, []);
  });

  test("knows who went meanwhile", async () => {
    const bench = await refusedErasure((each) =>
      each.tellSession("alice", { kind: "Detach", edge: "dc1-t.i/edge", connection: 1 }),
    );
    await bench.clock.advanceAndSettle(200_000);
    assert.deepEqual(bench.bodies(1), [1]);
    assert.deepEqual(await bench.inbox("alice"), [2]);
    assert.deepEqual(bench.crashes, []);
  });
});

describe("what is left outside the inbox", () => {
  async function startTraced() {
    const store = new MemoryInbox(8);
    let lanes: MemoryLanes | undefined;
    const bench = await ShardBench.start({}, store, 0.5, store, (clock) => {
      const queues = new MemoryLanes(clock);
      lanes = queues;
      return {
        queues,
        // Nobody works on it: what is in it stays.
        directory: { all: () => (isListed ? [{ v: laneRecordVersion, ...high }] : []) },
        bucket: undefined as never,
        limits: defaultLaneLimits,
      };
    });
    assert.ok(lanes !== undefined);
    isListed = true;
    await lanes.ensure({ v: laneRecordVersion, ...high });
    for (const [sequence, uid] of ["alice", "bob"].entries()) {
      await lanes.publish("high", sessionKey("demo", uid), new Uint8Array([1]));
      const died = { code: "INBOX_FULL", message: "", attempts: 1, sequence, storedAtMs: 9 };
      const letter = { lane: "old", key: sessionKey("demo", uid), payload: new Uint8Array(1) };
      await lanes.bury({ ...letter, ...died });
      const subject = `event.demo.user.${uid}.online`;
      await bench.events.publish({ subject, id: uid, payload: new Uint8Array() });
    }
    await bench.pushAll("alice", [{ body: 1 }]);
    return { bench, lanes };
  }

  const high = { lane: "high", weight: 1, workers: 1 };
  let isListed = false;

  async function leftOf(bench: ShardBench, lanes: MemoryLanes) {
    return {
      waiting: (await lanes.figures("high"))?.messages,
      letters: (await lanes.deadLetters("old", 10)).map(({ key: of }) => of),
      events: bench.events.stored.map(({ subject }) => subject),
    };
  }

  test("goes with the erasure: what waits in lanes, dead letters, events of presence", async () => {
    const { bench, lanes } = await startTraced();
    const erased = await bench.ofInbox<InboxErased>("alice", { op: "erase" });
    assert.deepEqual(erased, { ok: true, messages: 1, devices: 0 });
    assert.deepEqual(await leftOf(bench, lanes), {
      waiting: 1,
      letters: ["demo.bob"],
      events: ["event.demo.user.bob.online"],
    });
  });

  test("is deleted for a few users at a time, and who has no place in line is told to repeat it", async () => {
    const { bench } = await startTraced();
    let underWay = 0;
    let most = 0;
    const goOn: (() => void)[] = [];
    bench.events.forget = async () => {
      underWay++;
      most = Math.max(most, underWay);
      await new Promise<void>((resolve) => void goOn.push(resolve));
      underWay--;
    };
    const asked = Array.from({ length: 270 }, (_, at) =>
      bench.askInbox(`user-${at}`, { op: "erase" }),
    );
    await bench.clock.advanceAndSettle(2_000);
    while (goOn.length > 0) {
      goOn.shift()?.();
      await bench.clock.advanceAndSettle(1);
    }
    const answers = await Promise.all(asked);
    assert.equal(most, 4);
    assert.equal(answers.filter(({ ok }) => ok).length, 260);
    assert.ok(answers.every((answer) => answer.ok || answer.retryable));
  });

  test("is not said to be gone before it is, and goes when the erasure is repeated", async () => {
    const { bench, lanes } = await startTraced();
    bench.events.isAway = true;
    const erased = await bench.ofInbox("alice", { op: "erase" });
    assert.ok(!erased.ok && erased.retryable && erased.code === "STORE_UNAVAILABLE");
    assert.equal(await bench.stored("alice"), undefined);
    bench.events.isAway = false;
    const again = await bench.ofInbox<InboxErased>("alice", { op: "erase" });
    assert.deepEqual(again, { ok: true, messages: 0, devices: 0 });
    assert.deepEqual((await leftOf(bench, lanes)).events, ["event.demo.user.bob.online"]);
  });
});

/** For who looks for more than a sweep does. */
class UnreadableInbox extends MemoryInbox {
  isUnreadable = false;

  override async openGroup(group: number): Promise<InboxGroup> {
    const inner = await super.openGroup(group);
    const { readDue } = inner;
    inner.readDue = async (shard, untilMs, countMax) => {
      if (this.isUnreadable && countMax > 64) {
        throw new Fault("STORE_UNAVAILABLE", "not-done", "this test said so");
      }
      return readDue.call(inner, shard, untilMs, countMax);
    };
    return inner;
  }
}

/** By a message that nobody sends. */
function crashSession(bench: ShardBench): void {
  const shard = shardOfKey(key);
  const group = bench.store.groupOf(shard);
  bench.system.tell(addressOn("dc1-t.i", `shards/${group}/${shard}/${key}`), {
    kind: "AcceptPush",
  });
}
