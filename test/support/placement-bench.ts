/**
 * Several nodes' placement on one bus, one bucket and virtual time: the real membership,
 * placement and desk, and in the place of the shards what follows the table, or does not.
 */
import { defaultLimits, type Limits } from "../../actors/limits.js";
import { leaderKey, Membership, tableKey } from "../../actors/membership.js";
import type { NodeContext } from "../../actors/node-context.js";
import { OperatorDesk } from "../../actors/operator-desk.js";
import { Placement } from "../../actors/placement.js";
import { PlacementView } from "../../actors/placement-view.js";
import { Fault } from "../../src/base/result.js";
import { decodeDeskAnswer } from "../../src/cli/answer.js";
import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import { MemoryKeyValue } from "../../src/drivers/memory-key-value.js";
import type { KeyValue } from "../../src/ports/key-value.js";
import type { ErrorAnswer } from "../../src/protocol/errors.js";
import type { LoadReported, MoveDone } from "../../src/protocol/messages.js";
import { type DeskAnswer, type DeskRequest, encodeDesk } from "../../src/protocol/operator-desk.js";
import type { Shard } from "../../src/protocol/shards.js";
import { operatorSubject } from "../../src/protocol/subjects.js";
import { Actor } from "../../src/runtime/actor.js";
import { addressOn } from "../../src/runtime/address.js";
import { ActorSystem } from "../../src/runtime/system.js";
import { decodeLeader } from "../../topology/election.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { SeededRandom } from "../sim/seeded-random.js";
import { LinkedBus } from "./linked-bus.js";
import { VirtualClock } from "./virtual-clock.js";

export const unitCount = 8;

const followerKind = {
  name: "shards",
  mailbox: { max: 1_000, onFull: "reject" },
  restart: "permanent",
} as const;

interface FollowTick {
  readonly kind: "FollowTick";
}

/** Says that it serves what is moved to its node, and what load its units have. */
class Follower extends Actor<{ readonly kind: "PlacementChanged" } | FollowTick> {
  private ticks = 0;

  constructor(
    private readonly node: BenchPlacementNode,
    private readonly clock: VirtualClock,
    private readonly loads: ReadonlyMap<number, number>,
  ) {
    super();
  }

  get kind() {
    return followerKind;
  }

  protected override started(): void {
    this.timer(100, { kind: "FollowTick" });
  }

  receive(message: { readonly kind: "PlacementChanged" } | FollowTick): void {
    if (message.kind !== "FollowTick") return;
    this.timer(100, message);
    const { view, nodeId, incarnation } = this.node;
    if (view.leader === undefined) return;
    const leader = addressOn(`${view.leader.nodeId}.${view.leader.incarnation}`, "placement");
    const served: number[] = [];
    for (let unit = 0; unit < unitCount; unit++) {
      const owner = view.table.ownerOf(unit as Shard);
      if (owner?.nodeId !== nodeId || owner.incarnation !== incarnation) continue;
      const isMoving = owner.state === "moving";
      if (!isMoving) served.push(unit);
      else if (this.node.startsUnits) {
        this.tell(leader, { kind: "MoveDone", group: unit, epoch: owner.epoch } as MoveDone);
      }
    }
    // As often as the shard host does.
    if (this.ticks++ % 10 !== 0) return;
    const groups = served.map((group) => {
      const perSecond = this.loads.get(group) ?? 0;
      return { group, perSecond, sessions: group, ageMs: this.clock.monotonicMs() };
    });
    const report: LoadReported = { kind: "LoadReported", nodeId, incarnation, groups };
    this.tell(leader, report);
  }
}

export interface BenchPlacementNode {
  readonly nodeId: string;
  readonly incarnation: string;
  readonly view: PlacementView;
  readonly system: ActorSystem;
  readonly bus: LinkedBus;
  /** False: it keeps its lease, and its store will not open. */
  startsUnits: boolean;
  isDead: boolean;
}

export class PlacementBench {
  readonly clock = new VirtualClock();
  readonly server = new MemoryBus(this.clock);
  readonly bucket = new MemoryKeyValue(this.clock);
  readonly nodes = new Map<string, BenchPlacementNode>();
  readonly crashes: string[] = [];
  /** Messages a second of each unit, whoever serves it. */
  readonly loads = new Map<number, number>();
  private readonly limits: Limits;
  private started = 0;
  private readonly dead = new Set<number>();

  constructor(limits: Partial<Limits> = {}) {
    this.limits = { ...defaultLimits, ...limits };
  }

