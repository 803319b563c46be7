/** Answers in place of the sessions, when they cannot any more: on a stop, on a failed commit. */
import type { CommitAnswer } from "../src/ports/inbox-store.js";
import type { Bus } from "../src/runtime/ports.js";
import type { PendingWrite } from "./pending-write.js";
import { answerAccepted, answerInbox, answerRefused } from "./push-answering.js";

export function answerUnknown(bus: Bus, writes: readonly PendingWrite[]): void {
  for (const { reply } of writes.flatMap((write) => [...write.answers, ...write.replies])) {
    answerRefused(bus, reply, "STORE_UNAVAILABLE");
  }
}

/**
 * None when a write was fenced: the shard has another owner, who answers. And none for
 * what was only to be handed on (seq 0), which nobody does any more.
 */
export function answerDurable(
  bus: Bus,
  writes: readonly PendingWrite[],
  answers: readonly CommitAnswer[],
): void {
  if (answers.some((answer) => !answer.ok)) return;
  for (const { reply, id, seq, isDuplicate } of writes.flatMap((write) => write.answers)) {
    if (seq > 0) answerAccepted(bus, reply, id, seq, isDuplicate);
  }
  for (const reply of writes.flatMap((write) => write.replies)) answerInbox(bus, reply);
}
