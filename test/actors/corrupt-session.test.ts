/**
 * A user's stored rows that do not read: that user's pushes are refused as retryable with
 * a documented code, what is there stays, nobody else notices, and an operator can erase it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Fault } from "../../src/base/result.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import type { InboxErased } from "../../src/protocol/inbox-answer.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { sessionKey } from "../../src/protocol/shards.js";
import { ShardBench } from "../support/shard-bench.js";

/** As the drivers say it of a row that does not decode. */
class CorruptInbox extends MemoryInbox {
  isCorrupt = false;
  reads = 0;

  override async openGroup(group: number): Promise<InboxGroup> {
    const opened = await super.openGroup(group);
    const { loadSession } = opened;
    opened.loadSession = async (shard, key) => {
      const isHers = key === sessionKey("demo", "mallory");
      if (isHers) this.reads++;
      if (isHers && this.isCorrupt) {
        throw new Fault("STORE_CORRUPT", "not-done", "the session's record does not decode");
      }
      return loadSession.call(opened, shard, key);
    };
    return opened;
  }
}

/** Two messages wait for mallory; then her rows do not read any more, and she has a new owner. */
async function corrupted(): Promise<{ store: CorruptInbox; bench: ShardBench }> {
  const store = new CorruptInbox(8);
  const bench = await ShardBench.start({}, store);
  await bench.attach("mallory", 1);
  await bench.pushAll("mallory", [{ body: "one", id: "key" }, { body: "two" }]);
  store.isCorrupt = true;
  await bench.giveAnew();
  return { store, bench };
}

test("a session whose rows do not read refuses at once, and its neighbours are served", async () => {
  const { store, bench } = await corrupted();
  store.reads = 0;
  for (let time = 0; time < 30; time++) {
    const answers = await bench.pushAll("mallory", [{ body: time }, { body: time, qos: 0 }]);
    assert.deepEqual(answers.map(codeOf), ["STORE_UNAVAILABLE", "STORE_UNAVAILABLE"]);
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
  store.isCorrupt = false;
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
  assert.equal(!listed.ok && listed.code, "STORE_UNAVAILABLE");
  assert.deepEqual(await bench.inbox("mallory").catch((fault) => fault.code), "STORE_CORRUPT");
  const erased = await bench.ofInbox<InboxErased>("mallory", { op: "erase" });
  assert.deepEqual(erased, { ok: true, messages: 2, devices: 0 });
  store.isCorrupt = false;
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

test("a session that does not read leaves with its shard", async () => {
  const { store, bench } = await corrupted();
  await bench.pushAll("mallory", [{ body: "refused" }]);
  await bench.giveAnew();
  store.isCorrupt = false;
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
