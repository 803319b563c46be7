/**
 * What is left of an erased user outside the inbox, under subjects that name the user: what
 * waits in lanes, dead letters, and events of presence. The same again changes nothing.
 */
import type { SessionKey } from "../src/protocol/shards.js";
import { presenceSubjects } from "../src/protocol/subjects.js";
import type { NodeContext } from "./node-context.js";
import type { ServiceReply } from "./pending-write.js";
import { answerInbox, answerRefused } from "./push-answering.js";
import type { ShardContext } from "./shard-context.js";

const unfinished = "the inbox is erased, but not all of lanes and events; repeat it";

/** More than can be served within a request's deadline: they are to be repeated. */
const waitingMax = 256;

/** The inbox is gone from the disk: answers when the rest is. */
export async function finishErasure(
  { node, gate }: Pick<ShardContext, "node" | "gate">,
  key: SessionKey,
  replies: readonly ServiceReply[],
): Promise<void> {
  const { erasures } = gate.admission;
  if (erasures.waitingCount >= waitingMax) {
    refuseUnfinished(node, replies);
    return;
  }
  try {
    await erasures.run(() => forgetTraces(node, key));
    for (const reply of replies) answerInbox(node.bus, reply);
  } catch (cause) {
    node.log.warn("an erasure is not finished", { session: key, error: String(cause) });
    refuseUnfinished(node, replies);
  }
}

export function refuseUnfinished(
  { bus }: Pick<NodeContext, "bus">,
  replies: readonly ServiceReply[],
): void {
  for (const { reply } of replies) answerRefused(bus, reply, "STORE_UNAVAILABLE", unfinished);
}

async function forgetTraces({ lanes, events }: NodeContext, key: SessionKey): Promise<void> {
  const inLanes = lanes?.queues.forget(
    [...lanes.directory.all()].map(({ lane }) => lane),
    key,
  );
  await Promise.all([events.forget(presenceSubjects(key)), inLanes]);
}
