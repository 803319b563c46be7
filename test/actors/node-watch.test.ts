/** How fast a node that died counts as gone, when its last ping is never answered. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { NodeWatch } from "../../actors/node-watch.js";
import { PlacementView } from "../../actors/placement-view.js";
import { Fault } from "../../src/base/result.js";
import { VirtualClock } from "../support/virtual-clock.js";

const member = { nodeId: "dc1-b", incarnation: "i", pid: 2, leaseMs: 3_000, processStart: "s" };
const key = "node.dc1-b";
const { probeEveryMs } = defaultLimits;

/** A process that took one ping with it into its grave; then nobody listens there. */
function graveOf(clock: VirtualClock) {
  let pings = 0;
  return {
    request: (_subject: string, _payload: Uint8Array, deadlineMs: number) =>
      new Promise<never>((_, reject) => {
        const isSwallowed = pings++ === 0;
        const code = isSwallowed ? "TIMEOUT" : "NO_RESPONDERS";
        const afterMs = isSwallowed ? deadlineMs : 1;
        clock.after(afterMs, () => reject(new Fault(code, "unknown", code)));
      }),
  };
}

test("gives up a node within a second although it took a ping with it", async () => {
  const clock = new VirtualClock();
  const view = new PlacementView();
  view.sightings.set(key, { revision: 7, sinceMs: clock.monotonicMs() });
  const processes = { own: member, isGone: async () => true };
  const node = { nodeId: "dc1-a", bus: graveOf(clock), view, clock, processes };
  const context = { ...node, limits: defaultLimits } as unknown as NodeContext;
  const watch: NodeWatch = new NodeWatch(context, (pinged) => watch.onPinged(pinged));
  const diedMs = clock.monotonicMs();
  let gone: Awaited<ReturnType<NodeWatch["goneReason"]>>;
  while (gone === undefined && clock.monotonicMs() - diedMs < 5_000) {
    watch.ping([member]);
    await clock.advanceAndSettle(probeEveryMs);
    gone = await watch.goneReason(key, member, 0);
  }
  assert.deepEqual(gone, { reason: "no responders", revision: 7 });
  assert.ok(clock.monotonicMs() - diedMs <= 1_000, `after ${clock.monotonicMs() - diedMs} ms`);
});
