/**
 * A fleet in memory for the command line's tests: two nodes of one datacenter that
 * own half of the shards each, one of them with an actor that was restarted.
 */
import { accepted, Fault, refused } from "../../src/base/result.js";
import type {
  Fleet,
  FleetNode,
  Leader,
  NatsUserGrant,
  NodeName,
  Placement,
  ShardPlace,
} from "../../src/cli/fleet.js";
import { fullName } from "../../src/cli/fleet.js";
import type { KeyValue, KeyValueEntry } from "../../src/ports/key-value.js";
import {
  type AppRecord,
  appRecordVersion,
  encodeAppRecord,
} from "../../src/protocol/app-record.js";
import type { DispatcherRequest } from "../../src/protocol/dispatcher-request.js";
import { type ErrorAnswer, errorAnswer } from "../../src/protocol/errors.js";
import type { InboxAnswer } from "../../src/protocol/inbox-answer.js";
import type { InboxRequest } from "../../src/protocol/inbox-request.js";
import type { MsgId } from "../../src/protocol/msg-id.js";
import type {
  DeskAnswer,
  DeskRequest,
  LaneRequest,
  PlacementRequest,
} from "../../src/protocol/operator-desk.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { shardCount } from "../../src/protocol/shards.js";

export const startedAtMs = Date.UTC(2026, 0, 1);

export function nodeOf(name: string, idc = "dc1"): FleetNode {
  return {
    nodeId: `${idc}-${name}`,
    incarnation: `inc${name}`,
    idc,
    pid: 100,
    version: "0.1.0",
    leaseMs: 3_000,
    startedAtMs,
    edgeUrl: "ws://127.0.0.1:8080/connect",
  };
}

export const nodeA = nodeOf("a");
export const nodeB = nodeOf("b");

export const demo: AppRecord = {
  v: appRecordVersion,
  app: "demo",
  secrets: [{ kid: "k1", secret: "s".repeat(43) }],
  delivery: "each-device",
  createdAtMs: startedAtMs,
};

/** What a node's session says of itself. */
export const aliceSession = {
  generation: 17_825_793,
  lastSeq: 3,
  committedSeq: 3,
  inbox: { messages: 0, bytes: 0 },
  devices: [
    {
      id: "phone\u001b[31m",
      platform: "web",
      connect: 1,
      ackedSeq: 3,
      seenAtMs: startedAtMs,
      sentSeq: 3,
      unacked: 0,
      connection: "dc1-a.inca/edge/7",
    },
  ],
};

export class MemoryKeyValue implements KeyValue {
  readonly entries = new Map<string, KeyValueEntry>();
  private revision = 0;

  async get(key: string) {
    return this.entries.get(key);
  }

  async create(key: string, value: Uint8Array) {
    if (this.entries.has(key)) return refused("CONFLICT", "it is there");
    return this.put(key, value);
  }

  async update(key: string, value: Uint8Array, revision: number) {
    if (this.entries.get(key)?.revision !== revision) return refused("CONFLICT", "it changed");
    return this.put(key, value);
  }

  async delete(key: string, revision: number) {
    if (this.entries.get(key)?.revision !== revision) return refused("CONFLICT", "it changed");
    this.entries.delete(key);
    return accepted(undefined);
  }

  async list(prefix: string) {
    return [...this.entries.values()].filter(({ key }) => key.startsWith(prefix));
  }

  async watch(): Promise<() => void> {
    throw new Error("the command line watches nothing");
  }

  private put(key: string, value: Uint8Array) {
    this.revision++;
    this.entries.set(key, { key, value, revision: this.revision });
    return { ok: true, value: this.revision } as const;
  }
}

