/** Answers in place of the sessions, when they cannot any more: on a stop, on a failed commit. */
import type { CommitAnswer, ShardWrite } from "../src/ports/inbox-store.js";
import type { Shard } from "../src/protocol/shards.js";
import type { Bus } from "../src/runtime/ports.js";
import { refuseUnfinished } from "./forget-traces.js";
import type { PendingWrite } from "./pending-write.js";
import { answerAccepted, answerInbox, answerRefused } from "./push-answering.js";

export function answerUnknown(bus: Bus, writes: readonly PendingWrite[]): void {
  for (const { reply } of writes.flatMap((write) => [...write.answers, ...write.replies])) {
    answerRefused(bus, reply, "STORE_UNAVAILABLE");
  }
}

/**
 * `fenced`: shards that have another owner. Of what was for them it has its own copy, or nobody
 * has, and no answer from here could tell which: the publisher's own deadline says that the fate
 * is unknown. And none for what was only to be handed on (seq 0), which nobody does any more.
 */
export function answerDurable(
  bus: Bus,
  writes: readonly PendingWrite[],
  fenced: ReadonlySet<Shard>,
): void {
  for (const { shard, answers, replies, remove } of writes) {
    if (fenced.has(shard)) continue;
    for (const { reply, id, seq, isDuplicate } of answers) {
      if (seq > 0) answerAccepted(bus, reply, id, seq, isDuplicate);
    }
    if (remove) refuseUnfinished({ bus }, replies);
    else for (const reply of replies) answerInbox(bus, reply);
  }
}

/** The shards among `writes` that were not written. */
export function fencedShards(
  writes: readonly ShardWrite[],
  answers: readonly CommitAnswer[],
): ReadonlySet<Shard> {
  return new Set(writes.flatMap(({ shard }, at) => (answers[at]?.ok === true ? [] : [shard])));
}
