/** Before a node stops: its clients are told to go to other edges, and given a while for it. */
import { setTimeout as delay } from "node:timers/promises";
import { Dispatcher } from "../../actors/dispatcher.js";
import type { NodeContext } from "../../actors/node-context.js";
import { nodeNameOf } from "../../actors/placement-view.js";
import type { LeaveEdge } from "../protocol/messages.js";
import { addressOn } from "../runtime/address.js";
import type { ActorSystem } from "../runtime/system.js";

const lookEveryMs = 20;

/**
 * Resolves when they are gone, or after `edgeLeaveMs`: who is left then is closed as the
 * edge stops. At once where no other edge would take them: they come back to this one.
 */
export async function leaveEdge(system: ActorSystem, node: NodeContext): Promise<void> {
  const { transport, clock, limits, log } = node;
  const clients = transport.connectionCount;
  if (clients === 0 || new Dispatcher(node).elsewhereFor("").length === 0) return;
  const startMs = clock.monotonicMs();
  const order: LeaveEdge = { kind: "LeaveEdge" };
  system.tell(addressOn(nodeNameOf(node), "membership"), order);
  while (transport.connectionCount > 0 && clock.monotonicMs() - startMs < limits.edgeLeaveMs) {
    await delay(lookEveryMs);
  }
  const tookMs = Math.round(clock.monotonicMs() - startMs);
  log.info("clients were told to go", { clients, left: transport.connectionCount, tookMs });
}
