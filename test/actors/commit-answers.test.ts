/** What publishers are told when their group stops: each by the fate of its own shard's write. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { answerDurable, fencedShards } from "../../actors/commit-answers.js";
import { CommitPace } from "../../actors/commit-pace.js";
import { CommitQueue } from "../../actors/commit-queue.js";
import { defaultLimits } from "../../actors/limits.js";
import { PendingWrite, type WriteAuthor } from "../../actors/pending-write.js";
import { Fault } from "../../src/base/result.js";
import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { unpackValue } from "../../src/protocol/codec.js";
import type { MsgId } from "../../src/protocol/msg-id.js";
import { type Shard, sessionKey } from "../../src/protocol/shards.js";
import { VirtualClock } from "../support/virtual-clock.js";

const author: WriteAuthor = {
  toRecord: () => ({ generation: 1, lastSeq: 1, devices: [] }),
  wantsReceipt: () => false,
  committed: () => undefined,
};

function writeOf(shard: number): PendingWrite {
  const write = new PendingWrite(author, shard as Shard, sessionKey("demo", `user-${shard}`));
  const reply = { subject: `_INBOX.${shard}`, encoding: "msgpack" } as const;
  write.answers.push({ reply, id: `id-${shard}` as MsgId, seq: 1, isDuplicate: false });
  return write;
}

test("a fence on one shard keeps no answer from the others, and its own is nobody's to give", async () => {
  const clock = new VirtualClock();
  const bus = new MemoryBus(clock);
  const told: unknown[] = [];
  bus.subscribe("_INBOX.*", ({ subject, payload }) => {
    told.push([subject, (unpackValue(payload) as { ok: boolean }).ok]);
  });
  const [first, second, third] = [1, 2, 3].map((shard) => ({
    ...{ shard: shard as Shard, epoch: 4, sessions: [] },
  }));
  const writes = [first, second, third].flatMap((write) => write ?? []);
  const answers = [
    { ok: true, epoch: 4, value: { lastChange: 1 } },
    { ok: false, epoch: 9, code: "FENCED", message: "" },
    { ok: true, epoch: 4, value: { lastChange: 1 } },
  ] as const;
  const fenced = fencedShards(writes, answers);
  answerDurable(bus, [writeOf(1), writeOf(2), writeOf(3)], fenced);
  await clock.advanceAndSettle(10);
  assert.deepEqual(told, [
    ["_INBOX.1", true],
    ["_INBOX.3", true],
  ]);
});

test("who waits for writes that nobody will settle is let go at once, then and later", async () => {
  const clock = new VirtualClock();
  const queue = new CommitQueue(
    () => undefined,
    defaultLimits,
    new CommitPace(clock, defaultLimits),
  );
  const write = writeOf(1);
  queue.submit(write);
  queue.take();
  const isLetGo = { code: "STORE_UNAVAILABLE", outcome: "unknown" };
  const waiting = assert.rejects(async () => queue.whenSettled(write.key), isLetGo);
  assert.deepEqual(queue.abandon(), [write]);
  await waiting;
  await assert.rejects(async () => queue.whenSettled(write.key), Fault);
  assert.equal(queue.whenSettled(sessionKey("demo", "nobody")), undefined);
});
