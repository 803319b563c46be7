/**
 * All shards of a node: follows the placement table, group by group, with five kinds
 * of children, and passes on what edges send for sessions.
 *
 *   <g>         ShardGroup   while the group is this node's and its store is free
 *   intake-<g>  PushIntake   what comes for the group, held while it does not serve
 *   in-<g>      MoveIn       while the group comes here
 *   out-<g>     MoveOut      while it leaves
 *   lanes-<g>   LaneGroup    works on the lanes' part for the group, while it serves
 *
 * Every change starts `reconcile`, which takes the next step that is possible and
 * goes on when a child has ended.
 *
 * Invariants: a group runs only under the epochs that the table names for this node;
 * all children are of one incarnation of it, and gone before the next one is claimed.
 */
import { assert, ignoreUnknown } from "../src/base/assert.js";
import type {
  EdgeGone,
  LoadReported,
  MoveDone,
  PlacementChanged,
  ShardsReleased,
  ToSession,
} from "../src/protocol/messages.js";
import { type Shard, shardOfKey, shardsOfGroup } from "../src/protocol/shards.js";
import { Actor } from "../src/runtime/actor.js";
import { type ActorKey, type Address, addressOn } from "../src/runtime/address.js";
import type { Asker } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { Admission, admissionTickMs } from "./admission.js";
import type { ViewUsage } from "./app-usage.js";
import { answerWith } from "./forwarded-ask.js";
import type { Freeze, GroupDrained } from "./freeze.js";
import { DutyReader, type Epochs, type GroupDuty, isSameEpochs } from "./group-duty.js";
import { KnownEdges } from "./known-edges.js";
import { LaneGroup } from "./lane-group.js";
import { LoadMeter } from "./load-meter.js";
import { mayServe } from "./may-serve.js";
import { type GroupMayStart, MoveIn, type OldOwnerGone } from "./move-in.js";
import { type GroupStopped, MoveOut } from "./move-out.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";
import { type Arrive, type Hold, type Open, PushIntake, type Retire } from "./push-intake.js";
import type { ViewSession } from "./session.js";
import type { DirectSession } from "./session-directives.js";
import type { ForSession } from "./shard.js";
import { type EdgeAppeared, type ForShard, type GroupServing, ShardGroup } from "./shard-group.js";

interface FreezeDeadline {
  readonly kind: "FreezeDeadline";
  readonly group: number;
  readonly epochs: Epochs;
}

/** Nothing is on its way any more for a subscription that a move out has ended. */
interface RestEnded {
  readonly kind: "RestEnded";
  readonly group: number;
}

/** Requests that are overdue are answered, and what is measured is sampled. */
interface AdmissionTick {
  readonly kind: "AdmissionTick";
}

/** What was lost on the way is said again. */
interface RepeatTick {
  readonly kind: "RepeatTick";
}

export type HostMessage =
  | ToSession
  | PlacementChanged
  | ViewSession
  | DirectSession
  | GroupServing
  | GroupMayStart
  | GroupDrained
  | FreezeDeadline
  | RestEnded
  | AdmissionTick
  | ViewUsage
  | RepeatTick;

const hostKind: ActorKind = {
  name: "shard-host",
  mailbox: { max: 65_536, onFull: "reject" },
  restart: "permanent",
  stopDeadlineMs: 15_000,
  // A store that fails takes all groups with it, again and again until it is back: the
  // backoff paces them, and the node lives on for its sockets.
  intensity: { restarts: 10_000, withinMs: 10_000 },
  backoff: { baseMs: 100, capMs: 5_000 },
};

const repeatEveryMs = 1_000;

interface RunningGroup {
  readonly epochs: Epochs;
  phase: "opening" | "serving" | "freezing" | "stopping";
}

const noDuties: ReadonlyMap<number, GroupDuty> = new Map();

type GiveDuty = Extract<GroupDuty, { kind: "give" }>;
type TakeDuty = Extract<GroupDuty, { kind: "take" }>;

export class ShardHost extends Actor<HostMessage> {
  private readonly running = new Map<number, RunningGroup>();
  /** Whom each `out-<g>` gives to; stays when it has ended. */
  private readonly given = new Map<number, GiveDuty>();
  /** The epoch of each `in-<g>`. */
  private readonly taking = new Map<number, number>();
  /**
   * Just left. Servers that do not know so yet still send pushes here, which the new owner
   * serves: who came back at once would take them for its own.
   */
  private readonly resting = new Map<number, RestEnded>();
  /** Moves that have ended for the group to start, by the epoch. */
  private readonly mayStart = new Map<number, number>();
  private readonly duties: DutyReader;
  private readonly edges = new KnownEdges();
  /** The incarnation of this node whose shards these are. */
  private servesAs = "";
  private misdirected = 0;
  private readonly loadMeter = new LoadMeter();
  private readonly admission: Admission;

