/**
 * How many bytes an idle session and an idle connection take: the real actors under
 * their real parents, on a store, a transport and a bus that hold nothing of them.
 * Each has had one message delivered and acked, then stood idle for longer than every
 * timer. Run as a process of its own with --expose-gc.
 */
import { setTimeout as delay } from "node:timers/promises";
import { Edge } from "../../actors/edge.js";
import { defaultLimits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { PlacementView } from "../../actors/placement-view.js";
import { ShardHost } from "../../actors/shard-host.js";
import { encodeClientFrame } from "../../src/client/server-frames.js";
import {
  type ConnectionId,
  connectionId,
  type EdgeTransport,
  type TransportHandlers,
} from "../../src/ports/edge-transport.js";
import { packValue } from "../../src/protocol/codec.js";
import { clientKinds, protocolVersion } from "../../src/protocol/frames.js";
import type { ToEdge, ToSession } from "../../src/protocol/messages.js";
import {
  type SessionKey,
  type Shard,
  sessionKey,
  shardCount,
  shardOfKey,
} from "../../src/protocol/shards.js";
import { shardPushSubject, shardWildcard } from "../../src/protocol/subjects.js";
import { Actor } from "../../src/runtime/actor.js";
import { type Address, addressOn } from "../../src/runtime/address.js";
import type { ActorKind } from "../../src/runtime/kind.js";
import { ActorSystem } from "../../src/runtime/system.js";
import { VirtualClock } from "../../test/support/virtual-clock.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { serve } from "../harness/worker-process.js";
import { ForgetfulStore, ProcessBus } from "./stand-ins.js";

export interface MemoryPoint {
  readonly count: number;
  readonly bytes: number;
}

export interface MemoryCurve {
  readonly points: readonly MemoryPoint[];
  /** Kept outside of the heap, in arrays by slot. */
  readonly slotBytes: number;
}

const owner = { nodeId: "dc1-a", incarnation: "k3f9q2xw" };
const other = { nodeId: "dc1-b", incarnation: "m7d1z8rt" };
const edgeAddress = addressOn(`${other.nodeId}.${other.incarnation}`, "edge");
const allShards = Array.from({ length: shardCount }, (_, at) => at as Shard);
const batchSize = 2_000;
/** Beyond ackWait and a heartbeat, below the heartbeat's deadline. */
const idleMs = 45_000;

/** What a user is called in this bench, as long as names usually are. */
function keyOf(number: number): SessionKey {
  return sessionKey("demo", `user-${String(number).padStart(7, "0")}`);
}

function contextOf(
  member: typeof owner,
  clock: VirtualClock,
  bus: ProcessBus,
  changes: Partial<NodeContext>,
): NodeContext {
  const view = new PlacementView();
  view.table = PlacementTable.empty().withOwner(allShards, owner);
  view.leaseDeadlineMs = Number.POSITIVE_INFINITY;
  const app = { v: 1, app: "demo", secrets: [], delivery: "each-device", createdAtMs: 0 } as const;
  return {
    ...member,
    idc: "dc1",
    idcNumber: 1,
    version: "bench",
    processes: { own: { pid: 1, processStart: "" }, isGone: async () => false },
    edgeUrl: "",
    clock,
    random: { next: () => 0.5 },
    bus,
    store: new ForgetfulStore(),
    placement: undefined as unknown as NodeContext["placement"],
    apps: { find: () => app },
    events: { publish: async () => ({ isDuplicate: false }), forget: async () => undefined },
    tokens: {
      verify: async (token) => ({
        ok: true,
        value: { app: "demo", sub: token, exp: 4_000_000_000, jti: "" },
      }),
    },
    transport: new NoSockets(),
    limits: defaultLimits,
    log: { debug: ignore, info: ignore, warn: ignore, error: ignore },
    view,
    giveUp: (reason) => {
      throw new Error(reason);
    },
    ...changes,
  };
}

/** Until the process ends, so that a heap snapshot finds the actors after the measuring. */
const alive: ActorSystem[] = [];

function systemOf(member: typeof owner, clock: VirtualClock, bus: ProcessBus): ActorSystem {
  const system = new ActorSystem({ ...member, clock, bus, random: { next: () => 0.5 } });
  alive.push(system);
  return system;
}

const standInKind: ActorKind = {
  name: "stand-in",
  mailbox: { max: 1_000_000, onFull: "reject" },
  restart: "permanent",
};

/** The other node's edge: acknowledges what it is sent, and keeps nothing. */
class EdgeStandIn extends Actor<ToEdge> {
  get kind(): ActorKind {
    return standInKind;
  }

  receive(message: ToEdge): void {
    if (message.kind !== "Deliver") return;
    const { connection, key, epoch, generation, seqs } = message;
    const position = { generation, seq: seqs.at(-1) ?? 0 };
    const acked = { kind: "Acked", edge: edgeAddress, connection, position } as const;
    this.tell(...toShards(key as SessionKey, epoch, acked));
  }
}

function toShards(
  key: SessionKey,
  epoch: number,
  message: ToSession["message"],
): [Address, ToSession] {
  const shards = addressOn(`${owner.nodeId}.${owner.incarnation}`, "shards");
  return [shards, { kind: "ToSession", shard: shardOfKey(key), epoch, key, message }];
}

async function measureSessions(counts: readonly number[]): Promise<MemoryCurve> {
  const clock = new VirtualClock();
  const bus = new ProcessBus(clock);
  const context = contextOf(owner, clock, bus, {});
  const system = systemOf(owner, clock, bus);
  system.spawnRoot("shards", () => new ShardHost(context));
  const edge = systemOf(other, clock, bus);
  edge.spawnRoot("edge", () => new EdgeStandIn());
  await clock.settle();
  const epoch = context.view.table.epochOf(0 as Shard);
  const command = packValue({ body: "a first message" });
  const attach = (number: number) => {
    const connection = connectionId(number, 1);
    const ref = { edge: edgeAddress, connection };
    const device = { device: `device-${number}`, platform: "web", connect: 1_767_000_000_000 };
    const message = { kind: "Attach", ...ref, ...device, start: "new" } as const;
    edge.tell(...toShards(keyOf(number), epoch, message));
  };
  const push = (number: number) => {
    const key = keyOf(number);
    const shard = shardOfKey(key);
    bus.receive(shardWildcard(shard), shardPushSubject(shard, key), command);
  };
  const points = await grow(counts, clock, [attach, push]);
  const sessions = system.counters();
  if (sessions.deadLetters["mailbox-full"] > 0) throw new Error("a mailbox was full");
  return { points, slotBytes: 0 };
}

class NoSockets implements EdgeTransport {
  handlers: TransportHandlers | undefined;
  readonly connectionCount = 0;

  figures(): Readonly<Record<string, number>> {
    return {};
  }

  async listen(handlers: TransportHandlers) {
    this.handlers = handlers;
    return { host: "", port: 0 };
  }

  async stopListening(): Promise<void> {}
  send(): void {}
  close(): void {}
  sendToMany(): void {}
  bufferedBytes(): number {
    return 0;
  }

  unfinishedBytes(): number {
    return 0;
  }

  refuseWaiting(): number {
    return 0;
  }
}

/** The shard's owner on the other node: attaches whoever asks, and delivers one message. */
class OwnerStandIn extends Actor<ToSession> {
  get kind(): ActorKind {
    return standInKind;
  }

  receive({ key, epoch, message }: ToSession): void {
    if (message.kind !== "Attach") return;
    const { connection } = message;
    const base = { generation: 1_767_000_000, seq: 41 };
    this.tell(edgeAddress, { kind: "Attached", connection, key, epoch, base });
    const { generation } = base;
    const stored = { generation, prev: 41, seqs: [42], records: [new Uint8Array(64)] };
    this.tell(edgeAddress, { kind: "Deliver", connection, key, epoch, ...stored });
  }
}

async function measureConnections(counts: readonly number[]): Promise<MemoryCurve> {
  const clock = new VirtualClock();
  const bus = new ProcessBus(clock);
  const transport = new NoSockets();
  const connectionsMax = Math.max(...counts);
  const limits = { ...defaultLimits, connectionsMax };
  const context = contextOf(other, clock, bus, { transport, limits });
  const buffersBefore = process.memoryUsage().arrayBuffers;
  const system = systemOf(other, clock, bus);
  system.spawnRoot("edge", () => new Edge(context));
  const shards = systemOf(owner, clock, bus);
  shards.spawnRoot("shards", () => new OwnerStandIn());
  await clock.settle();
  const slotBytes = (process.memoryUsage().arrayBuffers - buffersBefore) / connectionsMax;
  const say = (number: number, frame: readonly unknown[]) => {
    const bytes = encodeClientFrame(frame, false) as Uint8Array;
    transport.handlers?.onMessage(idOf(number), bytes, false);
  };
  const open = (number: number) => {
    transport.handlers?.onOpen(idOf(number), "belfry.v1");
    const [, uid] = keyOf(number).split(".");
    const device = { device: `device-${number}`, platform: "web", connect: 1_767_000_000_000 };
    say(number, [clientKinds.hello, { v: protocolVersion, token: uid, ...device }]);
  };
  const ack = (number: number) => say(number, [clientKinds.ack, 0, 1_767_000_000, 42]);
  const points = await grow(counts, clock, [open, ack]);
  const inspected = system.inspectActor(addressOn(system.node, `edge/${idOf(0)}`));
  if (inspected?.detail["phase"] !== "serving") throw new Error("a connection does not serve");
  return { points, slotBytes };
}

function idOf(number: number): ConnectionId {
  return connectionId(number, 1);
}

/** Takes each number through the steps, and the heap's size at each count. */
async function grow(
  counts: readonly number[],
  clock: VirtualClock,
  steps: readonly ((number: number) => void)[],
): Promise<MemoryPoint[]> {
  const points: MemoryPoint[] = [];
  let made = 0;
  for (const count of counts) {
    while (made < count) {
      const end = Math.min(made + batchSize, count);
      for (const step of steps) {
        for (let number = made; number < end; number++) step(number);
        await clock.settle();
      }
      made = end;
    }
    await clock.advanceAndSettle(idleMs);
    points.push({ count, bytes: await heapBytes() });
  }
  return points;
}

async function heapBytes(): Promise<number> {
  for (let round = 0; round < 3; round++) {
    globalThis.gc?.();
    await delay(10);
  }
  return process.memoryUsage().heapUsed;
}

function ignore(): void {
  // Nobody reads the log of a bench.
}

serve({ measureSessions, measureConnections });
