/**
 * Several nodes' shards on one bus, one store and virtual time, a table that the test
 * writes, and publishers that know nothing of all that.
 */
import { defaultLimits, type Limits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { PlacementView } from "../../actors/placement-view.js";
import { ShardHost } from "../../actors/shard-host.js";
import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { MemoryEvents } from "../../src/drivers/memory-events.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { InboxStore } from "../../src/ports/inbox-store.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { unpackRecord } from "../../src/protocol/message-record.js";
import type { ToPlacement } from "../../src/protocol/messages.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { type Shard, sessionKey, shardCount, shardOfKey } from "../../src/protocol/shards.js";
import { shardPushSubject } from "../../src/protocol/subjects.js";
import { Actor } from "../../src/runtime/actor.js";
import { addressOn } from "../../src/runtime/address.js";
import { ActorSystem } from "../../src/runtime/system.js";
import type { LeaderRecord } from "../../topology/election.js";
import { type NodeRecord, nodeRecordVersion } from "../../topology/node-record.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { unitShards } from "../../topology/units.js";
import { LinkedBus } from "./linked-bus.js";
import { VirtualClock } from "./virtual-clock.js";

const unitSize = 64;
const leader = { nodeId: "dc1-l", incarnation: "i" };

const leaderKind = {
  name: "placement",
  mailbox: { max: 1_000, onFull: "reject" },
  restart: "permanent",
} as const;

/** Does what the placement actor does with a `MoveDone`. */
class Leader extends Actor<ToPlacement> {
  constructor(private readonly onDone: (group: number, epoch: number) => void) {
    super();
  }
  get kind() {
    return leaderKind;
  }
  receive(message: ToPlacement): void {
    if (message.kind === "MoveDone") this.onDone(message.group, message.epoch);
  }
}

export interface BenchNode {
  readonly nodeId: string;
  readonly incarnation: string;
  readonly bus: LinkedBus;
  readonly view: PlacementView;
  readonly system: ActorSystem;
  /** How late it hears of a new table. */
  readonly watchDelayMs: number;
}

export interface Sent {
  readonly publisher: number;
  readonly uid: string;
  readonly n: number;
  readonly isRequest: boolean;
  readonly answers: PushAnswer[];
  readonly sentMs: number;
  answeredMs: number;
}

export class MoveBench {
  readonly clock = new VirtualClock();
  readonly server = new MemoryBus(this.clock);
  readonly store = new MemoryInbox(64);
  readonly crashes: string[] = [];
  /** Asked when a node is added. */
  storeFor: (nodeId: string) => InboxStore = () => this.store;
  readonly sent: Sent[] = [];
  readonly nodes = new Map<string, BenchNode>();
  private readonly publishers = new Map<number, LinkedBus>();
  private table = PlacementTable.empty();
  private readonly limits: Limits;

  constructor(limits: Partial<Limits> = {}) {
    this.limits = { ...defaultLimits, ...limits };
    const bus = new LinkedBus(this.server, this.clock, 1);
    const system = this.makeSystem(leader, bus);
    system.spawnRoot("placement", () => new Leader((group, epoch) => this.onDone(group, epoch)));
  }

  /** `routeMs`: between its server and that of the publishers. */
  addNode(name: string, delayMs: number, watchDelayMs: number, routeMs = 0): BenchNode {
    const member = { nodeId: `dc1-${name}`, incarnation: "i" };
    const bus = new LinkedBus(this.server, this.clock, delayMs, routeMs);
    const view = new PlacementView();
    view.leaseDeadlineMs = Number.POSITIVE_INFINITY;
    view.isLoaded = true;
    view.leader = { v: 1, epoch: 1, leaseMs: 3_000, ...leader } as LeaderRecord;
    const system = this.makeSystem(member, bus);
    const node = { ...member, bus, view, system, watchDelayMs };
    this.nodes.set(member.nodeId, node);
    for (const other of this.nodes.values()) {
      other.view.nodes.set(member.nodeId, recordOf(node));
      view.nodes.set(other.nodeId, recordOf(other));
    }
    system.spawnRoot("shards", () => new ShardHost(this.contextOf(node)));
    return node;
  }

  private makeSystem(member: { nodeId: string; incarnation: string }, bus: LinkedBus) {
    return new ActorSystem({
      ...member,
      clock: this.clock,
      random: { next: () => 0.5 },
      bus,
      onCrash: (report) => void this.crashes.push(`${report.kind}: ${report.error}`),
    });
  }

  private contextOf({ nodeId, incarnation, bus, view }: BenchNode): NodeContext {
    const never = undefined as never;
    return {
      nodeId,
      incarnation,
      idc: "dc1",
      idcNumber: 1,
      version: "test",
      processes: { own: { pid: 1, processStart: "" }, isGone: async () => false },
      edgeUrl: "",
      clock: this.clock,
      random: { next: () => 0.5 },
      bus,
      store: this.storeFor(nodeId),
      placement: never,
      events: new MemoryEvents(this.clock),
      apps: {
        find: (app) => ({ v: 1, app, secrets: [], delivery: "each-device", createdAtMs: 0 }),
      },
      tokens: never,
      transport: never,
      limits: this.limits,
      log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
      view,
      giveUp: (reason) => void this.crashes.push(reason),
    };
  }

  // ---- the table ----

  give(unit: number, node: BenchNode): void {
    this.write(this.table.withOwner(unitShards(unit, unitSize), node));
  }

  move(unit: number, to: BenchNode): void {
    this.write(this.table.withMove(unitShards(unit, unitSize), to));
  }

  /** All nodes hear of it at this very instant. */
  moveAtOnce(unit: number, to: BenchNode): void {
    this.table = this.table.withMove(unitShards(unit, unitSize), to);
    for (const node of this.nodes.values()) {
      node.view.table = this.table;
      this.announce(node);
    }
  }

  isMoving(unit: number): boolean {
    return this.table.stateOf(unit as Shard) === "moving";
  }

  /** It is given up: no node lists it any more. */
  kill(node: BenchNode): void {
    node.bus.cut();
    this.nodes.delete(node.nodeId);
    for (const other of this.nodes.values()) {
      other.view.nodes.delete(node.nodeId);
      this.announce(other);
    }
  }

  private onDone(unit: number, epoch: number): void {
    if (!this.isMoving(unit) || this.table.epochOf(unit as Shard) !== epoch) return;
    this.write(this.table.withState(unitShards(unit, unitSize), "serving"));
  }

  private write(table: PlacementTable): void {
    this.table = table;
    for (const node of this.nodes.values()) {
      this.clock.after(node.watchDelayMs, () => {
        node.view.table = table;
        this.announce(node);
      });
    }
  }

  private announce(node: BenchNode): void {
    const host = addressOn(`${node.nodeId}.${node.incarnation}`, "shards");
    node.system.tell(host, { kind: "PlacementChanged" });
  }

  // ---- publishers ----

  addPublisher(publisher: number, delayMs: number): void {
    this.publishers.set(publisher, new LinkedBus(this.server, this.clock, delayMs));
  }

  /** `body`, where given, in place of one that tells the pushes apart. */
  publish(publisher: number, uid: string, isRequest: boolean, body?: unknown): Sent {
    const bus = this.publishers.get(publisher) as LinkedBus;
    const n = this.sent.length;
    const sentMs = this.clock.monotonicMs();
    const sent: Sent = { publisher, uid, n, isRequest, answers: [], sentMs, answeredMs: 0 };
    this.sent.push(sent);
    const key = sessionKey("demo", uid);
    const subject = shardPushSubject(shardOfKey(key), key);
    const payload = packValue({ body: body ?? { publisher, n } });
    if (!isRequest) {
      bus.publish(subject, payload);
      return sent;
    }
    const reply = `_INBOX.p${publisher}.${n}`;
    bus.subscribe(reply, (answer) => {
      sent.answers.push(unpackValue(answer.payload) as PushAnswer);
      sent.answeredMs = this.clock.monotonicMs();
    });
    bus.publish(subject, payload, { reply });
    return sent;
  }

  /** The bodies of a user's stored messages, in the order of their seqs. */
  async stored(uid: string): Promise<unknown[]> {
    const key = sessionKey("demo", uid);
    const shard = shardOfKey(key);
    const group = await this.store.openGroup(this.store.groupOf(shard));
    const entries = await group.readEntries(shard, key, 0, 1_000_000, Number.MAX_SAFE_INTEGER);
    return entries.map((entry) => unpackRecord(entry.record).body);
  }
}

export function unitOf(uid: string): number {
  return shardOfKey(sessionKey("demo", uid)) % (shardCount / unitSize);
}

function recordOf({ nodeId, incarnation }: BenchNode): NodeRecord {
  return {
    v: nodeRecordVersion,
    nodeId,
    incarnation,
    idc: "dc1",
    pid: 1,
    processStart: "",
    version: "test",
    leaseMs: 3_000,
    startedAtMs: 0,
    edgeUrl: "",
  };
}