  constructor(private readonly node: NodeContext) {
    super();
    this.admission = new Admission(node);
    this.duties = new DutyReader((shard) => node.store.groupOf(shard));
  }

  get kind(): ActorKind {
    return hostKind;
  }

  protected override started(): void {
    this.reconcile();
    this.timer(repeatEveryMs, { kind: "RepeatTick" });
    this.timer(admissionTickMs, { kind: "AdmissionTick" });
  }

  protected override createChild(key: ActorKey): Actor {
    const { node, servesAs } = this;
    if (typeof key === "number") {
      const epochs = this.running.get(key)?.epochs ?? new Map();
      return new ShardGroup(node, servesAs, key, epochs, this.admission);
    }
    const [role, number] = key.split("-");
    const group = Number(number);
    if (role === "lanes") return this.createLaneGroup(group);
    if (role === "intake") {
      return new PushIntake(node, servesAs, this.shardsOf(group), this.admission, group);
    }
    if (role === "in") return new MoveIn(node, servesAs, group, this.taking.get(group) ?? 0);
    const give = this.given.get(group);
    assert(role === "out" && give !== undefined, `the host makes no child ${key}`);
    const isStoreClosed = !this.running.has(group);
    return new MoveOut(node, servesAs, { group, epoch: give.epoch, to: give.to, isStoreClosed });
  }

  private createLaneGroup(group: number): Actor {
    const { node, servesAs } = this;
    const { lanes } = node;
    assert(lanes !== undefined, "only a node that has lanes works on them");
    const epoch = this.running.get(group)?.epochs.get(group as Shard) ?? 0;
    return new LaneGroup({ node, lanes, incarnation: servesAs, group, epoch });
  }

  protected override onChildStopped(key: ActorKey): void {
    if (typeof key === "number") {
      this.running.delete(key);
      this.tellChild(`out-${key}`, { kind: "GroupStopped" } satisfies GroupStopped);
    } else if (key.startsWith("out-")) {
      this.rest(Number(key.slice("out-".length)));
    } else if (key.startsWith("lanes-")) {
      this.workLanes(Number(key.slice("lanes-".length)));
    }
    this.reconcile();
  }

  receive(message: HostMessage, from: Asker | undefined): void {
    switch (message.kind) {
      case "ToSession":
        this.onToSession(message);
        return;
      case "PlacementChanged":
        this.announceEdges();
        this.reconcile();
        return;
      case "ViewSession":
      case "DirectSession":
        this.askSession(message, from);
        return;
      case "GroupServing":
        this.onGroupServing(message);
        return;
      case "GroupMayStart":
        this.mayStart.set(message.group, message.epoch);
        this.reconcile();
        return;
      case "GroupDrained":
        this.stopGroup(message.group);
        return;
      case "FreezeDeadline":
        if (this.running.get(message.group)?.epochs === message.epochs) {
          this.stopGroup(message.group);
        }
        return;
      case "RestEnded":
        // An earlier rest ends, not this one.
        if (this.resting.get(message.group) === message) this.resting.delete(message.group);
        this.reconcile();
        return;
      case "AdmissionTick":
        this.timer(this.admission.tick(), message);
        return;
      case "ViewUsage":
        from?.answer(this.admission.usageOf(message.appToken));
        return;
      case "RepeatTick":
        this.timer(repeatEveryMs, message);
        this.reconcile();
        this.reportLoad();
        return;
      default:
        ignoreUnknown(message);
    }
  }

  private onToSession({ shard, epoch, key, message }: ToSession): void {
    if (!mayServe(this.node, this.servesAs)) return;
    // Told after its edge had gone: nobody would end it again, and the edge is no more.
    if (message.kind === "Attach" && this.edges.isGone(message.edge)) return;
    const group = this.node.store.groupOf(shard);
    const running = this.running.get(group);
    const isHere = running?.phase === "opening" || running?.phase === "serving";
    const ownEpoch = isHere ? running.epochs.get(shard) : undefined;
    if (ownEpoch !== epoch) {
      this.misdirected++;
      const { edge, connection } = message;
      const known = ownEpoch ?? this.node.view.table.epochOf(shard);
      this.tell(edge as Address, { kind: "WrongOwner", connection, shard, epoch: known });
      return;
    }
    const forSession: ForSession = { kind: "ForSession", key, message };
    this.tellChild(group, { kind: "ForShard", shard, message: forSession } satisfies ForShard);
  }

