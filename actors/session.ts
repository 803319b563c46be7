/**
 * One signed-in user on one shard; owns the order of that user's messages.
 *
 *   AcceptPush ──▶ seq, MsgID ──▶ PendingWrite ──(commit)──▶ Committed ──▶ answer, deliver
 *   Attach ──▶ device, base ──▶ catch up from the store, window by window ──▶ live
 *   Acked ──▶ cursor ──▶ drop what every live device has acked
 *
 * Invariants: a seq is never given twice; nothing is answered or delivered before it
 * is on disk; per device messages leave in seq order, each naming the one before it.
 * A turn that reads the store holds the mailbox, so catch-up and live never overlap.
 */
import { unreachable } from "../src/base/assert.js";
import type {
  DropReason,
  EntrySummary,
  SessionRecord,
  StoredEntry,
} from "../src/ports/inbox-store.js";
import { type ErrorCode, errorAnswer } from "../src/protocol/errors.js";
import { packRecord } from "../src/protocol/message-record.js";
import type {
  AcceptPush,
  Acked,
  Attach,
  ConnectionRef,
  EdgeGone,
  FromEdge,
  Resend,
} from "../src/protocol/messages.js";
import type { MsgId } from "../src/protocol/msg-id.js";
import { makeGeneration, type Position } from "../src/protocol/position.js";
import { encodeAnswer, pushAccepted } from "../src/protocol/push-answer.js";
import type { PushCommand, Target } from "../src/protocol/push-command.js";
import { appOfKey, type SessionKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import { Actor } from "../src/runtime/actor.js";
import type { Address } from "../src/runtime/address.js";
import type { Asker, StopReason } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { Device } from "./device.js";
import { admitDevice } from "./device-admission.js";
import { dueBucketMs, expiredAt, trimmableSeqs } from "./inbox-rules.js";
import { digestOf, KeyMemory } from "./key-memory.js";
import { type Committed, PendingWrite } from "./pending-write.js";
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
  | ViewSession;

const sessionKind: ActorKind = {
  name: "session",
  mailbox: { max: 4_096, onFull: "reject" },
  restart: "transient",
  passivateAfterMs: 60_000,
};

const ackWaitTick: AckWaitTick = { kind: "AckWaitTick" };

export class Session extends Actor<SessionMessage> {
  private generation = 0;
  private lastSeq = 0;
  private committedSeq = 0;
  private devices: Device[] = [];
  /** Everything in the inbox, ascending by seq, also what is not on disk yet. */
  private entries: EntrySummary[] = [];
  private entryBytes = 0;
  private keys: KeyMemory | undefined = undefined;
  /** Collects until the group takes it. */
  private pending: PendingWrite | undefined = undefined;
  private outstandingWrites = 0;
  /** Pushes that wait for a MsgID reservation, in order. */
  private waiting: AcceptPush[] | undefined = undefined;
  private lastDueMs = 0;
  private isAckWaitArmed = false;

  constructor(private readonly context: ShardContext) {
    super();
  }

  get kind(): ActorKind {
    return sessionKind;
  }

  private get sessionKey(): SessionKey {
    return this.key as SessionKey;
  }

  protected override async started(): Promise<void> {
    const { context } = this;
    await context.commits.whenSettled(this.sessionKey);
    const stored = await context.inbox.loadSession(context.shard, this.sessionKey);
    if (stored === undefined) {
      this.generation = makeGeneration(0, context.node.idcNumber, 1);
      return;
    }
    this.generation = stored.record.generation;
    this.lastSeq = stored.record.lastSeq;
    this.committedSeq = stored.record.lastSeq;
    this.devices = stored.record.devices.map((record) => new Device(record));
    this.entries = [...stored.entries];
    this.entryBytes = this.entries.reduce((sum, entry) => sum + entry.bytes, 0);
    if (stored.keys.length > 0) this.keys = new KeyMemory(stored.keys);
  }

  protected override mayPassivate(): boolean {
    return this.outstandingWrites === 0 && this.devices.every((device) => !device.isConnected);
  }

  /** Who was connected is known to this instance only: after a crash the edges attach again. */
  protected override stopping(reason: StopReason): void {
    if (reason === "normal") return;
    const shards = [this.context.shard];
    for (const edge of new Set(this.devices.map((device) => device.edge))) {
      this.tellEdge({ edge }, { kind: "AttachAgain", shards, key: this.sessionKey });
    }
  }

  receive(message: SessionMessage, from: Asker | undefined): void | Promise<void> {
    switch (message.kind) {
      case "AcceptPush":
        return this.onAcceptPush(message);
      case "Committed":
        return this.onCommitted(message.write);
      case "Acked":
        return this.onAcked(message);
      case "Attach":
        return this.onAttach(message);
      case "Detach":
        return this.onDetach(message);
      case "Resend":
        return this.onResend(message);
      case "EdgeGone":
        return this.onEdgeGone(message);
      case "AckWaitTick":
        return this.onAckWaitTick();
      case "DueTick":
        return this.onDueTick(message);
      case "ViewSession":
        from?.answer(this.inspect());
        return;
      default:
        return unreachable(message);
    }
  }

  // ---- accepting ----

  private onAcceptPush(push: AcceptPush): void {
    const { command } = push;
    if (this.waiting !== undefined) {
      this.postpone(push);
      return;
    }
    if (command.id !== undefined && this.answerKnownKey(command.id, push)) return;
    const refusal = this.refusalOf(command);
    if (refusal !== undefined) {
      this.refuse(push, refusal);
      return;
    }
    const id = this.context.ids.next(this.context.node.clock.wallMs());
    if (id === undefined) {
      this.postpone(push);
      return;
    }
    if (command.qos === 0) this.acceptPassing(push, id);
    else this.acceptStored(push, id);
  }

  private refusalOf(command: PushCommand): ErrorCode | undefined {
    if (this.context.commits.isFull) return "OVERLOADED";
    if (command.id !== undefined && this.keys?.isFull(this.context.node.limits.keysMax)) {
      return "KEYS_FULL";
    }
    if (command.qos === 0) return undefined;
    const { inboxMessagesMax, inboxBytesMax } = this.context.node.limits;
    const isFull = this.entries.length >= inboxMessagesMax || this.entryBytes >= inboxBytesMax;
    return isFull ? "INBOX_FULL" : undefined;
  }

  private acceptStored(push: AcceptPush, id: MsgId): void {
    const { command } = push;
    const wallMs = this.context.node.clock.wallMs();
    const expiresAtMs = wallMs + command.ttlSeconds * 1_000;
    const entry: StoredEntry = {
      seq: ++this.lastSeq,
      id,
      expiresAtMs,
      record: packRecord(id, command),
      ...(command.collapse === undefined ? {} : { collapse: command.collapse }),
      ...(command.target === undefined ? {} : { target: command.target }),
    };
    const write = this.write();
    if (command.collapse !== undefined) this.dropCollapsed(command.collapse, write);
    if (entry.seq === 1) write.record = this.toRecord();
    write.append.push(entry);
    write.changes.push({ kind: "stored", seq: entry.seq, id });
    this.addEntry(entry);
    this.noteDue(expiresAtMs, command.ttlSeconds * 1_000, write);
    this.rememberKey(push, id, entry.seq, write);
    this.awaitCommit(push, id, entry.seq, false, write);
  }

  /** At most once: goes out at once, unless its key must be remembered first. */
  private acceptPassing(push: AcceptPush, id: MsgId): void {
    const { command } = push;
    const record = packRecord(id, command);
    if (command.id === undefined) {
      this.deliverPassing(record, command.target);
      this.answer(push.reply, id, 0, false);
      return;
    }
    const write = this.write();
    this.rememberKey(push, id, 0, write);
    write.passing.push({ record, target: command.target });
    this.awaitCommit(push, id, 0, false, write);
  }

  private answerKnownKey(keyId: string, push: AcceptPush): boolean {
    const nowMs = this.context.node.clock.wallMs();
    const known = this.keys?.find(keyId, nowMs);
    if (known === undefined) return false;
    if (known.digest !== digestOf(push.command)) {
      this.refuse(push, "KEY_REUSED");
      return true;
    }
    // The first may still be on its way to disk; this answer must not overtake it.
    if (this.outstandingWrites === 0) this.answer(push.reply, known.msgId, known.seq, true);
    else this.awaitCommit(push, known.msgId, known.seq, true, this.write());
    return true;
  }

  private rememberKey(push: AcceptPush, msgId: MsgId, seq: number, write: PendingWrite): void {
    const { id } = push.command;
    if (id === undefined) return;
    const { clock, limits } = this.context.node;
    this.keys ??= new KeyMemory([]);
    const untilMs = clock.wallMs() + limits.keyWindowMs;
    const key = { id, digest: digestOf(push.command), msgId, seq, untilMs };
    write.remember.push(key);
    write.forget.push(...this.keys.remember(key, clock.wallMs()));
    this.noteDue(untilMs, limits.keyWindowMs, write);
  }

  /** Waits for the shard to have MsgID time reserved in the store; keeps the order of arrival. */
  private postpone(push: AcceptPush): void {
    this.waiting ??= [];
    if (this.waiting.length >= this.context.node.limits.inboxMessagesMax) {
      this.refuse(push, "OVERLOADED");
      return;
    }
    this.waiting.push(push);
    if (this.waiting.length === 1) this.write();
  }

  private awaitCommit(
    push: AcceptPush,
    id: MsgId,
    seq: number,
    isDuplicate: boolean,
    write: PendingWrite,
  ): void {
    write.answers.push({ reply: push.reply, id, seq, isDuplicate });
    this.context.commits.countPush();
  }

  private answer(reply: AcceptPush["reply"], id: MsgId, seq: number, duplicate: boolean): void {
    if (reply === undefined) return;
    const answer = pushAccepted(id, seq, duplicate);
    this.context.node.bus.publish(reply.subject, encodeAnswer(answer, reply.encoding));
  }

  private refuse(push: AcceptPush, code: ErrorCode): void {
    if (push.reply === undefined) return;
    const { subject, encoding } = push.reply;
    this.context.node.bus.publish(subject, encodeAnswer(errorAnswer(code), encoding));
  }

  private onCommitted(write: PendingWrite): void | Promise<void> {
    // A predecessor that crashed may have submitted it; its answers are still owed.
    if (write.author === this) this.outstandingWrites--;
    if (this.pending === write) this.pending = undefined;
    for (const { reply, id, seq, isDuplicate } of write.answers) {
      this.answer(reply, id, seq, isDuplicate);
    }
    for (const { record, target } of write.passing) this.deliverPassing(record, target);
    this.deliverCommitted(write.append);
    const { waiting } = this;
    if (waiting !== undefined) {
      this.waiting = undefined;
      for (const push of waiting) this.onAcceptPush(push);
    }
    return this.catchUp();
  }

  // ---- delivering ----

  private deliverCommitted(appended: readonly StoredEntry[]): void {
    const first = appended[0];
    const last = appended.at(-1);
    if (first === undefined || last === undefined) return;
    // Another instance of this session may have submitted it, and have read it since.
    if (last.seq <= this.committedSeq) return;
    const before = this.committedSeq;
    this.committedSeq = last.seq;
    for (const device of this.devices) {
      // Only who has all that came before takes it from memory; others read the store.
      if (device.isConnected && device.passedSeq === before) this.send(device, appended);
    }
  }

  /** Reads the store for each device that is behind and has room. */
  private catchUp(): void | Promise<void> {
    for (const device of this.devices) {
      if (this.isBehind(device)) return this.readAndSend();
    }
  }

  private isBehind(device: Device): boolean {
    if (!device.isConnected || device.passedSeq >= this.committedSeq) return false;
    const { windowMessagesMax, windowBytesMax } = this.context.node.limits;
    return device.roomMessages(windowMessagesMax) > 0 && device.roomBytes(windowBytesMax) > 0;
  }

  private async readAndSend(): Promise<void> {
    const { inbox, shard, node } = this.context;
    const { windowMessagesMax, windowBytesMax } = node.limits;
    for (const device of this.devices) {
      while (this.isBehind(device)) {
        const passedSeq = device.passedSeq;
        const countMax = device.roomMessages(windowMessagesMax);
        const bytesMax = device.roomBytes(windowBytesMax);
        const entries = await inbox.readEntries(
          shard,
          this.sessionKey,
          passedSeq,
          countMax,
          bytesMax,
        );
        this.send(device, entries);
        // Nothing stored behind it, or only what another instance has yet to commit.
        if (entries.length === 0) device.notePassed(this.committedSeq);
        if (device.passedSeq === passedSeq) break;
      }
    }
  }

  /** Sends what fits into the window, in order; stops at the first that does not. */
  private send(device: Device, entries: readonly StoredEntry[]): void {
    const { clock, limits } = this.context.node;
    const wallMs = clock.wallMs();
    const nowMs = clock.monotonicMs();
    const prev = device.sentSeq;
    const seqs: number[] = [];
    const records: Uint8Array[] = [];
    for (const entry of entries) {
      if (entry.expiresAtMs <= wallMs || !device.isTargetOf(entry.target)) {
        device.notePassed(entry.seq);
        continue;
      }
      if (device.roomMessages(limits.windowMessagesMax) <= 0) break;
      if (device.roomBytes(limits.windowBytesMax) <= 0) break;
      device.noteSent(entry.seq, entry.record.length, nowMs);
      seqs.push(entry.seq);
      records.push(entry.record);
    }
    if (seqs.length === 0) return;
    this.tellEdge(device, {
      kind: "Deliver",
      connection: device.connection,
      key: this.sessionKey,
      epoch: this.context.epoch,
      generation: this.generation,
      prev,
      seqs,
      records,
    });
    this.armAckWait();
  }

  private deliverPassing(record: Uint8Array, target: Target | undefined): void {
    for (const device of this.devices) {
      if (!device.isConnected || !device.isTargetOf(target)) continue;
      this.tellEdge(device, { kind: "DeliverPassing", connection: device.connection, record });
    }
  }

  private tellEdge(ref: { edge: string | undefined }, message: object): void {
    if (ref.edge !== undefined) this.tell(ref.edge as Address, message);
  }

  private armAckWait(): void {
    if (this.isAckWaitArmed) return;
    this.isAckWaitArmed = true;
    this.timer(this.context.node.limits.ackWaitMs, ackWaitTick);
  }

  /** Sends again what has waited too long for its ack; the client drops what it has. */
  private onAckWaitTick(): void | Promise<void> {
    this.isAckWaitArmed = false;
    const { clock, limits } = this.context.node;
    const nowMs = clock.monotonicMs();
    for (const device of this.devices) {
      if (!device.isConnected || device.ackedSeq >= device.sentSeq) continue;
      this.armAckWait();
      if (nowMs - device.sentAtMs < limits.ackWaitMs) continue;
      this.attachAt(device, device.ackedSeq);
    }
    return this.catchUp();
  }

  // ---- devices ----

  private onAttach(attach: Attach): void | Promise<void> {
    const admission = admitDevice(
      this.devices,
      attach,
      this.lastSeq,
      this.entries,
      this.context.node,
    );
    if (admission.kind === "outdated") {
      this.closeReplaced(attach);
      return;
    }
    const { device, isNew, removed } = admission;
    const write = this.write();
    for (const old of removed) {
      if (old.isConnected) this.closeReplaced(old as ConnectionRef);
      write.changes.push({ kind: "device-removed", device: old.id, reason: "too many devices" });
    }
    this.devices = this.devices.filter((other) => !removed.includes(other));
    if (isNew) {
      this.devices.push(device);
      write.changes.push({ kind: "device-added", device: device.id, platform: device.platform });
    } else if (device.isConnected && !device.isServedOn(attach)) {
      this.closeReplaced(device as ConnectionRef);
    }
    device.connect = attach.connect;
    device.platform = attach.platform;
    device.seenAtMs = this.context.node.clock.wallMs();
    device.connectTo(attach, device.ackedSeq);
    if (attach.taken !== undefined && this.isOwnPosition(attach.taken)) {
      device.sentSeq = Math.max(device.sentSeq, attach.taken.seq);
      device.passedSeq = device.sentSeq;
      this.noteAck(device, attach.taken.seq);
    }
    write.record = this.toRecord();
    const { sent } = attach;
    const wasSent = sent !== undefined && this.isOwnPosition(sent) ? sent.seq : 0;
    this.attachAt(device, Math.max(device.ackedSeq, wasSent));
    return this.catchUp();
  }

  private isOwnPosition(position: Position): boolean {
    return position.generation === this.generation && position.seq <= this.committedSeq;
  }

  /** Tells the edge where the chain of `prev` (re)starts. */
  private attachAt(device: Device, baseSeq: number): void {
    device.rewind(baseSeq);
    device.sentAtMs = this.context.node.clock.monotonicMs();
    this.tellEdge(device, {
      kind: "Attached",
      connection: device.connection,
      key: this.sessionKey,
      epoch: this.context.epoch,
      base: { generation: this.generation, seq: baseSeq },
    });
    if (device.ackedSeq < baseSeq) this.armAckWait();
  }

  private closeReplaced(ref: ConnectionRef): void {
    this.tellEdge(ref, {
      kind: "CloseConnection",
      connection: ref.connection,
      close: "REPLACED",
    });
  }

  private onDetach(ref: ConnectionRef): void {
    const device = this.devices.find((candidate) => candidate.isServedOn(ref));
    if (device === undefined) return;
    device.disconnect(this.context.node.clock.wallMs());
    this.write().record = this.toRecord();
  }

  private onEdgeGone({ edge }: EdgeGone): void {
    for (const device of this.devices) {
      if (device.edge === edge) device.disconnect(this.context.node.clock.wallMs());
    }
  }

  private onAcked(acked: Acked): void | Promise<void> {
    const device = this.devices.find((candidate) => candidate.isServedOn(acked));
    if (device === undefined || acked.position.generation !== this.generation) return;
    // An ack above what this attach was sent cannot be true of it.
    const seq = Math.min(acked.position.seq, device.sentSeq);
    if (this.noteAck(device, seq)) this.write().record = this.toRecord();
    return this.catchUp();
  }

  private noteAck(device: Device, seq: number): boolean {
    if (!device.ackThrough(seq, this.context.node.clock.monotonicMs())) return false;
    const write = this.write();
    write.changes.push({ kind: "acked", device: device.id, seq: device.ackedSeq });
    const app = this.context.node.apps.find(decodeToken(appOfKey(this.sessionKey)) ?? "");
    const policy = app?.delivery ?? "each-device";
    this.dropEntries(trimmableSeqs(this.entries, this.devices, policy), "acked", write);
    return true;
  }

  private onResend(resend: Resend): void | Promise<void> {
    const device = this.devices.find((candidate) => candidate.isServedOn(resend));
    if (device === undefined) return;
    const { position } = resend;
    const isKnown = this.isOwnPosition(position) && position.seq <= device.sentSeq;
    this.attachAt(device, isKnown ? Math.max(device.ackedSeq, position.seq) : device.ackedSeq);
    return this.catchUp();
  }

  // ---- the inbox ----

  private onDueTick({ atMs }: DueTick): void {
    const nowMs = this.context.node.clock.wallMs();
    const write = this.write();
    write.removeDue.push(atMs);
    this.dropEntries(expiredAt(this.entries, nowMs), "expired", write);
    if (this.keys !== undefined) write.forget.push(...this.keys.forgetExpired(nowMs));
  }

  private dropCollapsed(collapse: string, write: PendingWrite): void {
    const seqs = this.entries
      .filter((entry) => entry.collapse === collapse)
      .map((entry) => entry.seq);
    this.dropEntries(seqs, "collapsed", write);
  }

  private dropEntries(seqs: readonly number[], reason: DropReason, write: PendingWrite): void {
    if (seqs.length === 0) return;
    const dropped = new Set(seqs);
    // An append that waits in the same write would come after the drop: take it out.
    const waiting = write.append.filter((entry) => dropped.has(entry.seq));
    for (const entry of waiting) write.append.splice(write.append.indexOf(entry), 1);
    write.drop.push(...seqs);
    write.changes.push({ kind: "dropped", seqs, reason });
    // The highest seq may have gone with its entry: the record must carry it on.
    write.record = this.toRecord();
    this.entries = this.entries.filter((entry) => !dropped.has(entry.seq));
    this.entryBytes = this.entries.reduce((sum, entry) => sum + entry.bytes, 0);
  }

  private addEntry(entry: StoredEntry): void {
    const { seq, expiresAtMs, collapse, record } = entry;
    const summary = { seq, expiresAtMs, bytes: record.length };
    this.entries.push(collapse === undefined ? summary : { ...summary, collapse });
    this.entryBytes += record.length;
  }

  /** Due times are rounded up into buckets, so that a busy session has few of them. */
  private noteDue(atMs: number, spanMs: number, write: PendingWrite): void {
    const bucket = dueBucketMs(atMs, spanMs);
    if (bucket === this.lastDueMs) return;
    this.lastDueMs = bucket;
    write.addDue.push(bucket);
  }

  private write(): PendingWrite {
    if (this.pending !== undefined && !this.pending.isTaken) return this.pending;
    const write = new PendingWrite(this.ref, this, this.context.shard, this.sessionKey);
    this.pending = write;
    this.outstandingWrites++;
    this.context.commits.submit(write);
    return write;
  }

  private toRecord(): SessionRecord {
    return {
      generation: this.generation,
      lastSeq: this.lastSeq,
      devices: this.devices.map((device) => device.toRecord()),
    };
  }

  override inspect(): Record<string, unknown> {
    return {
      shard: this.context.shard,
      epoch: this.context.epoch,
      generation: this.generation,
      lastSeq: this.lastSeq,
      committedSeq: this.committedSeq,
      inbox: { messages: this.entries.length, bytes: this.entryBytes },
      devices: this.devices.map((device) => ({
        ...device.toRecord(),
        sentSeq: device.sentSeq,
        unacked: device.unackedCount,
        connection: device.isConnected ? `${device.edge}/${device.connection}` : null,
      })),
    };
  }
}
