/**
 * One signed-in user on one shard; owns the order of that user's messages.
 *
 *   AcceptPush ──▶ seq, MsgID ──▶ PendingWrite ──(commit)──▶ Committed ──▶ answer, deliver
 *   Attach ──▶ device, base ──▶ catch up from the store, window by window ──▶ live
 *   Acked ──▶ cursor ──▶ drop what every live device has acked
 *
 * Invariants: a seq is never given twice; nothing is answered or delivered before it
 * is on disk. What no commit and no epoch guards happens only while `mayServe`.
 */
import { assert, ignoreUnknown } from "../src/base/assert.js";
import type { SessionRecord } from "../src/ports/inbox-store.js";
import type { ErrorCode } from "../src/protocol/errors.js";
import { packRecord } from "../src/protocol/message-record.js";
import type {
  AcceptPush,
  Acked,
  Attach,
  ConnectionRef,
  EdgeGone,
  FromEdge,
  Resend,
  ToEdge,
} from "../src/protocol/messages.js";
import type { MsgId } from "../src/protocol/msg-id.js";
import type { PushCommand } from "../src/protocol/push-command.js";
import { appOfKey, type SessionKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import { Actor } from "../src/runtime/actor.js";
import type { Address } from "../src/runtime/address.js";
import type { Asker, StopReason } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { Deliveries, type Outlet } from "./deliveries.js";
import { Device } from "./device.js";
import { admitDevice } from "./device-admission.js";
import type { Freeze } from "./freeze.js";
import { Inbox } from "./inbox.js";
import { digestOf } from "./key-memory.js";
import { mayServe } from "./may-serve.js";
import { type Committed, PendingWrite } from "./pending-write.js";
import { answerAccepted, answerRefused } from "./push-answering.js";
import type { ShardContext } from "./shard-context.js";

export interface ViewSession {
  readonly kind: "ViewSession";
  readonly key: SessionKey;
}

interface AckWaitTick {
  readonly kind: "AckWaitTick";
}

/** From the group's sweep: something of this session was due at `atMs`. */
export interface DueTick {
  readonly kind: "DueTick";
  readonly atMs: number;
}

export type SessionMessage =
  | AcceptPush
  | FromEdge
  | EdgeGone
  | Committed
  | AckWaitTick
  | DueTick
  | ViewSession
  | Freeze;

const sessionKind: ActorKind = {
  name: "session",
  mailbox: { max: 4_096, onFull: "reject" },
  restart: "transient",
  passivateAfterMs: 60_000,
};

/** A reservation takes one commit; more than this in the meantime is refused. */
const postponedMax = 256;

/**
 * A message that is not stored may be told to be so much older than it is, while the store
 * stands still; later it waits, and so does one for a shard that was idle for long.
 */
const unstoredIdAgeMaxMs = 60_000;

const ackWaitTick: AckWaitTick = { kind: "AckWaitTick" };

export class Session extends Actor<SessionMessage> implements Outlet {
  private inbox: Inbox | undefined = undefined;
  private deliveries: Deliveries | undefined = undefined;
  /** Collects until the group takes it. */
  private pending: PendingWrite | undefined = undefined;
  private outstandingWrites = 0;
  /** Pushes that wait for a MsgID reservation, in order. */
  private waiting: AcceptPush[] | undefined = undefined;
  private isAckWaitArmed = false;
  private isFreezing = false;

  constructor(private readonly context: ShardContext) {
    super();
  }

  get kind(): ActorKind {
    return sessionKind;
  }

  get sessionKey(): SessionKey {
    return this.key as SessionKey;
  }

  protected override async started(): Promise<void> {
    const { context } = this;
    await context.commits.whenSettled(this.sessionKey);
    const stored = await context.inbox.loadSession(context.shard, this.sessionKey);
    this.inbox = new Inbox(stored, context.node.idcNumber, context.node.random);
    this.deliveries = new Deliveries(context, this.inbox, this);
    this.deliveries.devices = (stored?.record.devices ?? []).map((record) => new Device(record));
  }

  protected override mayPassivate(): boolean {
    return this.outstandingWrites === 0 && this.deliveries?.isAnybodyConnected !== true;
  }

  /** Who was connected is known to this instance only: after a crash the edges attach again. */
  protected override stopping(reason: StopReason): void {
    if (reason === "normal") return;
    const shards = [this.context.shard];
    for (const edge of new Set(this.deliveries?.devices.map((device) => device.edge))) {
      this.tellEdge(edge, { kind: "AttachAgain", shards, key: this.sessionKey });
    }
  }

  receive(message: SessionMessage, from: Asker | undefined): void | Promise<void> {
    const { inbox, deliveries } = this;
    assert(inbox !== undefined && deliveries !== undefined, "a session has loaded before it works");
    switch (message.kind) {
      case "AcceptPush":
        return this.onAcceptPush(message, inbox, deliveries);
      case "Committed":
        return this.onCommitted(message.write, inbox, deliveries);
      case "Acked":
        return this.onAcked(message, inbox, deliveries);
      case "Attach":
        return this.onAttach(message, inbox, deliveries);
      case "Detach":
        return this.onDetach(message, deliveries);
      case "Resend":
        return this.onResend(message, inbox, deliveries);
      case "EdgeGone":
        return this.onEdgeGone(message, deliveries);
      case "AckWaitTick":
        this.isAckWaitArmed = false;
        if (!this.mayServe) return;
        deliveries.resendOverdue();
        return deliveries.catchUp();
      case "DueTick":
        inbox.expire(message.atMs, this.context.node.clock.wallMs(), this.write());
        return;
      case "ViewSession":
        from?.answer(this.inspect());
        return;
      case "Freeze":
        this.isFreezing = true;
        this.leaveIfSettled();
        return;
      default:
        ignoreUnknown(message);
    }
  }

  private get mayServe(): boolean {
    return mayServe(this.context.node, this.context.incarnation);
  }

  // ---- accepting ----

  private onAcceptPush(push: AcceptPush, inbox: Inbox, deliveries: Deliveries): void {
    if (!this.mayServe) return;
    const { command, reply } = push;
    const { bus, clock } = this.context.node;
    if (command.qos === 0 && command.id === undefined && this.passOn(push, inbox, deliveries)) {
      return;
    }
    if (this.waiting !== undefined) {
      this.postpone(push);
      return;
    }
    if (this.context.commits.isFull) {
      answerRefused(bus, reply, "OVERLOADED");
      return;
    }
    if (command.id !== undefined && this.answerKnownKey(command.id, push, inbox)) return;
    const refusal = this.refusalOf(command, inbox);
    if (refusal !== undefined) {
      answerRefused(bus, reply, refusal);
      return;
    }
    const id = this.context.ids.next(clock.wallMs());
    if (id === undefined) this.postpone(push);
    else if (command.qos === 0) this.acceptPassing(push, id, inbox, deliveries);
    else this.acceptStored(push, id, inbox);
  }

  private refusalOf(command: PushCommand, inbox: Inbox): ErrorCode | undefined {
    const { limits } = this.context.node;
    if (command.id !== undefined && inbox.areKeysFull(limits)) return "KEYS_FULL";
    return command.qos === 1 && inbox.isFull(limits) ? "INBOX_FULL" : undefined;
  }

  private acceptStored(push: AcceptPush, id: MsgId, inbox: Inbox): void {
    const write = this.write();
    const { seq } = inbox.append(push.command, id, this.context.node.clock.wallMs(), write);
    // The generation is stored with the first; the seqs stand in the entries themselves.
    if (seq === 1) write.isRecordDue = true;
    this.rememberKey(push.command, id, seq, inbox, write);
    this.answerOnCommit(push, id, seq, false, write);
  }

  /** What needs no store does not wait for one. False when no id is left for it. */
  private passOn(push: AcceptPush, inbox: Inbox, deliveries: Deliveries): boolean {
    const { ids, node } = this.context;
    const id = ids.nextUnstored(node.clock.wallMs(), unstoredIdAgeMaxMs);
    if (id !== undefined) this.acceptPassing(push, id, inbox, deliveries);
    return id !== undefined;
  }

  /** At most once: goes out at once, unless its key must be remembered first. */
  private acceptPassing(
    { command, reply }: AcceptPush,
    id: MsgId,
    inbox: Inbox,
    deliveries: Deliveries,
  ): void {
    const record = packRecord(id, command);
    if (command.id === undefined) {
      deliveries.deliverPassing(record, command.target);
      answerAccepted(this.context.node.bus, reply, id, 0, false);
      return;
    }
    const write = this.write();
    this.rememberKey(command, id, 0, inbox, write);
    write.passing.push({ record, target: command.target });
    this.answerOnCommit({ kind: "AcceptPush", command, reply }, id, 0, false, write);
  }

  private answerKnownKey(keyId: string, push: AcceptPush, inbox: Inbox): boolean {
    const { bus, clock } = this.context.node;
    const known = inbox.findKey(keyId, clock.wallMs());
    if (known === undefined) return false;
    if (known.digest !== digestOf(push.command)) {
      answerRefused(bus, push.reply, "KEY_REUSED");
    } else if (this.outstandingWrites === 0) {
      answerAccepted(bus, push.reply, known.msgId, known.seq, true);
    } else {
      // The first may still be on its way to disk; this answer must not overtake it.
      this.answerOnCommit(push, known.msgId, known.seq, true, this.write());
    }
    return true;
  }

  private rememberKey(
    command: PushCommand,
    msgId: MsgId,
    seq: number,
    inbox: Inbox,
    write: PendingWrite,
  ): void {
    const { clock, limits } = this.context.node;
    inbox.rememberKey(command, { msgId, seq }, clock.wallMs(), limits.keyWindowMs, write);
  }

  /** Waits for the shard to have MsgID time reserved in the store; keeps the order of arrival. */
  private postpone(push: AcceptPush): void {
    const { bus } = this.context.node;
    this.waiting ??= [];
    if (this.waiting.length >= postponedMax) {
      answerRefused(bus, push.reply, "OVERLOADED");
      return;
    }
    this.waiting.push(push);
    if (this.waiting.length === 1) this.write();
  }

  private answerOnCommit(
    { command, reply }: AcceptPush,
    id: MsgId,
    seq: number,
    isDuplicate: boolean,
    write: PendingWrite,
  ): void {
    write.answers.push({ reply, id, seq, isDuplicate });
    this.context.commits.countPush(command.body.length);
  }

  private onCommitted(
    write: PendingWrite,
    inbox: Inbox,
    deliveries: Deliveries,
  ): void | Promise<void> {
    // A predecessor that crashed may have submitted it; its answers are still owed.
    if (write.author === this) this.outstandingWrites--;
    if (this.pending === write) this.pending = undefined;
    // What was handed on at most once (seq 0) nothing else guards; the rest is on disk.
    for (const { reply, id, seq, isDuplicate } of write.answers) {
      if (seq === 0 && !this.mayServe) continue;
      answerAccepted(this.context.node.bus, reply, id, seq, isDuplicate);
    }
    for (const { record, target } of write.passing) {
      if (this.mayServe) deliveries.deliverPassing(record, target);
    }
    deliveries.deliverCommitted(write.append);
    const { waiting } = this;
    if (waiting !== undefined) {
      this.waiting = undefined;
      for (const push of waiting) this.onAcceptPush(push, inbox, deliveries);
    }
    this.leaveIfSettled();
    return deliveries.catchUp();
  }

  /** Frozen, and all that was accepted is on disk and answered: the next owner goes on. */
  private leaveIfSettled(): void {
    if (this.isFreezing && this.outstandingWrites === 0) this.stopSelf();
  }

  // ---- devices ----

  private onAttach(attach: Attach, inbox: Inbox, deliveries: Deliveries): void | Promise<void> {
    if (!this.mayServe) return;
    const { devices } = deliveries;
    const { node } = this.context;
    const admission = admitDevice(devices, attach, inbox, node);
    if (admission.kind === "outdated") {
      this.closeReplaced(attach.edge, attach.connection);
      return;
    }
    // The edge asks again while the answer is on its way: one window at a time is enough.
    if (deliveries.wasJustAttached(admission.device, attach)) return;
    const { device, isNew, removed } = admission;
    if (isNew) this.addDevice(device, removed, inbox, deliveries);
    else if (!device.isServedOn(attach)) this.closeReplaced(device.edge, device.connection);
    // What an earlier owner has stored of this connection is not stored again: a move would
    // cost a write for each.
    if (isNew || device.connect !== attach.connect) this.write().isRecordDue = true;
    device.take(attach, node.clock.wallMs());
    const { taken, sent } = attach;
    if (taken !== undefined && inbox.covers(taken)) {
      device.noteTaken(taken.seq);
      this.noteAck(device, taken.seq, inbox, deliveries);
    }
    const isContinuing = sent !== undefined && inbox.covers(sent);
    deliveries.attachAt(device, isContinuing ? sent.seq : device.ackedSeq);
    return deliveries.catchUp();
  }

  private addDevice(
    device: Device,
    removed: readonly Device[],
    inbox: Inbox,
    deliveries: Deliveries,
  ): void {
    const write = this.write();
    for (const old of removed) {
      this.closeReplaced(old.edge, old.connection);
      write.changes.push({ kind: "device-removed", device: old.id, reason: "retired" });
    }
    const kept = deliveries.devices.filter((other) => !removed.includes(other));
    deliveries.devices = kept.concat(device);
    if (removed.length > 0) inbox.trimAbandoned(deliveries.devices, write);
    write.changes.push({ kind: "device-added", device: device.id, platform: device.platform });
  }

  private closeReplaced(edge: string | undefined, connection: number): void {
    this.tellEdge(edge, { kind: "CloseConnection", connection, close: "REPLACED" });
  }

  private onDetach(ref: ConnectionRef, { devices }: Deliveries): void {
    const device = devices.find((candidate) => candidate.isServedOn(ref));
    if (device === undefined) return;
    device.disconnect(this.context.node.clock.wallMs());
    this.write().isRecordDue = true;
  }

  private onEdgeGone({ edge }: EdgeGone, { devices }: Deliveries): void {
    for (const device of devices) {
      if (device.edge === edge) device.disconnect(this.context.node.clock.wallMs());
    }
  }

  private onAcked(acked: Acked, inbox: Inbox, deliveries: Deliveries): void | Promise<void> {
    const device = deliveries.devices.find((candidate) => candidate.isServedOn(acked));
    if (device === undefined) {
      this.askToAttach(acked);
      return;
    }
    if (acked.position.generation !== inbox.generation) return;
    // An ack above what this attach was sent cannot be true of it.
    this.noteAck(device, Math.min(acked.position.seq, device.sentSeq), inbox, deliveries);
    return deliveries.catchUp();
  }

  /** Moves the device's cursor and lets go what nobody needs any more. */
  private noteAck(device: Device, seq: number, inbox: Inbox, deliveries: Deliveries): void {
    const { apps, clock } = this.context.node;
    const oldSeq = device.ackedSeq;
    if (!device.ackThrough(seq, clock.monotonicMs())) return;
    device.seenAtMs = clock.wallMs();
    const write = this.write();
    write.changes.push({ kind: "acked", device: device.id, seq: device.ackedSeq });
    const app = apps.find(decodeToken(appOfKey(this.sessionKey)) ?? "");
    inbox.trim(deliveries.devices, device, oldSeq, app?.delivery ?? "each-device", write);
    write.isRecordDue = true;
  }

  private onResend(resend: Resend, inbox: Inbox, deliveries: Deliveries): void | Promise<void> {
    if (!this.mayServe) return;
    const device = deliveries.devices.find((candidate) => candidate.isServedOn(resend));
    if (device === undefined) {
      this.askToAttach(resend);
      return;
    }
    const { position } = resend;
    const isKnown = inbox.covers(position) && position.seq <= device.sentSeq;
    // Below the cursor, too: from there on it takes what comes, and from nowhere else.
    deliveries.attachAt(device, isKnown ? position.seq : device.ackedSeq);
    return deliveries.catchUp();
  }

  /** A connection believes to be served here and is not known: its attach was lost. */
  private askToAttach({ edge, connection }: ConnectionRef): void {
    const shards = [this.context.shard];
    this.tellEdge(edge, { kind: "AttachAgain", shards, key: this.sessionKey, connection });
  }

  // ---- ways out ----

  tellEdge(edge: string | undefined, message: ToEdge): void {
    if (edge !== undefined) this.tell(edge as Address, message);
  }

  armAckWait(): void {
    if (this.isAckWaitArmed) return;
    this.isAckWaitArmed = true;
    this.timer(this.context.node.limits.ackWaitMs, ackWaitTick);
  }

  private write(): PendingWrite {
    if (this.pending !== undefined && !this.pending.isTaken) return this.pending;
    const write = new PendingWrite(this, this.context.shard, this.sessionKey);
    this.pending = write;
    this.outstandingWrites++;
    this.context.commits.submit(write);
    return write;
  }

  committed(write: PendingWrite): void {
    this.tellSelf({ kind: "Committed", write });
  }

  /** As it stands when the group takes the write that wants it. */
  toRecord(): SessionRecord {
    const { inbox, deliveries } = this;
    assert(inbox !== undefined && deliveries !== undefined, "only a loaded session writes");
    return {
      generation: inbox.generation,
      lastSeq: inbox.lastSeq,
      devices: deliveries.devices.map((device) => device.toRecord()),
    };
  }

  /** Who is not connected may only not have been attached here yet. */
  private get presence(): "connected" | "away" | "unknown" {
    if (this.deliveries?.isAnybodyConnected) return "connected";
    return this.context.presence.isKnown ? "away" : "unknown";
  }

  override inspect(): Record<string, unknown> {
    const { inbox, deliveries, context } = this;
    return {
      shard: context.shard,
      epoch: context.epoch,
      generation: inbox?.generation,
      lastSeq: inbox?.lastSeq,
      committedSeq: inbox?.committedSeq,
      inbox: inbox?.size,
      presence: this.presence,
      devices: deliveries?.devices.map((device) => device.inspect()),
    };
  }
}