  // ---- following the table ----

  private reconcile(): void {
    const { view, clock, store, incarnation } = this.node;
    const isServing = view.isLeaseHeld(clock.monotonicMs());
    if (isServing) this.servesAs = incarnation;
    const duties = isServing ? this.duties.read(view.table, this.node) : noDuties;
    for (let group = 0; group < store.groupCount; group++) {
      this.endStaleWorkers(group, isServing);
      const duty = duties.get(group);
      if (duty === undefined) this.leave(group);
      else if (duty.kind === "serve") this.serve(group, duty.epochs);
      else if (duty.kind === "take") this.take(group, duty);
      else this.give(group, duty);
    }
    if (!isServing && this.childCount === 0) this.reportReleased();
  }

  private reportReleased(): void {
    const { incarnation } = this.node;
    const released: ShardsReleased = { kind: "ShardsReleased", incarnation };
    this.tell(addressOn(nodeNameOf(this.node), "membership"), released);
  }

  /** A worker outlives the table's word that its move is done, but no later epoch. */
  private endStaleWorkers(group: number, isServing: boolean): void {
    const epoch = isServing ? this.epochOf(group) : Number.NaN;
    if (this.taking.get(group) !== epoch) this.stopChild(`in-${group}`);
    if (this.given.get(group)?.epoch === epoch) return;
    this.stopChild(`out-${group}`);
    this.given.delete(group);
  }

  /**
   * Subscribed before the group is open: what comes until then is held, not lost. But while
   * it rests there comes also what the lost taker may have served.
   */
  private serve(group: number, epochs: Epochs): void {
    this.ensureIntake(group);
    // A move out that was called off gives back what it had taken.
    if (this.hasChild(`out-${group}`)) return;
    if (!this.resting.has(group)) {
      this.tellChild(`intake-${group}`, { kind: "Arrive" } satisfies Arrive);
    }
    this.run(group, epochs);
  }

  private take(group: number, { epochs, epoch, from }: TakeDuty): void {
    this.ensureIntake(group);
    if (this.hasChild(`out-${group}`)) return;
    const running = this.running.get(group);
    if (this.mayStart.get(group) === epoch) {
      this.run(group, epochs);
      if (running?.phase === "serving") this.reportMoveDone(group, epoch);
      return;
    }
    if (running !== undefined) this.freezeGroup(group, running);
    if (!this.hasChild(`in-${group}`)) {
      if (this.resting.has(group)) return;
      this.taking.set(group, epoch);
      this.spawn(`in-${group}`);
    }
    if (from !== undefined && this.isGone(from)) {
      this.tellChild(`in-${group}`, { kind: "OldOwnerGone" } satisfies OldOwnerGone);
    }
  }

  private give(group: number, duty: GiveDuty): void {
    const running = this.running.get(group);
    if (running !== undefined) this.freezeGroup(group, running);
    if (this.hasChild(`out-${group}`)) return;
    if (this.given.get(group)?.epoch === duty.epoch) {
      this.retireIntake(group);
      return;
    }
    this.given.set(group, duty);
    this.spawn(`out-${group}`);
  }

  private leave(group: number): void {
    this.stopGroup(group);
    if (!this.running.has(group)) this.admission.forgetGroup(group);
    // It still hands over what it holds, or gives it back first.
    if (!this.hasChild(`out-${group}`)) this.retireIntake(group);
  }

  /** Interest ends everywhere within one overlap, what was sent before arrives within another. */
  private rest(group: number): void {
    const ended: RestEnded = { kind: "RestEnded", group };
    this.resting.set(group, ended);
    this.timer(2 * this.node.limits.moveOverlapMs, ended);
  }

  private ensureIntake(group: number): void {
    if (this.hasChild(`intake-${group}`)) return;
    this.spawn(`intake-${group}`);
    if (this.running.get(group)?.phase === "serving") this.openIntake(group);
  }

  private retireIntake(group: number): void {
    this.tellChild(`intake-${group}`, { kind: "Retire" } satisfies Retire);
  }

  private run(group: number, epochs: Epochs): void {
    const running = this.running.get(group);
    if (running === undefined) {
      this.running.set(group, { epochs, phase: "opening" });
      this.spawn(group);
    } else if (!isSameEpochs(running.epochs, epochs)) {
      this.freezeGroup(group, running);
    }
  }

