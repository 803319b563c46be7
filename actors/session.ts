/**
 * One signed-in user on one shard; owns the order of that user's messages.
 *
 *   AcceptPush ──▶ seq, MsgID ──▶ PendingWrite ──(commit)──▶ Committed ──▶ answer, deliver
 *
 * Its parts have a file each: what is pushed (push-acceptance), who is attached
 * (attachments), what is sent (deliveries), what is kept (inbox). Only the last has a
 * state; the others are made for a message and gone with it, for most sessions are idle.
 * Where what is kept cannot be read, something stands for it that refuses (unread-session).
 *
 * Invariants: a seq is never given twice; nothing is answered or delivered before it
 * is on disk. What no commit and no epoch guards happens only while `mayServe`.
 */
import { assert, ignoreUnknown } from "../src/base/assert.js";
import { Fault } from "../src/base/result.js";
import type { SessionRecord, StoredSession } from "../src/ports/inbox-store.js";
import type { ClientAppState } from "../src/protocol/client-surroundings.js";
import type { StepSession } from "../src/protocol/journal-batch.js";
import type {
  AcceptPush,
  DirectConnection,
  EdgeGone,
  FromEdge,
  ServeInbox,
  ToEdge,
} from "../src/protocol/messages.js";
import { type ReceiptKind, wantsReceipt } from "../src/protocol/service-event.js";
import type { SessionKey } from "../src/protocol/shards.js";
import { Actor } from "../src/runtime/actor.js";
import type { Address } from "../src/runtime/address.js";
import type { Asker, AskResult, StopReason } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { AnnouncedPresence, type PresenceHolder } from "./announced-presence.js";
import { appStateOf } from "./app-states.js";
import { Attachments } from "./attachments.js";
import { Deliveries } from "./deliveries.js";
import { Device } from "./device.js";
import { finishErasure } from "./forget-traces.js";
import type { Freeze } from "./freeze.js";
import { Inbox } from "./inbox.js";
import { isLook } from "./inbox-rules.js";
import { InboxService } from "./inbox-service.js";
import { mayServe } from "./may-serve.js";
import { OpenedMessages } from "./opened-messages.js";
import { type Committed, PendingWrite } from "./pending-write.js";
import { refusePostponed } from "./postponed.js";
import { PushAcceptance } from "./push-acceptance.js";
import { answerInbox } from "./push-answering.js";
import type { Postponed, SessionDesk } from "./session-desk.js";
import { type DirectingSession, type DirectSession, direct } from "./session-directives.js";
import { wishesOf } from "./shard-changes.js";
import type { ShardContext } from "./shard-context.js";
import { eraseUnread, refuseUnread, UnreadSession } from "./unread-session.js";

export interface ViewSession {
  readonly kind: "ViewSession";
  readonly key: SessionKey;
}

interface AckWaitTick {
  readonly kind: "AckWaitTick";
}

interface PresenceTick {
  readonly kind: "PresenceTick";
}

/** From the group's sweep: something of this session was due at `atMs`. */
export interface DueTick {
  readonly kind: "DueTick";
  readonly atMs: number;
}

export type SessionMessage =
  | AcceptPush
  | ServeInbox
  | FromEdge
  | EdgeGone
  | Committed
  | AckWaitTick
  | PresenceTick
  | DueTick
  | ViewSession
  | DirectSession
  | Freeze;

const sessionKind: ActorKind = {
  name: "session",
  mailbox: { max: 4_096, onFull: "reject" },
  restart: "transient",
  passivateAfterMs: 60_000,
};

const outlastsErasure: ReadonlySet<SessionMessage["kind"]> = new Set([
  ...(["AcceptPush", "ServeInbox", "Committed", "AckWaitTick", "ViewSession", "Freeze"] as const),
  "DirectSession",
]);
/** Who goes says so once, and the erasure may yet be refused. */
const outlastsAnnouncement: ReadonlySet<SessionMessage["kind"]> = new Set([
  ...outlastsErasure,
  ...(["Detach", "EdgeGone", "PresenceTick"] as const),
]);

/** Within what an operator's desk waits. */
const directiveDeadlineMs = 2_000;
const noDevices: readonly Device[] = [];
const ackWaitTick: AckWaitTick = { kind: "AckWaitTick" };