export class FakeFleet implements Fleet {
  readonly natsUrl = "nats://127.0.0.1:4222";
  readonly registry = new MemoryKeyValue();
  /** Nodes that take questions and never answer, by id. */
  readonly silent = new Set<string>();
  readonly asked: DeskRequest[] = [];
  readonly pushed: { app: string; uid: string; command: unknown }[] = [];
  readonly inboxAsked: { app: string; uid: string; request: InboxRequest }[] = [];
  inboxAnswer: InboxAnswer = { ok: true, recalled: [] };
  nodes: readonly FleetNode[] = [nodeA, nodeB];
  shards: readonly ShardPlace[] = halves();
  draining: readonly string[] = [];
  /** With the rate that was asked for. */
  readonly drainingEdges = new Map<string, number | undefined>();
  /** Of every edge; each time one is asked, so many fewer. */
  connections = 0;
  connectionsLeaving = 0;
  /** What every edge tells of its drain. */
  edgeDrain: Record<string, unknown> | null = null;
  leader: Leader | undefined = { ...nameOf(nodeA), epoch: 3, leaseMs: 3_000 };
  /** What the leader answers next, in turn; a fault is thrown. Then what it answers always. */
  leaderAnswers: (DeskAnswer | ErrorAnswer | Fault)[] = [];
  /** Called before each reading of the placement. */
  onPlacementRead: () => void = () => undefined;
  trees: Record<string, unknown> = { "dc1-a": treeOf(false), "dc1-b": treeOf(true) };
  pushAnswer: PushAnswer | Fault = { ok: true, id: "01ARZ3NDEKTSV4RR" as MsgId, seq: 4 };
  userAnswer: (DeskAnswer | ErrorAnswer)[] = [{ ok: true, value: aliceSession }];
  directiveAnswer: (DeskAnswer | ErrorAnswer)[] = [
    { ok: true, value: { connections: 2, told: 2 } },
  ];
  journalAnswers: Record<"message" | "reach", DeskAnswer | ErrorAnswer> = {
    message: { ok: true, value: messagePath },
    reach: { ok: true, value: reachCounts },
  };
  grant: NatsUserGrant = {
    state: "added",
    user: "app-shop",
    password: "p",
    inboxPrefix: "_INBOX_shop",
  };
  placementsRead = 0;
  isClosed = false;

  async placement(): Promise<Placement> {
    this.placementsRead++;
    this.onPlacementRead();
    const { nodes, leader, shards, draining } = this;
    return { nodes, leader, shards, draining };
  }

  async ask(node: NodeName, request: DeskRequest): Promise<DeskAnswer | ErrorAnswer> {
    this.asked.push(request);
    if (this.silent.has(node.nodeId)) throw new Fault("TIMEOUT", "unknown", "no answer in time");
    switch (request.kind) {
      case "status":
        return { ok: true, value: statusOf(node) };
      case "tree":
        return { ok: true, value: prune(this.trees[node.nodeId], request.depth) };
      case "actor":
        return this.actor(node, request.address);
      case "user":
        return this.userAnswer.shift() ?? errorAnswer("INTERNAL");
      case "directive":
        return this.directiveAnswer.shift() ?? errorAnswer("INTERNAL");
      case "message":
      case "reach":
        return this.journalAnswers[request.kind];
      case "backup":
        return errorAnswer("UNSUPPORTED");
      case "usage":
        return { ok: true, value: usageOf(node) };
      case "let-in":
        return { ok: true, value: { letInPercent: request.percent } };
      default:
        return this.askPlacement(node, request);
    }
  }

  private askPlacement(
    node: NodeName,
    request: PlacementRequest | LaneRequest | DispatcherRequest,
  ): DeskAnswer | ErrorAnswer {
    const next = this.leaderAnswers.shift();
    if (next instanceof Fault) throw next;
    if (next !== undefined) return next;
    if (node.nodeId !== this.leader?.nodeId) return errorAnswer("NOT_LEADER");
    switch (request.kind) {
      case "placement":
        return { ok: true, value: leaderReport };
      case "drain":
      case "undrain":
        return this.setDrain(request.node, request.kind === "drain");
      case "edge-drain":
      case "edge-undrain": {
        const { node: nodeId, kind } = request;
        const changed = this.drainingEdges.delete(nodeId) !== (kind === "edge-drain");
        if (kind === "edge-drain") this.drainingEdges.set(nodeId, request.perSecond);
        return { ok: true, value: { changed } };
      }
      case "rebalance-plan":
        return { ok: true, value: rebalancePlan };
      case "rebalance-commit": {
        if (request.plan !== rebalancePlan.plan) return errorAnswer("PLAN_UNKNOWN");
        return { ok: true, value: { plan: request.plan, moves: rebalancePlan.moves } };
      }
      default:
        return errorAnswer("UNSUPPORTED");
    }
  }

