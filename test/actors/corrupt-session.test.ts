/**
 * A user's stored rows that do not read: that user's pushes are refused as retryable with
 * a documented code, what is there stays, nobody else notices, and an operator can erase it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { InboxErased } from "../../src/protocol/inbox-answer.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { CorruptInbox } from "../support/corrupt-inbox.js";
import { ShardBench } from "../support/shard-bench.js";

/** Two messages wait for mallory; then her rows do not read any more, and she has a new owner. */
async function corrupted(): Promise<{ store: CorruptInbox; bench: ShardBench }> {
  const store = new CorruptInbox(8, "mallory");
  const bench = await ShardBench.start({}, store);
  await bench.attach("mallory", 1);
  await bench.pushAll("mallory", [{ body: "one", id: "key" }, { body: "two" }]);
  store.fault = "STORE_CORRUPT";
  await bench.giveAnew();
  return { store, bench };
}

test("a session whose rows do not read refuses at once, and its neighbours are served", async () => {
  const { store, bench } = await corrupted();
  store.reads = 0;
  for (let time = 0; time < 30; time++) {
    const answers = await bench.pushAll("mallory", [{ body: time }, { body: time, qos: 0 }]);
    assert.deepEqual(answers.map(codeOf), ["USER_UNREADABLE", "USER_UNREADABLE"]);
    assert.ok(answers.every((answer) => !answer.ok && answer.retryable));
    const [answer] = await bench.pushAll("alice", [{ body: time }]);
    assert.equal(answer?.ok, true, `alice's push ${time}`);
    await bench.clock.advanceAndSettle(500);
  }
  assert.ok(store.reads <= 16, `${store.reads} reads in 15 s`);
  assert.deepEqual(bench.crashes, []);
  assert.equal(bench.warnings.length, 1, "the log says it once");
  assert.match(bench.warnings[0] ?? "", /session not loaded.*demo\.mallory.*STORE_CORRUPT/);
});

test("what waits is there again when the rows read again", async () => {
  const { store, bench } = await corrupted();
  await bench.attach("mallory", 2);
  await bench.pushAll("mallory", [{ body: "refused" }]);
  assert.deepEqual(bench.bodies(2), []);
  store.fault = undefined;
  await bench.clock.advanceAndSettle(1_000);
  const answers = await bench.pushAll("mallory", [{ body: "three" }]);
  assert.deepEqual(
    answers.map((answer) => answer.ok && answer.seq),
    [3],
  );
  await bench.attach("mallory", 2);
  assert.deepEqual(bench.bodies(2), ["one", "two", "three"]);
  assert.deepEqual(bench.crashes, []);
});

test("an operator erases a user whose rows do not read", async () => {
  const { store, bench } = await corrupted();
  const listed = await bench.ofInbox("mallory", { op: "list" });
  assert.equal(!listed.ok && listed.code, "USER_UNREADABLE");
  assert.deepEqual(await bench.inbox("mallory").catch((fault) => fault.code), "STORE_CORRUPT");
  const erased = await bench.ofInbox<InboxErased>("mallory", { op: "erase" });
  assert.deepEqual(erased, { ok: true, messages: 2, devices: 0 });
  store.fault = undefined;
  assert.equal(await bench.stored("mallory"), undefined);
  assert.deepEqual(await bench.dueOf("mallory"), []);
  assert.equal((await bench.changesOf("mallory", "erased")).length, 1);
  const answers = await bench.pushAll("mallory", [{ body: "anew", id: "key" }]);
  assert.deepEqual(
    answers.map((answer) => answer.ok && answer.seq),
    [1],
  );
  assert.deepEqual(bench.crashes, []);
});

test("what is due of a neighbour is served behind all that stays due of such a user", async () => {
  const store = new CorruptInbox(8, "mallory");
  const bench = await ShardBench.start({}, store);
  const neighbour = sharingShard("mallory");
  // Each in a bucket of five seconds of its own.
  const lasting = Array.from({ length: 80 }, (_, at) => ({ body: at, ttl: 5 * (at + 1) }));
  await bench.pushAll("mallory", lasting);
  await bench.pushAll(neighbour, [{ body: "innocent", ttl: 410 }]);
  store.fault = "STORE_CORRUPT";
  await bench.giveAnew();
  await bench.clock.advanceAndSettle(410_000);
  assert.deepEqual(await bench.inbox(neighbour), [1]);
  assert.ok((await bench.dueOf("mallory")).length >= 80);
  // A page is read of each shard within eight looks.
  for (let second = 0; second < 30; second++) await bench.clock.advanceAndSettle(1_000);
  assert.deepEqual(await bench.inbox(neighbour), []);
  assert.deepEqual(await bench.dueOf(neighbour), []);
  // Nor are hers forgotten when they read again.
  store.fault = undefined;
  await bench.pushAll("mallory", [{ body: "new", ttl: 3_000 }]);
  for (let second = 0; second < 30; second++) await bench.clock.advanceAndSettle(1_000);
  assert.deepEqual(await bench.inbox("mallory"), [81]);
  assert.deepEqual(bench.crashes, []);
});

test("a session that does not read leaves with its shard", async () => {
  const { store, bench } = await corrupted();
  await bench.pushAll("mallory", [{ body: "refused" }]);
  await bench.giveAnew();
  store.fault = undefined;
  const answers = await bench.pushAll("mallory", [{ body: "three" }]);
  assert.deepEqual(
    answers.map((answer) => answer.ok && answer.seq),
    [3],
  );
  assert.deepEqual(bench.crashes, []);
});

function codeOf(answer: PushAnswer): string {
  return answer.ok ? "ok" : answer.code;
}

/** Another user, of the same shard. */
function sharingShard(uid: string): string {
  const shard = (of: string) => shardOfKey(sessionKey("demo", of));
  for (let number = 0; ; number++) if (shard(`v${number}`) === shard(uid)) return `v${number}`;
}
