/**
 * Whole nodes on virtual time: membership, placement, shards, edge and health as
 * start-node.ts has them, on one bus, one bucket and one store in memory.
 */
import { defaultLimits, type Limits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { spawnNode } from "../../actors/node-tree.js";
import { PlacementView } from "../../actors/placement-view.js";
import type { Cancel, Clock } from "../../src/base/clock.js";
import { accepted } from "../../src/base/result.js";
import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { MemoryEvents } from "../../src/drivers/memory-events.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import { MemoryKeyValue } from "../../src/drivers/memory-key-value.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { unpackRecord } from "../../src/protocol/message-record.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { type Shard, sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { shardPushSubject } from "../../src/protocol/subjects.js";
import { type Address, addressOn } from "../../src/runtime/address.js";
import { ActorSystem } from "../../src/runtime/system.js";
import { MemoryTransport } from "./memory-transport.js";
import { TroubledStore } from "./troubled-store.js";
import { VirtualClock } from "./virtual-clock.js";

export interface WholeNode {
  readonly nodeId: string;
  readonly name: string;
  readonly clock: LaggingClock;
  readonly store: TroubledStore;
  readonly transport: MemoryTransport;
  readonly context: NodeContext;
  readonly system: ActorSystem;
}

/** Of one process whose event loop is busy: its timers come late by so much. */
export class LaggingClock implements Clock {
  lagMs = 0;

  constructor(private readonly clock: VirtualClock) {}

  wallMs(): number {
    return this.clock.wallMs();
  }

  monotonicMs(): number {
    return this.clock.monotonicMs();
  }

  after(delayMs: number, callback: () => void): Cancel {
    return this.clock.after(delayMs + this.lagMs, callback);
  }

  soon(callback: () => void): void {
    this.clock.soon(callback);
  }
}

export class HealthBench {
  readonly clock = new VirtualClock();
  readonly bus = new MemoryBus(this.clock);
  readonly placement = new MemoryKeyValue(this.clock);
  readonly inbox: MemoryInbox;
  readonly nodes: WholeNode[] = [];
  readonly crashes: string[] = [];
  readonly lines: string[] = [];
  private readonly limits: Limits;
  private replies = 0;

  constructor(groupCount = 8, limits: Partial<Limits> = {}) {
    this.inbox = new MemoryInbox(groupCount);
    this.limits = { ...defaultLimits, ...limits };
  }

  /** Until all shards are served, by as many nodes. */
  static async start(
    names: readonly string[],
    groupCount = 8,
    limits: Partial<Limits> = {},
  ): Promise<HealthBench> {
    const bench = new HealthBench(groupCount, limits);
    for (const name of names) bench.addNode(name);
    await bench.settle();
    return bench;
  }

  addNode(name: string): WholeNode {
    const nodeId = `dc1-${name}`;
    const clock = new LaggingClock(this.clock);
    const store = new TroubledStore(this.inbox);
    const transport = new MemoryTransport();
    const context = this.contextOf(nodeId, clock, store, transport);
    const system = new ActorSystem({
      nodeId,
      incarnation: context.incarnation,
      clock,
      random: context.random,
      bus: this.bus,
      onCrash: (report) => void this.crashes.push(`${report.address}: ${report.error}`),
    });
    spawnNode(system, context);
    const node = { nodeId, name: `${nodeId}.i`, clock, store, transport, context, system };
    this.nodes.push(node);
    return node;
  }

  private contextOf(
    nodeId: string,
    clock: LaggingClock,
    store: TroubledStore,
    transport: MemoryTransport,
  ): NodeContext {
    const say = (level: string) => (event: string, fields?: object) =>
      void this.lines.push(`${nodeId} ${level} ${event} ${JSON.stringify(fields ?? {})}`);
    return {
      nodeId,
      incarnation: "i",
      idc: "dc1",
      idcNumber: 1,
      version: "test",
      processes: { own: { pid: 1, processStart: nodeId }, isGone: async () => false },
      edgeUrl: "",
      clock,
      random: { next: () => 0.5 },
      bus: this.bus,
      store,
      placement: this.placement,
      events: new MemoryEvents(this.clock),
      apps: {
        find: (app) => ({ v: 1, app, secrets: [], delivery: "each-device", createdAtMs: 0 }),
      },
      tokens: {
        // A token is the user's name.
        verify: async (token) => accepted({ app: "demo", sub: token, jti: "", exp: 4_000_000_000 }),
      },
      transport,
      limits: this.limits,
      log: { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") },
      view: new PlacementView(),
      giveUp: (reason) => void this.crashes.push(reason),
    };
  }

  node(name: string): WholeNode {
    const node = this.nodes.find(({ nodeId }) => nodeId === `dc1-${name}`);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  // ---- time ----

  pass(ms: number): Promise<void> {
    return this.clock.advanceAndSettle(ms);
  }

  /** Virtual milliseconds that went by until the probe held; throws after `withinMs`. */
  async until(what: string, probe: () => boolean, withinMs = 60_000): Promise<number> {
    const startMs = this.clock.monotonicMs();
    while (!probe()) {
      if (this.clock.monotonicMs() - startMs > withinMs) {
        throw new Error(`not within ${withinMs} ms: ${what}\n${this.lines.slice(-30).join("\n")}`);
      }
      await this.pass(50);
    }
    return this.clock.monotonicMs() - startMs;
  }

  settle(withinMs = 60_000): Promise<number> {
    const share = this.inbox.groupCount / this.nodes.length;
    const isFair = ({ nodeId }: WholeNode) => {
      const count = this.groupsOf(nodeId).length;
      return count >= Math.floor(share) && count <= Math.ceil(share);
    };
    const isDone = () => this.isServed() && this.nodes.every(isFair);
    return this.until("all shards are served, evenly", isDone, withinMs);
  }

  // ---- what the table and the actors say ----

  private get table() {
    return (this.nodes[0] as WholeNode).context.view.table;
  }

  ownerOf(group: number): string | undefined {
    const owner = this.table.ownerOf(group as Shard);
    return owner?.state === "serving" ? owner.nodeId : undefined;
  }

  groupsOf(nodeId: string): number[] {
    const groups = Array.from({ length: this.inbox.groupCount }, (_, group) => group);
    return groups.filter((group) => this.ownerOf(group) === nodeId);
  }

  /** Every group has an owner whose shards are there. */
  isServed(): boolean {
    for (let group = 0; group < this.inbox.groupCount; group++) {
      const owner = this.nodes.find(({ nodeId }) => nodeId === this.ownerOf(group));
      const path = `shards/${group}/${group}`;
      if (owner?.system.find(path) === undefined) return false;
    }
    return true;
  }

  leader(): string | undefined {
    return this.node("a").context.view.leader?.nodeId;
  }

  inspect(node: WholeNode, path: string): Record<string, unknown> {
    return node.system.inspectActor(addressOn(node.name, path) as Address)?.detail ?? {};
  }

  /** What the leaders decided, oldest first. */
  decisions(): string[] {
    return this.lines.flatMap((line) => {
      const [, decision] = line.split(" info placement ");
      return decision === undefined ? [] : decision.replace(/ \{\}$/, "");
    });
  }

  // ---- pushes ----

  userOf(group: number, from = 0): string {
    for (let index = from; ; index++) {
      const shard = shardOfKey(sessionKey("demo", `u${index}`));
      if (this.inbox.groupOf(shard) === group) return `u${index}`;
    }
  }

  /** Answers are pushed as they come; none within the deadline of a real client is none. */
  push(uid: string, command: object): PushAnswer[] {
    const key = sessionKey("demo", uid);
    const reply = `_INBOX.push.${this.replies++}`;
    const answers: PushAnswer[] = [];
    this.bus.subscribe(reply, ({ payload }) => {
      answers.push(unpackValue(payload) as PushAnswer);
    });
    this.bus.publish(shardPushSubject(shardOfKey(key), key), packValue(command), { reply });
    return answers;
  }

  /** The bodies of a user's stored messages, in the order of their seqs. */
  async stored(uid: string): Promise<unknown[]> {
    const key = sessionKey("demo", uid);
    const shard = shardOfKey(key);
    const group = await this.inbox.openGroup(this.inbox.groupOf(shard));
    const entries = await group.readEntries(shard, key, 0, 1_000_000, Number.MAX_SAFE_INTEGER);
    return entries.map((entry) => unpackRecord(entry.record).body);
  }
}