  private setDrain(nodeId: string, isDraining: boolean): DeskAnswer | ErrorAnswer {
    if (!this.nodes.some((node) => node.nodeId === nodeId)) return errorAnswer("NOT_FOUND");
    const changed = this.draining.includes(nodeId) !== isDraining;
    const others = this.draining.filter((other) => other !== nodeId);
    this.draining = isDraining ? [...others, nodeId] : others;
    return { ok: true, value: { node: nodeId, isDraining, changed } };
  }

  /** What the one group says of itself. */
  groupDetail: Record<string, unknown> = { commits: 21, unpublished: 0, lost: 0 };

  private actor(node: NodeName, address: string): DeskAnswer | ErrorAnswer {
    const path = address.slice(fullName(node).length + 1);
    if (path === "shards/0") return { ok: true, value: { address, detail: this.groupDetail } };
    if (path !== "edge") return errorAnswer("NOT_FOUND");
    const { connections, edgeDrain: drain } = this;
    this.connections = Math.max(0, connections - this.connectionsLeaving);
    return { ok: true, value: { address, detail: { connections, drain } } };
  }

  async push(app: string, uid: string, payload: Uint8Array): Promise<PushAnswer> {
    this.pushed.push({ app, uid, command: JSON.parse(new TextDecoder().decode(payload)) });
    if (this.pushAnswer instanceof Fault) throw this.pushAnswer;
    return this.pushAnswer;
  }

  async inbox(app: string, uid: string, request: InboxRequest): Promise<InboxAnswer> {
    this.inboxAsked.push({ app, uid, request });
    return this.inboxAnswer;
  }

  async apps(): Promise<KeyValue> {
    return this.registry;
  }

  async addNatsUser(): Promise<NatsUserGrant> {
    return this.grant;
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }
}

export async function fleetWithDemo(): Promise<FakeFleet> {
  const fleet = new FakeFleet();
  await fleet.registry.create("demo", encodeAppRecord(demo));
  return fleet;
}

function nameOf({ nodeId, incarnation }: NodeName): NodeName {
  return { nodeId, incarnation };
}

const own = { channel: "own", epoch: 3 };

/** What a node reads of one message in the journal. */
export const messagePath = {
  id: "01ARZ3NDEKTSV4RR",
  app: "demo",
  uid: "alice",
  shard: 2462,
  seq: 4,
  steps: [
    { atMs: startedAtMs, sinceMs: 0, node: "dc1-a", step: "stored", ...own },
    {
      ...{ atMs: startedAtMs + 2, sinceMs: 2, node: "dc1-b", step: "written", ...own },
      ...{ device: "phone\u001b[31m", edge: "dc1-b.incb/edge", connection: 7 },
    },
    {
      ...{ atMs: startedAtMs + 60, sinceMs: 60, node: "dc1-a", step: "let-go", ...own },
      reason: "acked",
    },
  ],
  isAll: true,
  gaps: [{ atMs: startedAtMs + 5, node: "dc1-b", count: 12 }],
  read: { batches: 3, bytes: 300, end: "enough", unreadable: 0, isCut: false },
};

export const reachCounts = {
  fromMs: startedAtMs,
  untilMs: startedAtMs + 3_600_000,
  accepted: 8,
  letGo: { acked: 5, expired: 1 },
  passed: 3,
  passedOn: 2,
  lostSteps: 0,
  sample: { blocksRead: 64, blocks: 64, isCut: false },
  read: { bytes: 300, unreadable: 0 },
};

/** What the leader says of the placement: four units on each node, one of them busy. */
export const leaderReport = {
  leader: { nodeId: "dc1-a", incarnation: "inca" },
  epoch: 3,
  leadingForMs: 75_000,
  table: { revision: 17, nonce: "n0", epoch: 3 },
  unitSize: 512,
  draining: ["dc1-b"],
  openMoves: [{ unit: 5, epoch: 9, from: nameOf(nodeB), to: nameOf(nodeA), forMs: 1_234 }],
  rebalance: { plan: "n0-1", moves: 3, done: 1, dropped: 1 },
  avoided: [nameOf(nodeB)],
  load: { perSecond: 1_280, floorPerSecond: 1_000, isMeasured: true },
  units: Array.from({ length: 8 }, (_, unit) => ({
    unit,
    nodeId: unit < 4 ? "dc1-a" : "dc1-b",
    perSecond: unit === 0 ? 1_024 : 32,
    sessions: unit === 7 ? null : 10,
    weight: 1,
  })),
  nodes: [
    { ...nameOf(nodeA), units: 4, perSecond: 1_120, sessions: 40, weight: 11 },
    { ...nameOf(nodeB), units: 4, perSecond: 128, sessions: 30, weight: 4.8 },
  ],
  decisions: [{ at: "2026-01-01T00:00:00.000Z", what: "moves unit 5: drain" }],
};

