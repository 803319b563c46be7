/** What the tests of the networked store's faults write, and how they look for it. */
import assert from "node:assert/strict";
import { Fault } from "../../src/base/result.js";
import type { InboxGroup, InboxStore, SessionWrite } from "../../src/ports/inbox-store.js";
import { type SessionKey, type Shard, sessionKey } from "../../src/protocol/shards.js";
import { entry, shardWrite, stored } from "../contract/inbox-samples.js";

export const shard = 7 as Shard;
export const key = sessionKey("demo", "alice");

/** Opens the shard's group and raises its fence. */
export async function own(store: InboxStore, epoch = 1, holder = "a"): Promise<InboxGroup> {
  const group = await store.openGroup(store.groupOf(shard));
  const [answer] = await group.raise([{ shard, epoch, holder, reserveUntilMs: 0 }]);
  assert.equal(answer?.ok, true);
  return group;
}

export async function append(
  group: InboxGroup,
  seq: number,
  more: Partial<SessionWrite> = {},
  epoch = 1,
): Promise<void> {
  const write = { key, append: [entry(seq)], changes: [stored(seq)], ...more };
  const [answer] = await group.commit([shardWrite(write, { shard, epoch })]);
  assert.equal(answer?.ok, true);
}

export async function storedSeqs(group: InboxGroup, of: SessionKey = key): Promise<number[]> {
  const session = await group.loadSession(shard, of);
  const summaries = session?.entries.map(({ seq }) => seq) ?? [];
  const read = await group.readEntries(shard, of, 0, 1_000_000, 2 ** 40);
  assert.deepEqual(
    read.map(({ seq }) => seq),
    summaries,
    "the session and its entries tell the same",
  );
  return summaries;
}

/** What a call that must fail failed with. */
export async function faultOf(work: Promise<unknown>): Promise<Fault> {
  const fault = await work.then(
    () => assert.fail("it succeeded"),
    (error: unknown) => error,
  );
  assert.ok(fault instanceof Fault, String(fault));
  return fault;
}

export function upTo(last: number): number[] {
  return Array.from({ length: last }, (_, at) => at + 1);
}
