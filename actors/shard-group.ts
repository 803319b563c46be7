/**
 * The shards of one node that commit together: a volume of the embedded store.
 * Opens the store, raises the fences, starts the shards, and writes what their
 * sessions want stored: one commit in flight, what arrives meanwhile is the next.
 *
 *   opening ──(open, raise)──▶ serving ──(commit failed, unknown fate)──▶ crash, open again
 *
 * Invariant: a shard actor exists only under an epoch that its fence was raised to.
 */
import { unreachable } from "../src/base/assert.js";
import { Fault } from "../src/base/result.js";
import type { CommitAnswer, Fence, InboxGroup, ShardWrite } from "../src/ports/inbox-store.js";
import type { EdgeGone, FenceReported, ProbeGroup } from "../src/protocol/messages.js";
import { MsgIdSource } from "../src/protocol/msg-id.js";
import type { Shard as ShardNumber } from "../src/protocol/shards.js";
import { Actor, cellOf } from "../src/runtime/actor.js";
import { type ActorKey, type Address, addressOn } from "../src/runtime/address.js";
import { isAlive } from "../src/runtime/cell.js";
import type { Asker, StopReason } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { Admission, GroupState } from "./admission.js";
import { AttachCalls } from "./attach-calls.js";
import { ChangePublisher, type ChangesWaiting, figuresOf } from "./change-publisher.js";
import { answerDurable, answerUnknown } from "./commit-answers.js";
import { CommitPace } from "./commit-pace.js";
import { CommitQueue } from "./commit-queue.js";
import { DueSweep } from "./due-sweep.js";
import type { Freeze, GroupDrained, ShardFrozen } from "./freeze.js";
import { gatherWrites, publishedPositions } from "./gather-writes.js";
import { type BackUpGroup, GroupBackup } from "./group-backup.js";
import { GroupGate } from "./group-gate.js";
import type { GroupFigures } from "./load-meter.js";
import { mayServe } from "./may-serve.js";
import type { NodeContext } from "./node-context.js";
import type { PendingWrite } from "./pending-write.js";
import { nodeNameOf } from "./placement-view.js";
import { answerRefused } from "./push-answering.js";
import { type ForSession, type ReceivePush, Shard } from "./shard.js";
import { ShardChanges } from "./shard-changes.js";
import type { DeliveryFigures, ShardContext } from "./shard-context.js";
import { StoreProbe } from "./store-probe.js";

/** A message for one shard of the group. */
export interface ForShard {
  readonly kind: "ForShard";
  readonly shard: ShardNumber;
  readonly message: ForSession | ReceivePush;
}

/** To the host: open; also after each restart. */
export interface GroupServing {
  readonly kind: "GroupServing";
  readonly group: number;
  /** What it was made with: the same object. */
  readonly epochs: ReadonlyMap<ShardNumber, number>;
}

interface FreezeTick {
  readonly kind: "FreezeTick";
}

interface CommitTick {
  readonly kind: "CommitTick";
}

interface CommitEnded {
  readonly kind: "CommitEnded";
  readonly writes: readonly ShardWrite[];
  readonly taken: readonly PendingWrite[];
  readonly result: readonly CommitAnswer[] | Fault;
}

interface SweepTick {
  readonly kind: "SweepTick";
}

/** The store has told what is due. */
interface SweepEnded {
  readonly kind: "SweepEnded";
}

/** An edge came up, or back: it may hold connections of these shards. */
export interface EdgeAppeared {
  readonly kind: "EdgeAppeared";
  readonly edge: Address;
}

interface EdgeConfirmed {
  readonly kind: "EdgeConfirmed";
  readonly edge: Address;
}

export type GroupMessage =
  | ForShard
  | CommitTick
  | CommitEnded
  | SweepTick
  | SweepEnded
  | EdgeGone
  | EdgeAppeared
  | EdgeConfirmed
  | ProbeGroup
  | BackUpGroup
  | Freeze
  | FreezeTick
  | ShardFrozen;

const groupKind: ActorKind = {
  name: "shard-group",
  mailbox: { max: 131_072, onFull: "reject" },
  restart: "permanent",
  // All pushes of its shards pass through it.
  quantum: 1_024,
  intensity: { restarts: 20, withinMs: 10_000 },
  stopDeadlineMs: 10_000,
};