  /** A name that was there before starts again, under a new incarnation. */
  addNode(name: string): BenchPlacementNode {
    const pid = ++this.started;
    const member = { nodeId: `dc1-${name}`, incarnation: `i${pid}` };
    const bus = new LinkedBus(this.server, this.clock, 0);
    const view = new PlacementView();
    const { clock } = this;
    const system = new ActorSystem({
      ...member,
      clock,
      random: { next: () => 0.5 },
      bus,
      onCrash: (report) => void this.crashes.push(`${report.kind}: ${report.error}`),
    });
    const node = { ...member, view, system, bus, startsUnits: true, isDead: false };
    const context = this.contextOf(node, pid);
    this.nodes.set(node.nodeId, node);
    system.spawnRoot("membership", () => new Membership(context));
    system.spawnRoot("placement", () => new Placement(context));
    system.spawnRoot("shards", () => new Follower(node, clock, this.loads));
    system.spawnRoot("desk", () => new OperatorDesk(context, () => system));
    return node;
  }

  private contextOf(node: BenchPlacementNode, pid: number): NodeContext {
    const never = undefined as never;
    const { nodeId, incarnation, bus, view } = node;
    return {
      nodeId,
      incarnation,
      idc: "dc1",
      idcNumber: 1,
      version: "test",
      processes: {
        own: { pid, processStart: `${pid}` },
        isGone: async (other) => this.dead.has(other.pid),
      },
      edgeUrl: "",
      clock: this.clock,
      random: new SeededRandom(pid),
      bus,
      store: new MemoryInbox(unitCount),
      placement: onlyAlive(this.bucket, node),
      events: never,
      apps: { find: () => undefined },
      tokens: never,
      transport: never,
      limits: this.limits,
      log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
      view,
      giveUp: (reason) => void this.crashes.push(reason),
    };
  }

  kill(node: BenchPlacementNode): void {
    node.isDead = true;
    node.bus.cut();
    this.dead.add(Number(node.incarnation.slice(1)));
    if (this.nodes.get(node.nodeId) === node) this.nodes.delete(node.nodeId);
  }

  /** Until `probe` holds; throws after `boundMs` of virtual time. */
  async until(what: string, probe: () => boolean | Promise<boolean>, boundMs = 60_000) {
    for (let passedMs = 0; !(await probe()); passedMs += 100) {
      if (passedMs >= boundMs) throw new Error(`waited ${boundMs} ms in vain until ${what}`);
      await this.clock.advanceAndSettle(100);
    }
  }

  async table(): Promise<PlacementTable> {
    const entry = await this.bucket.get(tableKey);
    const table = entry === undefined ? undefined : PlacementTable.decode(entry.value);
    return table?.ok ? table.value : PlacementTable.empty();
  }

  /** Units that each node serves, by the table. */
  async served(): Promise<Record<string, number[]>> {
    const table = await this.table();
    const served: Record<string, number[]> = {};
    for (let unit = 0; unit < unitCount; unit++) {
      const owner = table.ownerOf(unit as Shard);
      if (owner?.state !== "serving") continue;
      served[owner.nodeId] = [...(served[owner.nodeId] ?? []), unit];
    }
    return served;
  }

  async epochOf(unit: number): Promise<number> {
    return (await this.table()).epochOf(unit as Shard);
  }

  /** The node that leads by the record, if it is alive. */
  async leader(): Promise<BenchPlacementNode | undefined> {
    const entry = await this.bucket.get(leaderKey);
    const record = entry === undefined ? undefined : decodeLeader(entry.value);
    const node = record?.ok ? this.nodes.get(record.value.nodeId) : undefined;
    return record?.ok && node?.incarnation === record.value.incarnation ? node : undefined;
  }

  /** Time stands but for what the answer takes; every order is one question at the leader's desk. */
  async operate(request: DeskRequest, to?: BenchPlacementNode): Promise<DeskAnswer | ErrorAnswer> {
    const node = to ?? (await this.leader());
    if (node === undefined) throw new Error("nobody leads");
    let answer: DeskAnswer | ErrorAnswer | undefined;
    const subject = operatorSubject(node.nodeId, node.incarnation);
    void this.server.request(subject, encodeDesk(request), 5_000).then((bytes) => {
      answer = decodeDeskAnswer(bytes);
    });
    await this.until("the desk has answered", () => answer !== undefined);
    return answer as DeskAnswer | ErrorAnswer;
  }
}

/** A process that was killed reaches the bucket no more. */
function onlyAlive(bucket: KeyValue, node: BenchPlacementNode): KeyValue {
  const guard = async <Value>(step: () => Promise<Value>): Promise<Value> => {
    if (node.isDead) throw new Fault("DISCONNECTED", "not-done", "killed");
    return step();
  };
  return {
    get: (key) => guard(() => bucket.get(key)),
    create: (key, value) => guard(() => bucket.create(key, value)),
    update: (key, value, revision) => guard(() => bucket.update(key, value, revision)),
    delete: (key, revision) => guard(() => bucket.delete(key, revision)),
    list: (prefix) => guard(() => bucket.list(prefix)),
    watch: (prefix, onChange) =>
      guard(() =>
        bucket.watch(prefix, (key, entry) => {
          if (!node.isDead) onChange(key, entry);
        }),
      ),
  };
}
