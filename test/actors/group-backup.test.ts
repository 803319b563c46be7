/** The copy of a group that leaves this node is ended, and says so in a way that can be retried. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GroupBackup } from "../../actors/group-backup.js";
import { Fault } from "../../src/base/result.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import { errorTable } from "../../src/protocol/errors.js";
import { addressOn } from "../../src/runtime/address.js";
import { ShardBench } from "../support/shard-bench.js";

const order = { kind: "BackUpGroup", folder: "/nowhere", permit: "one" } as const;

/** A disk that copies for as long as it may. */
function slowInbox() {
  const ended: unknown[] = [];
  const backUp = (_folder: string, _permit: string, signal?: AbortSignal) =>
    new Promise<void>((_, reject) => {
      signal?.addEventListener("abort", () => {
        ended.push(signal.reason);
        reject(new Fault("NOT_READY", "not-done", String(signal.reason)));
      });
    });
  return { inbox: { backUp } as Partial<InboxGroup> as InboxGroup, ended };
}

test("ends its copy when the group leaves, and is asked again where it goes", () => {
  const { inbox, ended } = slowInbox();
  const backup = new GroupBackup();
  assert.deepEqual(backup.answer(order, inbox), { ok: true, value: { state: "running" } });
  backup.leave();
  assert.equal(ended.length, 1);
  for (const permit of ["one", "another"]) {
    const answer = backup.answer({ ...order, permit }, inbox);
    assert.ok(!answer.ok && answer.code === "NOT_READY", JSON.stringify(answer));
    assert.ok(errorTable[answer.code].retryable);
  }
  assert.equal(ended.length, 1, "none is begun any more");
});

test("a group that freezes does not wait for its copy", async () => {
  const { inbox, ended } = slowInbox();
  const store = new (class extends MemoryInbox {
    override async openGroup(group: number): Promise<InboxGroup> {
      const inner = await super.openGroup(group);
      return Object.assign(inner, inbox);
    }
  })(8);
  const bench = await ShardBench.start({}, store);
  bench.system.tell(addressOn("dc1-t.i", "shards/0"), order);
  await bench.clock.advanceAndSettle(10);
  assert.deepEqual(ended, []);
  await bench.giveAnew();
  await bench.clock.advanceAndSettle(100);
  assert.equal(ended.length, 1);
  assert.match(String(ended[0]), /leaves this node/);
  assert.deepEqual(bench.crashes, []);
});