/** A commit that would hold fewer pushes waits a moment for more, when one has just ended. */
const gatherPushes = 64;
const gatherMs = 2;
const sweepEveryMs = 1_000;
const freezeAgainMs = 50;
/** The child that is no shard. */
const publisherKey = "changes";

export class ShardGroup extends Actor<GroupMessage> {
  private readonly contexts = new Map<ShardNumber, ShardContext>();
  private readonly commits: CommitQueue;
  private inbox: InboxGroup | undefined = undefined;
  /** The commit under way; settles, never rejects. */
  private flight: Promise<void> | undefined = undefined;
  /** Ended while this actor is told to stop: still to be answered. */
  private landed: CommitEnded | undefined = undefined;
  private readonly gate: GroupGate;
  private readonly state: GroupState;
  private readonly attachCalls: AttachCalls;
  /** The highest fence found above this node's epochs; 0 when none was. */
  private highestFence = 0;
  private dueSweep: DueSweep | undefined = undefined;
  private commitCount = 0;
  private readonly undelivered: DeliveryFigures = { setAside: 0, bound: 0 };
  private handled = 0;
  private probe: StoreProbe | undefined = undefined;
  private readonly backup = new GroupBackup();
  /** Shards that still have sessions; undefined while the group does not freeze. */
  private thawed: Set<ShardNumber> | undefined = undefined;

  /** `epochs`: what placement gave this node, by shard. */
  constructor(
    private readonly node: NodeContext,
    private readonly incarnation: string,
    private readonly group: number,
    private readonly epochs: ReadonlyMap<ShardNumber, number>,
    private readonly admission: Admission,
  ) {
    super();
    const pace = new CommitPace(node.clock, node.limits);
    this.commits = new CommitQueue(() => this.wake(), node.limits, pace);
    this.state = admission.groupState(group);
    this.gate = new GroupGate(admission, this.state, this.commits, node);
    this.attachCalls = new AttachCalls(
      (edge, message) => this.ask(edge, message, sweepEveryMs),
      (edge) => void this.tellSelf({ kind: "EdgeConfirmed", edge }),
      node.clock,
      node.limits,
    );
  }

  get kind(): ActorKind {
    return groupKind;
  }

  private wake(): void {
    this.tellSelf({ kind: "CommitTick" });
  }

  protected override async started(): Promise<void> {
    const { node } = this;
    const { store, clock, limits, log } = node;
    // Whoever has the store by now would be killed for it; the host ends this actor.
    if (!this.mayServe) return;
    const inbox = await this.tried(store.openGroup(this.group));
    // It took so long that somebody else is to have it, or that nobody waits for it here.
    if (!this.mayServe || this.isOver) return this.closeStore(inbox);
    this.inbox = inbox;
    const startMs = clock.wallMs();
    const reserveUntilMs = startMs + limits.reserveMs;
    // Not the node's name of now: it may have changed while the store was opened.
    const holder = nodeNameOf({ nodeId: node.nodeId, incarnation: this.incarnation });
    const requests = [...this.epochs].map(([shard, epoch]) => ({
      shard,
      epoch,
      holder,
      reserveUntilMs,
    }));
    const raise = inbox.raise(requests).finally(() => this.closeIfOver(inbox));
    const answers = await this.tried(raise);
    if (this.isOver) return;
    const { circuit } = this.state;
    this.probe = new StoreProbe(clock, inbox, this.contexts, (ms) => circuit.noteSuccess(ms));
    circuit.noteSuccess(clock.monotonicMs());
    let highestFence = 0;
    for (const [index, request] of requests.entries()) {
      const answer = answers[index];
      if (answer === undefined || !answer.ok) {
        highestFence = Math.max(highestFence, answer?.epoch ?? 0);
        continue;
      }
      const previousMs = answer.value.previousReservedUntilMs;
      // Where an earlier reservation reaches past ours, the first id waits for a longer one.
      const firstIdMs = Math.max(startMs, previousMs);
      const ids = new MsgIdSource(request.shard, node.idcNumber, firstIdMs, reserveUntilMs);
      this.startShard(request.shard, request.epoch, inbox, ids, answer.value);
    }
    this.spawn(publisherKey);
    const { group, epochs } = this;
    this.admission.inboxes.opened(group, inbox, [...this.contexts.keys()]);
    this.state.isServing = true;
    // Fenced out of some, it is given all anew: until then what comes is held.
    if (highestFence > 0) this.noteFence(highestFence);
    else this.tellHost({ kind: "GroupServing", group, epochs });
    this.timer(sweepEveryMs, { kind: "SweepTick" });
    for (const member of node.view.nodes.values()) {
      this.attachCalls.add(addressOn(nodeNameOf(member), "edge"));
    }
    this.askEdges();
    log.info("group opened", { group, shards: this.contexts.size });
  }

