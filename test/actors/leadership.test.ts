/** The leader's lease where writes have unknown outcomes, or are written over by noise. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { leaderKey } from "../../actors/membership.js";
import { nodeNameOf } from "../../actors/placement-view.js";
import { decodeLeader } from "../../topology/election.js";
import { type BenchNode, NodeBench } from "../support/node-bench.js";

async function leaderOf(bench: NodeBench) {
  const entry = await bench.bucket.get(leaderKey);
  const leader = entry === undefined ? undefined : decodeLeader(entry.value);
  assert.ok(entry !== undefined && leader?.ok);
  return { ...leader.value, revision: entry.revision };
}

function decisionsOf({ system }: BenchNode): string {
  return JSON.stringify(system.inspectActor(system.find("placement")?.address as never)?.detail);
}

test("noise over the leader's record is written over by the leader, who leads on", async () => {
  const bench = await NodeBench.start(["a", "b"]);
  const before = await leaderOf(bench);
  await bench.bucket.update(leaderKey, new Uint8Array([1, 2, 3]), before.revision);
  await bench.run(1_500);
  const { revision, ...after } = await leaderOf(bench);
  assert.ok(revision > before.revision);
  assert.deepEqual({ ...after, revision: before.revision }, before);
});

// The record stood, its holder followed it, and nobody led until it was stale.
test("who wrote the record with unknown outcome leads at once", async () => {
  const bench = await NodeBench.start(["a"]);
  const node = bench.node("a");
  const { revision, ...before } = await leaderOf(bench);
  const lost = bench.node("a").system.find("placement");
  assert.ok(lost !== undefined);
  // As after a challenge whose answer never came: the record names this node, and it follows.
  const cell = lost.cell as unknown as { leadership: { term: unknown } };
  cell.leadership.term = undefined;
  const sinceMs = bench.clock.monotonicMs();
  await bench.until("it leads", () => cell.leadership.term !== undefined);
  assert.ok(bench.clock.monotonicMs() - sinceMs < 1_000, decisionsOf(node));
  const after = await leaderOf(bench);
  assert.equal(after.epoch, before.epoch + 1);
  assert.equal(nodeNameOf(after), nodeNameOf(node.context));
  assert.ok(after.revision > revision);
});
