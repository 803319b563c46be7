/**
 * The shards of one node that commit together: a volume of the embedded store. Its parts
 * have a file each: the store and its fences (group-store), the commits of its sessions
 * (group-commits), its end (group-freeze), a fence above it (fence-report).
 *
 *   opening ──(open, raise)──▶ serving ──(commit failed, unknown fate)──▶ crash, open again
 *
 * Invariant: a shard actor exists only under an epoch that its fence was raised to.
 */
import { unreachable } from "../src/base/assert.js";
import { Fault } from "../src/base/result.js";
import type { InboxGroup } from "../src/ports/inbox-store.js";
import type { EdgeGone, ProbeGroup } from "../src/protocol/messages.js";
import type { Shard as ShardNumber } from "../src/protocol/shards.js";
import { Actor, cellOf } from "../src/runtime/actor.js";
import { type ActorKey, type Address, addressOn } from "../src/runtime/address.js";
import { isAlive } from "../src/runtime/cell.js";
import type { Asker, StopReason } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { Admission, GroupState } from "./admission.js";
import { AttachCalls } from "./attach-calls.js";
import { ChangePublisher, type ChangesWaiting, figuresOf } from "./change-publisher.js";
import { CommitPace } from "./commit-pace.js";
import { CommitQueue } from "./commit-queue.js";
import { DueSweep } from "./due-sweep.js";
import { FenceReport } from "./fence-report.js";
import type { Freeze, GroupDrained, ShardFrozen } from "./freeze.js";
import { type BackUpGroup, GroupBackup } from "./group-backup.js";
import {
  type CommitEnded,
  type CommitTick,
  type CommittingGroup,
  GroupCommits,
} from "./group-commits.js";
import { type FreezingGroup, GroupFreeze } from "./group-freeze.js";
import { GroupGate } from "./group-gate.js";
import { type FencedShard, GroupStore } from "./group-store.js";
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

interface SweepTick {
  readonly kind: "SweepTick";
}

/** The store has told what is due. */
interface SweepEnded {
  readonly kind: "SweepEnded";
  readonly fault?: Fault;
}

/** From the publisher: its positions are fenced. */
interface PositionsFenced {
  readonly kind: "PositionsFenced";
  readonly fenced: ReadonlyMap<ShardNumber, number>;
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
  | PositionsFenced
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

const sweepEveryMs = 1_000;
const freezeAgainMs = 50;
/** The child that is no shard. */
const publisherKey = "changes";

export class ShardGroup extends Actor<GroupMessage> implements CommittingGroup, FreezingGroup {
  private readonly contexts = new Map<ShardNumber, ShardContext>();
  private readonly state: GroupState;
  private readonly store: GroupStore;
  /** While it is open, and the group does not stop. */
  private inbox: InboxGroup | undefined = undefined;
  private readonly queue: CommitQueue;
  private readonly commits: GroupCommits;
  private readonly gate: GroupGate;
  private readonly attachCalls: AttachCalls;
  private readonly fenceReport: FenceReport;
  private readonly freeze = new GroupFreeze(this);
  private readonly backup = new GroupBackup();
  private dueSweep: DueSweep | undefined = undefined;
  private probe: StoreProbe | undefined = undefined;
  private readonly undelivered: DeliveryFigures = { setAside: 0, bound: 0 };
  private handled = 0;