  private startShard(
    shard: ShardNumber,
    epoch: number,
    inbox: InboxGroup,
    ids: MsgIdSource,
    fence: Fence,
  ): void {
    const { node, incarnation, commits, gate, attachCalls: presence, undelivered: figures } = this;
    const changes = new ShardChanges(fence, node.apps);
    const shared = { node, incarnation, inbox, commits, gate, presence, figures };
    this.contexts.set(shard, { ...shared, shard, epoch, ids, changes });
    this.spawn(shard);
  }

  /** A store that fails each time it is tried opens the circuit. */
  private async tried<Value>(call: Promise<Value>): Promise<Value> {
    try {
      return await call;
    } catch (cause) {
      this.state.circuit.noteFailure(this.node.clock.monotonicMs());
      throw cause;
    }
  }

  /** The sessions are gone; what they submitted is written and answered before the group closes. */
  protected override async stopping(reason: StopReason): Promise<void> {
    const { inbox } = this;
    if (inbox === undefined) return;
    this.inbox = undefined;
    this.state.isServing = false;
    this.admission.inboxes.closed(this.group);
    await this.flight;
    const { landed } = this;
    if (landed !== undefined) this.answerLanded(landed);
    if (reason === "normal" && landed?.result instanceof Fault) {
      // They stand on what nobody knows to be stored.
      answerUnknown(this.node.bus, this.commits.take());
    } else if (reason === "normal") {
      const left = this.commits.take();
      const positions = publishedPositions(this.contexts.values());
      await inbox.commit([...this.gather(left), ...positions]).then(
        (answers) => answerDurable(this.node.bus, left, answers),
        () => answerUnknown(this.node.bus, left),
      );
    }
    await this.closeStore(inbox);
  }

  /** Abandoned at its stop deadline while it started: `stopping` does not come for it. */
  private get isOver(): boolean {
    return !isAlive(cellOf(this));
  }

  private async closeIfOver(inbox: InboxGroup): Promise<void> {
    if (this.isOver) await this.closeStore(inbox);
  }

  /** The embedded store cannot open again in this process what it could not close. */
  private async closeStore(inbox: InboxGroup): Promise<void> {
    await inbox.close().catch((cause) => this.node.giveUp(`group ${this.group}: ${cause}`));
  }

  protected override createChild(key: ActorKey): Actor {
    if (key === publisherKey) {
      return new ChangePublisher(
        this.node,
        this.incarnation,
        this.inbox as InboxGroup,
        this.contexts,
      );
    }
    return new Shard(this.contexts.get(key as ShardNumber) as ShardContext);
  }

  private get mayServe(): boolean {
    return mayServe(this.node, this.incarnation);
  }

  private tellHost(message: GroupServing | GroupDrained): void {
    this.tell(addressOn(nodeNameOf(this.node), "shards"), message);
  }

  receive(message: GroupMessage, from: Asker | undefined): void | Promise<void> {
    switch (message.kind) {
      case "ForShard":
        this.onForShard(message);
        return;
      case "Freeze":
        this.onFreeze();
        return;
      case "FreezeTick":
        this.freezeShards();
        return;
      case "ShardFrozen":
        this.onShardFrozen(message.shard);
        return;
      case "CommitTick":
        this.onCommitTick();
        return;
      case "CommitEnded":
        this.onCommitEnded(message);
        return;
      case "SweepTick":
        this.onSweepTick();
        return;
      case "SweepEnded":
        this.timer(sweepEveryMs, { kind: "SweepTick" });
        return;
      case "ProbeGroup":
        this.probe?.start();
        from?.answer(this.probe?.proof);
        return;
      case "BackUpGroup":
        this.onBackUp(message, from);
        return;
      case "EdgeGone":
        this.attachCalls.delete(message.edge as Address);
        for (const key of this.contexts.keys()) this.tellChild(key, message);
        return;
      case "EdgeAppeared":
        this.attachCalls.add(message.edge);
        this.askEdges();
        return;
      case "EdgeConfirmed":
        this.attachCalls.delete(message.edge);
        return;
      default:
        return unreachable(message);
    }
  }

