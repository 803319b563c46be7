/**
 * Whole nodes, as start-node.ts puts them together, on virtual time: one bus, one bucket
 * and one store in memory, processes that can be stopped and taken off the bus.
 */
import { defaultLimits, type Limits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { spawnNode } from "../../actors/node-tree.js";
import { nodeNameOf, PlacementView } from "../../actors/placement-view.js";
import { accepted } from "../../src/base/result.js";
import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { MemoryEvents } from "../../src/drivers/memory-events.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import { MemoryKeyValue } from "../../src/drivers/memory-key-value.js";
import type { AppEvents } from "../../src/protocol/app-settings.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { type Shard, sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { shardPushSubject } from "../../src/protocol/subjects.js";
import { ActorSystem } from "../../src/runtime/system.js";
import { BenchEdge } from "./bench-edge.js";
import { HeldStore, ProcessBus, ProcessKeyValue, StoppableProcess } from "./stoppable-process.js";
import { VirtualClock } from "./virtual-clock.js";

const groupCount = 8;
const stepMs = 50;

export interface BenchNode {
  readonly name: string;
  readonly process: StoppableProcess;
  readonly bus: ProcessBus;
  readonly edge: BenchEdge;
  readonly context: NodeContext;
  readonly system: ActorSystem;
}

interface DeviceView {
  readonly id: string;
  readonly connection: string | null;
}

export class NodeBench {
  readonly clock = new VirtualClock();
  readonly server = new MemoryBus(this.clock);
  readonly events = new MemoryEvents(this.clock);
  readonly bucket = new MemoryKeyValue(this.clock);
  readonly inboxes = new MemoryInbox(groupCount);
  readonly store = new HeldStore(this.inboxes, this.clock);
  readonly crashes: string[] = [];
  /** Of every app. */
  wishes: AppEvents = {};
  readonly nodes: BenchNode[] = [];
  private readonly limits: Limits;
  private chance = 0;
  private replies = 0;

  private constructor(limits: Partial<Limits>) {
    this.limits = { ...defaultLimits, ...limits };
  }

  static async start(names: readonly string[], limits: Partial<Limits> = {}): Promise<NodeBench> {
    const bench = new NodeBench(limits);
    for (const name of names) bench.addNode(name);
    await bench.until("all is placed", () => bench.isSettled());
    return bench;
  }

  addNode(name: string): BenchNode {
    const { clock } = this;
    const process = new StoppableProcess(clock);
    const bus = new ProcessBus(this.server, process);
    const edge = new BenchEdge(process);
    // Not random, and never the same twice: incarnations are made of it.
    const random = { next: () => (this.chance = (this.chance + 0.618_034) % 1) };
    const context: NodeContext = {
      nodeId: `dc1-${name}`,
      incarnation: `${name}0`,
      idc: "dc1",
      idcNumber: 1,
      version: "test",
      processes: { own: { pid: 1, processStart: name }, isGone: async () => false },
      edgeUrl: `ws://${name}/connect`,
      clock: process,
      random,
      bus,
      store: this.store.connect(name, process),
      placement: new ProcessKeyValue(this.bucket, process),
      events: this.events,
      apps: {
        find: (app) => ({
          v: 1,
          app,
          secrets: [],
          delivery: "each-device",
          createdAtMs: 0,
          events: this.wishes,
        }),
      },
      tokens: {
        verify: async (token) => accepted({ jti: "", exp: 2 ** 40, ...JSON.parse(token) }),
      },
      transport: edge,
      limits: this.limits,
      log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
      view: new PlacementView(),
      giveUp: (reason) => void this.crashes.push(`${name} gives up: ${reason}`),
    };
    const node = { name, process, bus, edge, context, system: this.makeSystem(context) };
    this.nodes.push(node);
    return node;
  }

  private makeSystem(context: NodeContext): ActorSystem {
    const { nodeId, incarnation, clock, random, bus } = context;
    const system = new ActorSystem({
      nodeId,
      incarnation,
      clock,
      random,
      bus,
      onCrash: ({ address, messageType, error }) =>
        void this.crashes.push(`${address} on ${messageType}: ${error}`),
    });
    spawnNode(system, context);
    return system;
  }

  node(name: string): BenchNode {
    const node = this.nodes.find((one) => one.name === name);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  // ---- time ----

  async run(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      await this.clock.advanceAndSettle(Math.min(left, stepMs));
    }
  }

  /** Returns how long it took, of virtual time. */
  async until(what: string, probe: () => boolean, withinMs = 20_000): Promise<number> {
    const fromMs = this.clock.monotonicMs();
    while (!probe()) {
      if (this.clock.monotonicMs() - fromMs > withinMs) throw new Error(`in vain until ${what}`);
      await this.run(stepMs);
    }
    return this.clock.monotonicMs() - fromMs;
  }

  // ---- what is seen ----

  /** Every node sees every shard served by a node of now, and that one serves it so. */
  isSettled(): boolean {
    const serving = new Map(this.nodes.map((node) => [nodeNameOf(node.context), node]));
    return this.nodes.every(({ context }) => {
      const { view } = context;
      if (!view.isLeaseHeld(context.clock.monotonicMs())) return false;
      if (view.nodes.size !== this.nodes.length) return false;
      for (let shard = 0; shard < groupCount; shard++) {
        const owner = view.ownerOf(shard as Shard);
        const node = owner && serving.get(nodeNameOf(owner));
        if (node === undefined || owner?.state !== "serving") return false;
        if (this.epochServed(node, shard) !== owner.epoch) return false;
      }
      return true;
    });
  }

  private epochServed({ system }: BenchNode, shard: number): unknown {
    const group = shard % groupCount;
    const ref = system.find(`shards/${group}/${shard}`);
    return (ref?.cell.inspect() as { epoch: number } | undefined)?.epoch;
  }

  /** The node id that has each group, as one node sees it. */
  owners({ context: { view } } = this.nodes[0] as BenchNode): (string | undefined)[] {
    return Array.from({ length: groupCount }, (_, group) => {
      return view.ownerOf(group as Shard)?.nodeId;
    });
  }

  /** The node ids of the giver and the taker of the group that is on the move. */
  moving(): readonly [string, string] | undefined {
    const { view } = (this.nodes[0] as BenchNode).context;
    for (let shard = 0; shard < groupCount; shard++) {
      const owner = view.ownerOf(shard as Shard);
      if (owner?.from !== undefined) return [owner.from.nodeId, owner.nodeId];
    }
    return undefined;
  }

  isMoving(): boolean {
    return this.moving() !== undefined;
  }

  nodeOf(nodeId: string): BenchNode {
    return this.node(nodeId.slice("dc1-".length));
  }

  /** A user whose shard this node has. */
  userOf(node: BenchNode, index = 0): string {
    const found: string[] = [];
    for (let number = 0; found.length <= index; number++) {
      const uid = `u${number}`;
      const owner = node.context.view.ownerOf(shardOfKey(sessionKey("demo", uid)));
      if (owner?.nodeId === node.context.nodeId) found.push(uid);
    }
    return found[index] as string;
  }

  /** Where the user's session, wherever it lives, believes its devices to be. */
  connectionsOf(uid: string): (string | null)[] {
    return this.sessionsOf(uid).flatMap(({ devices }) =>
      (devices as DeviceView[]).map(({ connection }) => connection),
    );
  }

  /** As each node that has the user's session sees it. */
  sessionsOf(uid: string): Record<string, unknown>[] {
    const key = sessionKey("demo", uid);
    const shard = shardOfKey(key);
    const path = `shards/${this.inboxes.groupOf(shard)}/${shard}/${key}`;
    const sessions = this.nodes.flatMap(({ system }) => system.find(path) ?? []);
    return sessions.map((session) => session.cell.inspect());
  }

  // ---- publishers, on no node ----

  /** A request; its answers are appended as they come. */
  request(uid: string, command: object): PushAnswer[] {
    const answers: PushAnswer[] = [];
    const reply = `_INBOX.publisher.${this.replies++}`;
    this.server.subscribe(reply, ({ payload }) => {
      answers.push(unpackValue(payload) as PushAnswer);
    });
    this.publish(uid, command, reply);
    return answers;
  }

  publish(uid: string, command: object, reply?: string): void {
    const key = sessionKey("demo", uid);
    const options = reply === undefined ? {} : { reply };
    this.server.publish(shardPushSubject(shardOfKey(key), key), packValue(command), options);
  }
}