export const rebalancePlan = {
  plan: "n0-2",
  nonce: "n0",
  unitSize: 512,
  moves: [{ unit: 1, from: nameOf(nodeA), to: nameOf(nodeB), reason: "load: 11.0 and 4.8" }],
  before: [
    { ...nameOf(nodeA), units: 4, weight: 11 },
    { ...nameOf(nodeB), units: 4, weight: 4.8 },
  ],
  after: [
    { ...nameOf(nodeA), units: 3, weight: 10 },
    { ...nameOf(nodeB), units: 5, weight: 5.8 },
  ],
};

function halves(): ShardPlace[] {
  return Array.from({ length: shardCount }, (_, shard) => {
    const { nodeId, incarnation } = shard % 8 < 4 ? nodeA : nodeB;
    return { shard, state: "serving", epoch: 1, owner: { nodeId, incarnation } };
  });
}

/** The second node has refused nothing, and its edge does not answer. */
function usageOf({ nodeId }: NodeName) {
  const isFirst = nodeId === "dc1-a";
  return {
    share: 0.5,
    pushes: {
      accepted: 1_000,
      refused: isFirst ? { RATE_LIMITED: 7, OVERLOADED: 1 } : {},
      acceptedPerSecond: 12.5,
      refusedPerSecond: isFirst ? 0.5 : 0,
    },
    inbox: { bytes: 2_048, messages: 4, users: 2 },
    connections: isFirst ? { connections: 5, refused: 3 } : null,
  };
}

function statusOf({ nodeId, incarnation }: NodeName) {
  return {
    nodeId,
    incarnation,
    counters: { crashes: 1, restarts: 1, deadLetters: { stopped: 2, expired: 1 } },
    membership: { isLeaseHeld: true },
    shards: { groups: [0], admission: { refused: { RATE_LIMITED: 2, OVERLOADED: 1 } } },
    edge: {
      ...{ connections: 5, connectionsMax: 18_000, opened: 9, letInPercent: 20, lagMs: 3 },
      ...{ furtherSessions: 2, passingDropped: 7, unknownSessions: 0 },
      refused: { full: 0, letIn: 4, origin: 1 },
      closed: { HEARTBEAT_LOST: 2 },
      sockets: { handshakes: 0, socketsDropped: 0 },
    },
  };
}

/** A node's tree: 512 shards in one group, two sessions, of which one may be restarted. */
function treeOf(hasRestarted: boolean) {
  const sessions = (shard: number) => (shard === 7 ? ["demo.alice", "demo.bob"] : []);
  const shards = Array.from({ length: 512 }, (_, shard) =>
    actor(
      shard,
      "shard",
      sessions(shard).map((key) =>
        actor(key, "session", [], hasRestarted && key === "demo.alice" ? 2 : 0),
      ),
    ),
  );
  return actor("", "root", [
    actor("membership", "membership"),
    actor("shards", "shard-host", [actor(0, "shard-group", shards)]),
    actor("edge", "edge", [actor(7, "connection")]),
  ]);
}

interface FakeActor {
  readonly key: string | number;
  readonly kind: string;
  readonly childCounts: Record<string, number>;
  readonly children: readonly FakeActor[];
}

function actor(
  key: string | number,
  kind: string,
  children: readonly FakeActor[] = [],
  restarts = 0,
): FakeActor {
  const childCounts: Record<string, number> = {};
  for (const child of children) childCounts[child.kind] = (childCounts[child.kind] ?? 0) + 1;
  const figures = { state: "live", mailbox: 1, mailboxMax: 64, processed: 10, restarts };
  return { key, kind, ...figures, childCounts, children };
}

function prune(tree: unknown, depth: number): unknown {
  const actor = tree as FakeActor | undefined;
  if (actor?.children === undefined) return tree;
  const children = depth === 0 ? [] : actor.children.map((child) => prune(child, depth - 1));
  return { ...actor, children };
}