  private onForShard({ shard, message }: ForShard): void {
    this.handled++;
    if (this.tellChild(shard, message) || message.kind !== "ReceivePush") return;
    if (!this.mayServe) return;
    // A shard that is not here was fenced: it has another owner, or will have.
    const code = this.hasChild(shard) ? "OVERLOADED" : "NOT_READY";
    answerRefused(this.node.bus, message.lane?.reply ?? message.request, code);
  }

  private onBackUp(message: BackUpGroup, from: Asker | undefined): void {
    const answer = this.backup.answer(message, this.inbox);
    if (answer.ok) from?.answer(answer.value);
    else from?.refuse(answer.code, answer.message);
  }

  private onFreeze(): void {
    if (this.thawed !== undefined) return;
    this.thawed = new Set(this.contexts.keys());
    this.freezeShards();
  }

  private freezeShards(): void {
    const { thawed, group } = this;
    if (thawed === undefined) return;
    for (const shard of thawed) {
      if (!this.hasChild(shard)) thawed.delete(shard);
      else this.tellChild(shard, { kind: "Freeze" } satisfies Freeze);
    }
    if (thawed.size === 0) this.tellHost({ kind: "GroupDrained", group });
    // A full mailbox did not take it, a crash has forgotten it.
    this.timer(freezeAgainMs, { kind: "FreezeTick" });
  }

  private onShardFrozen(shard: ShardNumber): void {
    const { thawed, group } = this;
    if (thawed?.delete(shard) && thawed.size === 0) this.tellHost({ kind: "GroupDrained", group });
  }

  private onCommitTick(): void {
    const { inbox } = this;
    if (inbox === undefined) return;
    const taken = this.commits.take();
    if (taken.length === 0) return;
    const writes = this.gather(taken);
    this.flight = inbox.commit(writes).then(
      (result) => this.endCommit({ kind: "CommitEnded", writes, taken, result }),
      (cause) => this.endCommit({ kind: "CommitEnded", writes, taken, result: asFault(cause) }),
    );
  }

  private endCommit(ended: CommitEnded): void {
    this.landed = ended;
    this.tellSelf(ended);
  }

  /** Stopping: nobody takes messages any more, but the publishers still wait. */
  private answerLanded({ taken, result }: CommitEnded): void {
    if (result instanceof Fault) answerUnknown(this.node.bus, taken);
    else answerDurable(this.node.bus, taken, result);
  }

  private gather(taken: readonly PendingWrite[]): ShardWrite[] {
    return gatherWrites(taken, this.contexts, this.node);
  }

  private onCommitEnded(ended: CommitEnded): void {
    // Of an instance that crashed meanwhile, which has answered it as it ended.
    if (ended !== this.landed) return;
    const { writes, taken, result } = ended;
    this.landed = undefined;
    this.commits.pace.end();
    if (result instanceof Fault) {
      this.failCommit(result);
      return;
    }
    this.commitCount++;
    const fenced = new Set<ShardNumber>();
    for (const [index, write] of writes.entries()) {
      const answer = result[index];
      if (answer !== undefined && !answer.ok) {
        fenced.add(write.shard);
        this.loseShard(write.shard, answer.epoch);
      } else if (answer !== undefined) {
        this.noteCommitted(write, answer.value.lastChange);
      }
    }
    for (const write of taken) {
      if (fenced.has(write.shard)) continue;
      const { shard, key, bytesAdded, messagesAdded } = write;
      this.admission.inboxes.noteCommitted(this.group, shard, key, bytesAdded, messagesAdded);
      write.author.committed(write);
    }
    const waiting = this.commits.settle();
    if (!this.commits.isWaiting) return;
    // Under load a moment's patience makes one flush serve many; after a rest nobody waits.
    if (waiting >= gatherPushes) this.onCommitTick();
    else this.timer(gatherMs, { kind: "CommitTick" });
  }

