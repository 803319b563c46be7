/** What the sessions of a group submitted, as the store wants it: one write per shard. */
import type { ShardWrite } from "../src/ports/inbox-store.js";
import type { MsgIdSource } from "../src/protocol/msg-id.js";
import type { Shard } from "../src/protocol/shards.js";
import type { Limits } from "./limits.js";
import type { NodeContext } from "./node-context.js";
import type { PendingWrite } from "./pending-write.js";
import type { ShardContext } from "./shard-context.js";

const aheadMs = 1_000;

type Draft = { -readonly [Field in keyof ShardWrite]: ShardWrite[Field] };

/**
 * With how far the shard's changes are published, where that is due, and with a longer MsgID
 * reservation where half of it is used.
 */
export function gatherWrites(
  taken: readonly PendingWrite[],
  contexts: ReadonlyMap<Shard, ShardContext>,
  node: NodeContext,
): ShardWrite[] {
  const byShard = new Map<Shard, PendingWrite[]>();
  for (const write of taken) {
    const list = byShard.get(write.shard);
    if (list === undefined) byShard.set(write.shard, [write]);
    else list.push(write);
  }
  const writes: ShardWrite[] = [];
  const nowMs = node.clock.monotonicMs();
  const wallMs = node.clock.wallMs();
  for (const [shard, sessions] of byShard) {
    const context = contexts.get(shard) as ShardContext;
    const reserveUntilMs = longerReservation(context.ids, wallMs, node.limits);
    const publishedChange = context.changes.positionDue(nowMs);
    // One a shard and commit, which is about one a push: spreads would cost more than the rest.
    const write: Draft = { shard, epoch: context.epoch, sessions };
    if (publishedChange !== undefined) write.publishedChange = publishedChange;
    if (reserveUntilMs !== undefined) write.reserveUntilMs = reserveUntilMs;
    writes.push(write);
  }
  return writes;
}

/** At the end of an ownership: what the next owner need not look at again. */
export function publishedPositions(contexts: Iterable<ShardContext>): ShardWrite[] {
  const writes: ShardWrite[] = [];
  for (const { shard, epoch, changes } of contexts) {
    if (!changes.isAhead) continue;
    writes.push({ shard, epoch, publishedChange: changes.published, sessions: [] });
  }
  return writes;
}

/**
 * Ids that run ahead of the clock (an owner before had reserved so far) get little more: they
 * stand still until it is there, and each new owner would run ahead by as much again.
 */
function longerReservation(
  ids: MsgIdSource,
  wallMs: number,
  { reserveMs }: Limits,
): number | undefined {
  const leastMs = Math.max(wallMs + reserveMs / 2, ids.currentMs + aheadMs / 2);
  if (ids.reserved > leastMs) return undefined;
  return Math.max(wallMs + reserveMs, ids.currentMs + aheadMs);
}
