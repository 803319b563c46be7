/** Whom a node's placement counts as gone, when settings differ among the nodes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { NodeWatch } from "../../actors/node-watch.js";
import { PlacementView } from "../../actors/placement-view.js";
import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { VirtualClock } from "../support/virtual-clock.js";

const key = "leader";

/** A watch that saw the record change at 0, on a node whose own lease is `ownMs`. */
function watchOf(ownMs: number) {
  const clock = new VirtualClock();
  const view = new PlacementView();
  view.sightings.set(key, { revision: 7, sinceMs: clock.monotonicMs() });
  const limits = { ...defaultLimits, leaseMs: ownMs, leaseMarginMs: 1_000 };
  const processes = { own: { pid: 1, processStart: "1" }, isGone: () => Promise.resolve(false) };
  const node = { clock, view, limits, processes, bus: new MemoryBus(clock), nodeId: "dc1-a" };
  const watch = new NodeWatch(node as unknown as NodeContext, () => undefined);
  const judge = (leaseMs: number) => {
    const holder = { nodeId: "dc1-b", incarnation: "i", pid: 2, processStart: "2", leaseMs };
    return watch.goneReason(key, holder, 0);
  };
  return { clock, judge };
}

// A rolling change from 3 s to 15 s: a node with the short one took leases that were held.
test("a lease is judged by the longer of its holder's and one's own", async () => {
  const short = watchOf(3_000);
  short.clock.advance(15_999);
  assert.equal(await short.judge(15_000), undefined);
  short.clock.advance(1);
  assert.deepEqual(await short.judge(15_000), { reason: "lease ran out", revision: 7 });

  const long = watchOf(15_000);
  long.clock.advance(15_999);
  assert.equal(await long.judge(3_000), undefined);
  long.clock.advance(1);
  assert.deepEqual(await long.judge(3_000), { reason: "lease ran out", revision: 7 });
});