  /** `epochs`: what placement gave this node, by shard. */
  constructor(
    private readonly node: NodeContext,
    private readonly incarnation: string,
    private readonly group: number,
    private readonly epochs: ReadonlyMap<ShardNumber, number>,
    private readonly admission: Admission,
  ) {
    super();
    this.state = admission.groupState(group);
    this.store = new GroupStore(node, incarnation, group, this.state, () => this.isOver);
    const { circuit } = this.state;
    this.queue = new CommitQueue(
      () => void this.tellSelf({ kind: "CommitTick" }),
      node.limits,
      new CommitPace(node.clock, node.limits),
    );
    this.commits = new GroupCommits(this, this.queue, this.contexts, circuit, node);
    this.gate = new GroupGate(admission, this.state, this.queue, node);
    this.fenceReport = new FenceReport(node, incarnation, group, (leader, report) =>
      this.tell(leader, report),
    );
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

  // ---- opening and closing ----

  protected override async started(): Promise<void> {
    // Whoever has the store by now would be killed for it; the host ends this actor.
    if (!this.mayServe) return;
    const { store } = this;
    const inbox = await store.open();
    // It took so long that somebody else is to have it, or that nobody waits for it here.
    if (!this.mayServe || this.isOver) return store.close(inbox);
    this.inbox = inbox;
    const { shards, highestFence } = await store.raise(inbox, this.epochs);
    if (this.isOver) return;
    this.serve(inbox, shards);
    // Fenced out of some, it is given all anew: until then what comes is held.
    if (highestFence > 0) this.fenceReport.note(highestFence);
    else this.tellHost({ kind: "GroupServing", group: this.group, epochs: this.epochs });
    this.timer(sweepEveryMs, { kind: "SweepTick" });
    this.callEdges();
    this.node.log.info("group opened", { group: this.group, shards: this.contexts.size });
  }

  private serve(inbox: InboxGroup, shards: readonly FencedShard[]): void {
    const { clock } = this.node;
    const { circuit } = this.state;
    this.probe = new StoreProbe(clock, inbox, this.contexts, (ms) => circuit.noteSuccess(ms));
    circuit.noteSuccess(clock.monotonicMs());
    for (const shard of shards) this.startShard(inbox, shard);
    this.spawn(publisherKey);
    this.admission.inboxes.opened(this.group, inbox, [...this.contexts.keys()]);
    this.state.isServing = true;
  }

  private startShard(inbox: InboxGroup, { shard, epoch, ids, fence }: FencedShard): void {
    const { node, incarnation, queue: commits, gate } = this;
    const { attachCalls: presence, undelivered: figures } = this;
    const changes = new ShardChanges(fence, node.apps);
    const shared = { node, incarnation, inbox, commits, gate, presence, figures };
    this.contexts.set(shard, { ...shared, shard, epoch, ids, changes });
    this.spawn(shard);
  }

  /** The sessions are gone; what they submitted is written and answered before the group closes. */
  protected override async stopping(reason: StopReason): Promise<void> {
    const { inbox } = this;
    if (inbox === undefined) return;
    this.inbox = undefined;
    this.backup.leave();
    this.state.isServing = false;
    this.admission.inboxes.closed(this.group);
    await this.commits.end(inbox, reason !== "normal");
    await this.store.close(inbox);
  }

  /** Abandoned at its stop deadline while it started: `stopping` does not come for it. */
  private get isOver(): boolean {
    return !isAlive(cellOf(this));
  }

  protected override createChild(key: ActorKey): Actor {
    if (key === publisherKey) {
      return new ChangePublisher(
        this.node,
        this.incarnation,
        this.inbox as InboxGroup,
        this.contexts,
        this.admission.changeReads,
        (fenced) => void this.tellSelf({ kind: "PositionsFenced", fenced }),
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
        this.freeze.tellShards();
        this.timer(freezeAgainMs, message);
        return;
      case "ShardFrozen":
        this.freeze.onShardFrozen(message.shard);
        return;
      case "CommitTick":
        if (this.inbox !== undefined) this.commits.begin(this.inbox);
        return;
      case "CommitEnded":
        this.commits.onEnded(message, this.inbox);
        return;
      case "SweepTick":
        this.onSweepTick();
        return;
      case "SweepEnded":
        if (message.fault !== undefined) this.dueSweep?.noteFailed();
        this.timer(sweepEveryMs, { kind: "SweepTick" });
        return;
      case "ProbeGroup":
        this.probe?.start();
        from?.answer(this.probe?.proof);
        return;
      case "BackUpGroup":
        this.onBackUp(message, from);
        return;
      case "PositionsFenced":
        this.loseShards(message.fenced);
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

  // ---- freezing ----

  private onFreeze(): void {
    if (this.freeze.hasBegun) return;
    this.backup.leave();
    this.freeze.begin(this.contexts.keys());
    this.timer(freezeAgainMs, { kind: "FreezeTick" });
  }

  hasShard(shard: ShardNumber): boolean {
    return this.hasChild(shard);
  }

  freezeShard(shard: ShardNumber): void {
    this.tellChild(shard, { kind: "Freeze" } satisfies Freeze);
  }

  drained(): void {
    this.tellHost({ kind: "GroupDrained", group: this.group });
  }

  // ---- committing ----

  commitEnded(ended: CommitEnded): boolean {
    return this.tellSelf(ended);
  }

  commitIn(delayMs: number): void {
    this.timer(delayMs, { kind: "CommitTick" });
  }

  noteDurable({ shard, key, bytesAdded, messagesAdded }: PendingWrite): void {
    this.admission.inboxes.noteCommitted(this.group, shard, key, bytesAdded, messagesAdded);
  }

  changesWait(shard: ShardNumber): void {
    this.tellChild(publisherKey, { kind: "ChangesWaiting", shard } satisfies ChangesWaiting);
  }

  /** A node whose write is fenced answers nothing: the shard has another owner. */
  loseShards(fenced: ReadonlyMap<ShardNumber, number>): void {
    this.admission.requests.closeShards(fenced);
    for (const [shard, epoch] of fenced) {
      this.node.log.warn("shard fenced", { shard, epoch });
      this.stopChild(shard);
      const context = this.contexts.get(shard);
      if (context !== undefined) context.changes.isOver = true;
    }
    this.fenceReport.note(Math.max(...fenced.values()));
  }

  // ---- edges, and what is due ----

  private callEdges(): void {
    for (const member of this.node.view.nodes.values()) {
      this.attachCalls.add(addressOn(nodeNameOf(member), "edge"));
    }
    this.askEdges();
  }

  private askEdges(): void {
    if (!this.mayServe) return;
    this.attachCalls.send([...this.contexts.keys()]);
  }

  /** It does not wait for the store: every push of the group passes through its mailbox. */
  private onSweepTick(): void {
    const { inbox } = this;
    if (inbox === undefined || this.freeze.hasBegun) return;
    const { clock, random } = this.node;
    this.fenceReport.repeat();
    this.askEdges();
    if (this.state.circuit.isOpen) this.probe?.start();
    this.dueSweep ??= new DueSweep(inbox, [...this.contexts.keys()], random.next());
    const looking = this.dueSweep.look(clock.wallMs(), (shard, key, atMs) => {
      if (this.inbox !== inbox) return;
      const message = { kind: "DueTick", atMs } as const;
      this.tellChild(shard, { kind: "ForSession", key, message } satisfies ForSession);
    });
    this.pipe(
      looking,
      () => ({ kind: "SweepEnded" }) satisfies SweepEnded,
      (cause) => {
        // Closed under the look, it has nothing more to say.
        if (this.inbox !== inbox) return { kind: "SweepEnded" } satisfies SweepEnded;
        if (!(cause instanceof Fault)) throw cause;
        const { group } = this;
        this.node.log.warn("what is due cannot be read now", { group, error: cause.message });
        return { kind: "SweepEnded", fault: cause } satisfies SweepEnded;
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
      commits: this.commits.count,
      uncommitted: this.queue.uncommitted,
      uncommittedBound: this.queue.pace.bound,
      circuit: { isOpen: this.state.circuit.isOpen, trips: this.state.circuit.trips },
      ...figuresOf(this.contexts),
      ...(heldBack === undefined ? {} : { heldBack }),
      ...this.undelivered,
    };
  }
}
