/**
 * How a session takes a push: admission, idempotency, seq and MsgID, the write, and
 * the answer once that is on disk.
 *
 * Invariant: pushes get their seqs in the order they came, those that wait for a MsgID
 * reservation too; nothing that is stored is answered before its commit.
 */
import type { ErrorCode } from "../src/protocol/errors.js";
import { packRecord } from "../src/protocol/message-record.js";
import type { AcceptPush } from "../src/protocol/messages.js";
import type { MsgId } from "../src/protocol/msg-id.js";
import type { PushCommand } from "../src/protocol/push-command.js";
import { appOfKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import { type InboxPolicy, inboxPolicyOf } from "./inbox-policy.js";
import { digestOf } from "./key-memory.js";
import type { PendingWrite } from "./pending-write.js";
import { answerAccepted, answerRefused } from "./push-answering.js";
import type { SessionDesk } from "./session-desk.js";

/**
 * A message that is not stored may be told to be so much older than it is, while the store
 * stands still; later it waits, and so does one for a shard that was idle for long.
 */
const unstoredIdAgeMaxMs = 60_000;

/** A reservation takes one commit; more than this in the meantime is refused. */
const postponedMax = 256;

/** Made for each use: what must last stands in the session. */
export class PushAcceptance {
  constructor(private readonly desk: SessionDesk) {}

  accept(push: AcceptPush): void {
    const { desk } = this;
    if (!desk.mayServe) return;
    const { command, reply } = push;
    const { bus, clock } = desk.context.node;
    const isPassing = command.qos === 0 && command.id === undefined;
    if (isPassing && !desk.isErasing && this.passOn(push)) return;
    if (desk.postponed !== undefined || desk.isErasing) {
      this.postpone(push);
      return;
    }
    if (desk.context.commits.isFull) {
      answerRefused(bus, reply, "OVERLOADED");
      return;
    }
    if (this.answerTaken(push)) return;
    if (command.id !== undefined && this.answerKnownKey(command.id, push)) return;
    const { policy } = this;
    const refusal = this.refusalOf(command, policy);
    if (refusal !== undefined) {
      answerRefused(bus, reply, refusal);
      return;
    }
    const id = desk.context.ids.next(clock.wallMs());
    if (id === undefined) this.postpone(push);
    else if (command.qos === 0) this.acceptPassing(push, id);
    else this.acceptStored(push, id, policy);
  }

  /** Its answers; then what it stored goes out. */
  finish(write: PendingWrite): void {
    const { desk } = this;
    this.answer(write);
    for (const { record, target } of write.passing) {
      if (desk.mayServe) desk.deliveries.deliverPassing(record, target);
    }
    // What is about to be erased is sent to nobody any more.
    if (!desk.isErasing) desk.deliveries.deliverCommitted(write.append);
  }

  answer(write: PendingWrite): void {
    const { desk } = this;
    // What was handed on at most once (seq 0) nothing else guards; the rest is on disk.
    for (const { reply, id, seq, isDuplicate } of write.answers) {
      if (seq === 0 && !desk.mayServe) continue;
      answerAccepted(desk.context.node.bus, reply, id, seq, isDuplicate);
    }
  }

  /** What waited for a reservation, which the last commit has brought, or for an erasure. */
  acceptPostponed(): void {
    const { desk } = this;
    const { postponed } = desk;
    if (postponed === undefined || desk.isErasing) return;
    desk.postponed = undefined;
    for (const push of postponed) this.accept(push);
  }

  private refusalOf(command: PushCommand, policy: InboxPolicy): ErrorCode | undefined {
    const { inbox, context } = this.desk;
    const { limits } = context.node;
    if (command.id !== undefined && inbox.areKeysFull(limits)) return "KEYS_FULL";
    const isRefused = command.qos === 1 && !policy.dropsOldest && inbox.isFull(policy);
    return isRefused ? "INBOX_FULL" : undefined;
  }

  private get policy(): InboxPolicy {
    const { context, sessionKey } = this.desk;
    const { apps, limits } = context.node;
    return inboxPolicyOf(apps.find(decodeToken(appOfKey(sessionKey)) ?? ""), limits);
  }

  private acceptStored(push: AcceptPush, id: MsgId, policy: InboxPolicy): void {
    const { desk } = this;
    const write = desk.write();
    if (desk.inbox.isFull(policy)) {
      desk.context.figures.bound += desk.inbox.makeRoom(policy, write);
    }
    const { seq } = desk.inbox.append(push.command, id, desk.context.node.clock.wallMs(), write);
    // The generation is stored with the first; the seqs stand in the entries themselves.
    if (seq === 1) write.isRecordDue = true;
    this.rememberKey(push.command, id, seq, write);
    desk.inbox.noteLane(push.origin, id, write);
    this.answerOnCommit(push, id, seq, false, write);
  }

  /** What needs no store does not wait for one. False when no id is left for it. */
  private passOn(push: AcceptPush): boolean {
    const { ids, node } = this.desk.context;
    const id = ids.nextUnstored(node.clock.wallMs(), unstoredIdAgeMaxMs);
    if (id !== undefined) this.acceptPassing(push, id);
    return id !== undefined;
  }

  /** At most once: goes out at once, unless its key must be remembered first. */
  private acceptPassing(push: AcceptPush, id: MsgId): void {
    const { desk } = this;
    const { command, reply, origin } = push;
    const record = packRecord(id, command);
    if (command.id === undefined) {
      desk.deliveries.deliverPassing(record, command.target);
      answerAccepted(desk.context.node.bus, reply, id, 0, false);
      return;
    }
    const write = desk.write();
    this.rememberKey(command, id, 0, write);
    desk.inbox.noteLane(origin, id, write);
    write.passing.push({ record, target: command.target });
    this.answerOnCommit(push, id, 0, false, write);
  }

  /** Of a lane whose ack was lost: it is answered when what it was before is on disk. */
  private answerTaken(push: AcceptPush): boolean {
    const { desk } = this;
    const taken = desk.inbox.takenFromLane(push.origin);
    if (taken === undefined) return false;
    if (!desk.isSettled) this.answerOnCommit(push, taken, 0, true, desk.write());
    else answerAccepted(desk.context.node.bus, push.reply, taken, 0, true);
    return true;
  }

  private answerKnownKey(keyId: string, push: AcceptPush): boolean {
    const { desk } = this;
    const { bus, clock } = desk.context.node;
    const known = desk.inbox.findKey(keyId, clock.wallMs());
    if (known === undefined) return false;
    if (known.digest !== digestOf(push.command)) {
      answerRefused(bus, push.reply, "KEY_REUSED");
    } else if (desk.isSettled && push.origin === undefined) {
      answerAccepted(bus, push.reply, known.msgId, known.seq, true);
      const { node, shard } = desk.context;
      node.journal?.duplicate(shard, desk.stepSession, known.seq, known.msgId);
    } else {
      // The first may still be on its way to disk; this answer must not overtake it.
      const write = desk.write();
      desk.inbox.noteLane(push.origin, known.msgId, write);
      this.answerOnCommit(push, known.msgId, known.seq, true, write);
    }
    return true;
  }

  private rememberKey(command: PushCommand, msgId: MsgId, seq: number, write: PendingWrite): void {
    const { inbox, context } = this.desk;
    const { clock, limits } = context.node;
    inbox.rememberKey(command, { msgId, seq }, clock.wallMs(), limits.keyWindowMs, write);
  }

  /** Waits for the shard to have MsgID time reserved in the store; keeps the order of arrival. */
  private postpone(push: AcceptPush): void {
    const { desk } = this;
    desk.postponed ??= [];
    if (desk.postponed.length >= postponedMax) {
      answerRefused(desk.context.node.bus, push.reply, "OVERLOADED");
      return;
    }
    desk.postponed.push(push);
    if (desk.postponed.length === 1 && !desk.isErasing) desk.write();
  }

  private answerOnCommit(
    { command, reply }: AcceptPush,
    id: MsgId,
    seq: number,
    isDuplicate: boolean,
    write: PendingWrite,
  ): void {
    write.answers.push({ reply, id, seq, isDuplicate });
    this.desk.context.commits.countPush(command.body.length);
  }
}