export class Session
  extends Actor<SessionMessage>
  implements SessionDesk, PresenceHolder, DirectingSession
{
  private loadedInbox: Inbox | UnreadSession | undefined = undefined;
  devices: readonly Device[] = noDevices;
  postponed: Postponed[] | undefined = undefined;
  /** Undefined where nobody was ever told of this user. */
  private announced: AnnouncedPresence | undefined = undefined;
  private opened: OpenedMessages | undefined = undefined;
  /** Collects until the group takes it. */
  private pending: PendingWrite | undefined = undefined;
  private outstandingWrites = 0;
  /** Erases the user; not on disk yet. Before it is written it is the next that is. */
  private erasure: PendingWrite | "next" | undefined = undefined;
  private isAckWaitArmed = false;
  /** When devices were last here is stored before this is forgotten: most are back before. */
  private isSeenStored = true;
  private isFreezing = false;

  constructor(readonly context: ShardContext) {
    super();
  }

  get kind(): ActorKind {
    return sessionKind;
  }

  get sessionKey(): SessionKey {
    return this.key as SessionKey;
  }

  protected override async started(): Promise<void> {
    await this.context.commits.whenSettled(this.sessionKey);
    await this.load();
  }

  /** What the store cannot give is refused to who asks for it; its neighbours are served. */
  private async load(): Promise<void> {
    const { context, sessionKey } = this;
    try {
      this.begin(await context.inbox.loadSession(context.shard, sessionKey));
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      const { loadedInbox } = this;
      this.loadedInbox = UnreadSession.because(fault, loadedInbox, context, sessionKey);
    }
  }

  private begin(stored: StoredSession | undefined): void {
    const { context } = this;
    const { clock, limits } = context.node;
    this.loadedInbox = new Inbox(stored, context.node, context.inbox.generationFloor ?? 0);
    const [nowMs, wallMs] = [clock.monotonicMs(), clock.wallMs()];
    this.devices = (stored?.record.devices ?? []).map(
      (record) => new Device(record, limits, nowMs - Math.max(0, wallMs - record.seenAtMs)),
    );
    const told = stored?.record.announced;
    if (told === undefined) return;
    this.announced = new AnnouncedPresence(context, told, this);
    this.announced.start();
  }

  protected override mayPassivate(): boolean {
    if (!this.isSettled || this.isAnybodyConnected) return false;
    if (this.isSeenStored || this.isErasing || !this.mayServe) return true;
    this.write().isRecordDue = true;
    return false;
  }

  /** Who was connected is known to this instance only: after a crash the edges attach again. */
  protected override stopping(reason: StopReason): void {
    refusePostponed(this);
    // Whose erasure is on its way is closed for good when it is on disk, or its group begins anew.
    if (reason === "normal" || this.erasure instanceof PendingWrite) return;
    const shards = [this.context.shard];
    for (const edge of new Set(this.devices.map((device) => device.edge))) {
      this.tellEdge(edge, { kind: "AttachAgain", shards, key: this.sessionKey });
    }
  }

  receive(message: SessionMessage, from: Asker | undefined): void | Promise<void> {
    // What else comes from edges comes again, and what is due is found again.
    const outlasting = this.erasure === "next" ? outlastsAnnouncement : outlastsErasure;
    if (this.isErasing && !outlasting.has(message.kind)) return;
    if (this.loadedInbox instanceof UnreadSession) return this.onUnread(message, from);
    return this.onLoaded(message, from);
  }

  private onLoaded(message: SessionMessage, from: Asker | undefined): void | Promise<void> {
    switch (message.kind) {
      case "AcceptPush":
        this.pushes.accept(message);
        return;
      case "ServeInbox":
        return new InboxService(this).serve(message);
      case "Committed":
        return this.onCommitted(message.write);
      case "Acked":
        return this.attachments.acked(message);
      case "Attach":
        return this.attachments.attach(message);
      case "Detach":
        this.attachments.detach(message);
        return;
      case "Resend":
        return this.attachments.resend(message);
      case "Opened":
        this.opened ??= new OpenedMessages();
        this.opened.note(this, message);
        return;
      case "EdgeGone":
        this.attachments.loseEdge(message);
        return;
      case "AppStateChanged":
        this.attachments.appStateChanged(message);
        return;
      case "AckWaitTick":
        return this.onAckWaitTick();
      case "PresenceTick":
        this.announced?.onTick(this.mayServe);
        return;
      case "DueTick":
        this.onDueTick(message.atMs);
        this.announced?.onDue(message.atMs);
        return;
      case "ViewSession":
        from?.answer(this.inspect());
        return;
      case "DirectSession":
        if (from !== undefined) direct(this, message, from);
        return;
      case "Freeze":
        this.isFreezing = true;
        this.leaveIfSettled();
        return;
      default:
        ignoreUnknown(message);
    }
  }

  /** Who wants to attach asks again by itself; what is due is found again. */
  private async onUnread(message: SessionMessage, from: Asker | undefined): Promise<void> {
    switch (message.kind) {
      case "AcceptPush":
      case "ServeInbox":
      case "Attach":
        if (await this.isReadNow()) return this.onLoaded(message, from);
        if (message.kind === "Attach") return;
        if (message.kind === "AcceptPush" || message.request.op !== "erase") {
          refuseUnread(this, message.reply, this.loadedInbox);
        } else await this.eraseUnread(message);
        return;
      case "Committed":
        this.onCommittedUnread(message.write);
        return;
      case "ViewSession":
      case "DirectSession":
      case "Freeze":
        return this.onLoaded(message, from);
    }
  }

  private async isReadNow(): Promise<boolean> {
    const { loadedInbox } = this;
    const isDue = loadedInbox instanceof UnreadSession && loadedInbox.isDue(this.nowMs);
    if (isDue && !this.isErasing && this.mayServe) await this.load();
    return this.loadedInbox instanceof Inbox;
  }

  private async eraseUnread(message: ServeInbox): Promise<void> {
    const { loadedInbox, mayServe, isErasing } = this;
    const isCorrupt = loadedInbox instanceof UnreadSession && loadedInbox.isCorrupt;
    try {
      if (isCorrupt && mayServe && !isErasing) return await eraseUnread(this, message);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      refuseUnread(this, message.reply, undefined);
      return;
    }
    refuseUnread(this, message.reply, this.loadedInbox);
  }

  get inbox(): Inbox {
    const { loadedInbox } = this;
    assert(loadedInbox instanceof Inbox, "a session has loaded before it works");
    return loadedInbox;
  }

  private get nowMs(): number {
    return this.context.node.clock.monotonicMs();
  }

  get deliveries(): Deliveries {
    return new Deliveries(this);
  }

  private get pushes(): PushAcceptance {
    return new PushAcceptance(this);
  }

  private get attachments(): Attachments {
    return new Attachments(this);
  }

  get isErasing(): boolean {
    return this.erasure !== undefined;
  }

  announceErasure(): void {
    this.erasure = "next";
  }

  beginErasure(write: PendingWrite): void {
    this.erasure = write;
    write.closes = this.attachments.connections;
    this.announced?.end(write);
    this.announced = undefined;
  }

  /** Nothing is left of the user but the word that they were erased. */
  private beginAnew(): void {
    const { context } = this;
    this.erasure = undefined;
    const { generationFloor = 0 } = context.inbox;
    const { loadedInbox } = this;
    const erased = loadedInbox instanceof Inbox ? loadedInbox : undefined;
    this.loadedInbox = new Inbox(undefined, context.node, generationFloor, erased);
    this.devices = noDevices;
    this.isSeenStored = true;
    this.announced = undefined;
  }

  get isSettled(): boolean {
    return this.outstandingWrites === 0;
  }

  private onDueTick(atMs: number): void {
    this.inbox.expire(atMs, this.context.node.clock.wallMs(), this.write());
    if (isLook(atMs)) this.attachments.look();
  }

  private onAckWaitTick(): void | Promise<void> {
    this.isAckWaitArmed = false;
    if (!this.mayServe) return;
    if (this.isErasing) this.armAckWait();
    else return this.attachments.resendOverdue();
  }

  get mayServe(): boolean {
    return mayServe(this.context.node, this.context.incarnation);
  }

  private onCommitted(write: PendingWrite): void | Promise<void> {
    // A predecessor that crashed may have submitted it; its answers are still owed.
    if (write.author === this) this.outstandingWrites--;
    if (this.pending === write) this.pending = undefined;
    const { node, shard } = this.context;
    node.journal?.committed(shard, this.stepSession, write.changes, write.answers);
    if (write === this.erasure) this.beginAnew();
    for (const ref of write.closes ?? []) this.attachments.closeErased(ref);
    this.pushes.finish(write);
    if (write.remove) void finishErasure(this.context, this.sessionKey, write.replies);
    else for (const reply of write.replies) answerInbox(node.bus, reply);
    this.deliveries.deliverRecalled(write.recalled);
    if (this.postponed === undefined) return this.goOn();
    return this.takePostponed(this.postponed).then(() => this.goOn());
  }

  private goOn(): void | Promise<void> {
    this.leaveIfSettled();
    if (!this.isErasing) return this.deliveries.catchUp();
  }

  /** Each in its turn; what one of them makes wait puts itself, and those behind it, in line again. */
  private async takePostponed(waiting: readonly Postponed[]): Promise<void> {
    if (this.erasure instanceof PendingWrite || (this.isErasing && !this.isSettled)) return;
    this.erasure = undefined;
    this.postponed = undefined;
    for (const message of waiting) {
      if (message.kind === "AcceptPush") this.pushes.accept(message);
      else await new InboxService(this).serve(message);
    }
  }

  /** An erasure, or what a predecessor that crashed had submitted: its answers are still owed. */
  private onCommittedUnread(write: PendingWrite): void | Promise<void> {
    if (write === this.erasure) return this.onCommitted(write);
    this.pushes.answer(write);
    if (write.remove) void finishErasure(this.context, this.sessionKey, write.replies);
    else for (const reply of write.replies) answerInbox(this.context.node.bus, reply);
  }

  /** Frozen, and all that was accepted is on disk and answered: the next owner goes on. */
  private leaveIfSettled(): void {
    if (this.isFreezing && this.isSettled) this.stopSelf();
  }

  /** As the delivery journal names it. */
  get stepSession(): StepSession {
    const { loadedInbox } = this;
    const generation = loadedInbox instanceof Inbox ? loadedInbox.generation : 0;
    return { key: this.sessionKey, epoch: this.context.epoch, generation };
  }

  // ---- what services are told ----

  wantsReceipt(kind: ReceiptKind): boolean {
    return wantsReceipt(wishesOf(this.context.node.apps, this.sessionKey) ?? {}, kind);
  }

  get isAnybodyConnected(): boolean {
    return this.devices.some((device) => device.isConnected);
  }

  noteConnected(): void {
    const { context } = this;
    if (wishesOf(context.node.apps, this.sessionKey)?.presence === true) {
      this.announced ??= new AnnouncedPresence(context, undefined, this);
    }
    this.announced?.onConnected();
  }

  noteDisconnected(): void {
    this.announced?.onDisconnected();
  }

  noteAppState(): void {
    this.announced?.onAppState();
  }

  get appState(): ClientAppState | undefined {
    return appStateOf(this.devices);
  }

  armPresence(delayMs: number): void {
    this.timer(delayMs, { kind: "PresenceTick" });
  }

  // ---- ways out ----

  tellEdge(edge: string | undefined, message: ToEdge): void {
    if (edge !== undefined) this.tell(edge as Address, message);
  }

  askEdge(edge: string, message: DirectConnection): Promise<AskResult<boolean>> {
    return this.ask(edge as Address, message, directiveDeadlineMs);
  }

  noteSeen(): void {
    this.isSeenStored = false;
  }

  noteAttempt(): void {
    this.write().isRecordDue = true;
  }

  armAckWait(): void {
    if (this.isAckWaitArmed) return;
    this.isAckWaitArmed = true;
    this.timer(this.context.node.limits.ackWaitMs, ackWaitTick);
  }

  write(): PendingWrite {
    assert(!(this.erasure instanceof PendingWrite), "nothing is stored beside an erasure");
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
    const { inbox, devices } = this;
    this.isSeenStored = true;
    const announced = this.announced?.announced;
    return {
      generation: inbox.generation,
      lastSeq: inbox.lastSeq,
      devices: devices.map((device) => device.toRecord()),
      ...(announced === undefined ? {} : { announced }),
    };
  }

  /** Who is not connected may only not have been attached here yet. */
  get presence(): "connected" | "away" | "unknown" {
    if (this.isAnybodyConnected) return "connected";
    return this.context.presence.isKnown ? "away" : "unknown";
  }

  override inspect(): Record<string, unknown> {
    const { loadedInbox, devices, context } = this;
    const inbox = loadedInbox instanceof Inbox ? loadedInbox : undefined;
    const unread = loadedInbox instanceof UnreadSession ? loadedInbox.code : undefined;
    return {
      ...(unread === undefined ? {} : { unread }),
      shard: context.shard,
      epoch: context.epoch,
      generation: inbox?.generation,
      lastSeq: inbox?.lastSeq,
      committedSeq: inbox?.committedSeq,
      inbox: inbox?.size,
      presence: this.presence,
      appState: this.appState ?? null,
      announced: this.announced?.announced ?? null,
      devices: devices.map((device) => device.inspect()),
    };
  }
}