  /** Lets it end what it was given, then stops it. */
  private freezeGroup(group: number, running: RunningGroup): void {
    if (running.phase === "opening") this.stopGroup(group);
    if (running.phase !== "serving") return;
    // Refused by a full mailbox: the tick comes again.
    if (!this.tellChild(`intake-${group}`, { kind: "Hold" } satisfies Hold)) return;
    running.phase = "freezing";
    this.stopChild(`lanes-${group}`);
    const { epochs } = running;
    this.timer(this.node.limits.freezeMaxMs, { kind: "FreezeDeadline", group, epochs });
  }

  private stopGroup(group: number): void {
    const running = this.running.get(group);
    if (running === undefined) return;
    running.phase = "stopping";
    this.stopChild(`lanes-${group}`);
    this.stopChild(group);
  }

  private onGroupServing({ group, epochs }: GroupServing): void {
    const running = this.running.get(group);
    if (running === undefined || running.epochs !== epochs) return;
    if (running.phase === "freezing") {
      // It crashed on the way out, and has forgotten that it is.
      this.tellChild(group, { kind: "Freeze" } satisfies Freeze);
    } else if (running.phase !== "stopping") {
      running.phase = "serving";
      this.openIntake(group);
      this.workLanes(group);
      this.reconcile();
    }
  }

  /** A former one may still be about to stop: its end comes back to this. */
  private workLanes(group: number): void {
    if (this.node.lanes === undefined || this.hasChild(`lanes-${group}`)) return;
    if (this.running.get(group)?.phase === "serving") this.spawn(`lanes-${group}`);
  }

  private openIntake(group: number): void {
    const ref = this.child(group)?.ref;
    if (ref === undefined) return;
    this.tellChild(`intake-${group}`, { kind: "Open", group: ref } satisfies Open);
  }

  private reportMoveDone(group: number, epoch: number): void {
    const { leader } = this.node.view;
    if (leader === undefined) return;
    const done: MoveDone = { kind: "MoveDone", group, epoch };
    this.tell(addressOn(nodeNameOf(leader), "placement"), done);
  }

  private reportLoad(): void {
    const { view, clock, nodeId, incarnation } = this.node;
    const serving = [...this.running].flatMap(([group, { phase }]) => {
      const actor = phase === "serving" ? this.child<ShardGroup>(group) : undefined;
      return actor === undefined ? [] : [[group, actor.figures()] as const];
    });
    const groups = this.loadMeter.sample(new Map(serving), clock.monotonicMs());
    if (view.leader === undefined || groups.length === 0) return;
    const report: LoadReported = { kind: "LoadReported", nodeId, incarnation, groups };
    this.tell(addressOn(nodeNameOf(view.leader), "placement"), report);
  }

  private isGone(member: { nodeId: string; incarnation: string }): boolean {
    const { nodes, isLoaded } = this.node.view;
    return isLoaded && nodes.get(member.nodeId)?.incarnation !== member.incarnation;
  }

  private shardsOf(group: number): Shard[] {
    return shardsOfGroup(group, this.node.store.groupCount);
  }

  private epochOf(group: number): number {
    return this.node.view.table.epochOf(group as Shard);
  }

  // ---- edges and operators ----

  private announceEdges(): void {
    const nodes = [...this.node.view.nodes.values()];
    const edges = new Set(nodes.map((node) => addressOn(nodeNameOf(node), "edge")));
    const { gone, appeared } = this.edges.follow(edges);
    for (const edge of gone) this.tellGroups({ kind: "EdgeGone", edge });
    for (const edge of appeared) this.tellGroups({ kind: "EdgeAppeared", edge });
  }

  private tellGroups(message: EdgeGone | EdgeAppeared): void {
    for (const group of this.running.keys()) this.tellChild(group, message);
  }

  private askSession(message: ViewSession | DirectSession, from: Asker | undefined): void {
    if (from === undefined) return;
    const shard = shardOfKey(message.key);
    const group = this.node.store.groupOf(shard);
    const address = addressOn(nodeNameOf(this.node), `shards/${group}/${shard}`);
    void answerWith(from, this.ask(address, message, this.node.limits.requestDeadlineMs));
  }

  override inspect(): Record<string, unknown> {
    const { misdirected, admission } = this;
    return { groups: [...this.running.keys()], misdirected, admission: admission.inspect() };
  }
}