  private noteCommitted(write: ShardWrite, lastChange: number): void {
    const { shard, sessions, reserveUntilMs, publishedChange } = write;
    const context = this.contexts.get(shard);
    if (context === undefined) return;
    const { ids, changes } = context;
    if (reserveUntilMs !== undefined) ids.extend(reserveUntilMs);
    if (publishedChange !== undefined) {
      changes.noteStored(publishedChange, this.node.clock.monotonicMs());
    }
    const isAtWork = changes.hasWork;
    changes.noteCommitted(lastChange, sessions);
    if (isAtWork || !changes.hasWork) return;
    this.tellChild(publisherKey, { kind: "ChangesWaiting", shard } satisfies ChangesWaiting);
  }

  /** A node whose write is fenced answers nothing: the shard has another owner. */
  private loseShard(shard: ShardNumber, epoch: number): void {
    this.node.log.warn("shard fenced", { shard, epoch });
    this.admission.requests.closeShard(shard);
    this.stopChild(shard);
    const context = this.contexts.get(shard);
    if (context !== undefined) context.changes.isOver = true;
    this.noteFence(epoch);
  }

  /**
   * Nobody knows what reached the disk: answer so, and begin again from what is
   * there. The supervisor opens the group anew, and the edges attach again.
   */
  private failCommit(fault: Fault): never {
    this.state.circuit.noteFailure(this.node.clock.monotonicMs());
    answerUnknown(this.node.bus, this.commits.abandon());
    throw fault;
  }

  private noteFence(epoch: number): void {
    this.highestFence = Math.max(this.highestFence, epoch);
    this.reportFence();
  }

  /** Until the leader has given the group above the fence, which ends this actor. */
  private reportFence(): void {
    const { leader } = this.node.view;
    if (leader === undefined || this.highestFence === 0 || !this.mayServe) return;
    const { incarnation } = this;
    const { nodeId } = this.node;
    const report: FenceReported = {
      kind: "FenceReported",
      group: this.group,
      epoch: this.highestFence,
      nodeId,
      incarnation,
    };
    this.tell(addressOn(nodeNameOf(leader), "placement"), report);
  }

  private askEdges(): void {
    if (!this.mayServe) return;
    this.attachCalls.send([...this.contexts.keys()]);
  }

  /** It does not wait for the store: every push of the group passes through its mailbox. */
  private onSweepTick(): void {
    const { inbox } = this;
    if (inbox === undefined || this.thawed !== undefined) return;
    const { clock, random } = this.node;
    this.reportFence();
    this.askEdges();
    if (this.state.circuit.isOpen) this.probe?.start();
    this.dueSweep ??= new DueSweep(inbox, [...this.contexts.keys()], random.next());
    const looking = this.dueSweep.look(clock.wallMs(), (shard, key, atMs) => {
      if (this.inbox !== inbox) return;
      const message = { kind: "DueTick", atMs } as const;
      this.tellChild(shard, { kind: "ForSession", key, message } satisfies ForSession);
    });
    const ended: SweepEnded = { kind: "SweepEnded" };
    this.pipe(
      looking,
      () => ended,
      (cause) => {
        // Closed under the look, it has nothing more to say.
        if (this.inbox === inbox) throw cause;
        return ended;
      },
    );
  }

  /** What the group has had to do since it was made. */
  figures(): GroupFigures {
    let sessions = 0;
    for (const key of this.contexts.keys()) sessions += this.child<Shard>(key)?.sessionCount ?? 0;
    return { handled: this.handled, sessions };
  }

  override inspect(): Record<string, unknown> {
    const heldBack = this.child<ChangePublisher>(publisherKey)?.heldBack;
    return {
      shards: this.contexts.size,
      commits: this.commitCount,
      uncommitted: this.commits.uncommitted,
      uncommittedBound: this.commits.pace.bound,
      circuit: { isOpen: this.state.circuit.isOpen, trips: this.state.circuit.trips },
      ...figuresOf(this.contexts),
      ...(heldBack === undefined ? {} : { heldBack }),
      ...this.undelivered,
    };
  }
}

function asFault(cause: unknown): Fault {
  if (cause instanceof Fault) return cause;
  return new Fault("STORE_UNAVAILABLE", "unknown", String(cause), { cause });
}
