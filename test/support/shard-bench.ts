/**
 * The shards of one node on virtual time, with a store in memory and a recorder in
 * the place of the edge: what a session answers and sends can be read off.
 */
import type { NodeLanes } from "../../actors/lane-limits.js";
import { defaultLimits, type Limits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { PlacementView } from "../../actors/placement-view.js";
import { ShardHost } from "../../actors/shard-host.js";
import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { AppRecord } from "../../src/protocol/app-record.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { unpackRecord } from "../../src/protocol/message-record.js";
import type { Attach, FromEdge, ToEdge, ToSession } from "../../src/protocol/messages.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import {
  type SessionKey,
  type Shard,
  sessionKey,
  shardCount,
  shardOfKey,
} from "../../src/protocol/shards.js";
import { shardPushSubject } from "../../src/protocol/subjects.js";
import { Actor } from "../../src/runtime/actor.js";
import { addressOn } from "../../src/runtime/address.js";
import type { ActorKind } from "../../src/runtime/kind.js";
import { ActorSystem } from "../../src/runtime/system.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { VirtualClock } from "./virtual-clock.js";

const recorderKind: ActorKind = {
  name: "recorder",
  mailbox: { max: 100_000, onFull: "reject" },
  restart: "permanent",
};

class Recorder extends Actor<ToEdge> {
  constructor(private readonly sent: ToEdge[]) {
    super();
  }
  get kind() {
    return recorderKind;
  }
  receive(message: ToEdge): void {
    this.sent.push(message);
  }
}

const member = { nodeId: "dc1-t", incarnation: "i" };

export class ShardBench {
  readonly clock = new VirtualClock();
  readonly bus = new MemoryBus(this.clock);
  readonly store: MemoryInbox;
  readonly toEdge: ToEdge[] = [];
  readonly crashes: string[] = [];
  readonly system: ActorSystem;
  private readonly node: NodeContext;
  private epoch = 1;
  private replies = 0;
  delivery: AppRecord["delivery"] = "each-device";

  private constructor(
    limits: Partial<Limits>,
    store: MemoryInbox,
    chance: number,
    lanesOf?: (clock: VirtualClock) => NodeLanes,
  ) {
    this.store = store;
    const view = new PlacementView();
    view.leaseDeadlineMs = Number.POSITIVE_INFINITY;
    const random = { next: () => chance };
    const never = () => {
      throw new Error("not used here");
    };
    this.node = {
      ...member,
      idc: "dc1",
      idcNumber: 1,
      version: "test",
      processes: { own: { pid: 1, processStart: "" }, isGone: async () => false },
      edgeUrl: "",
      clock: this.clock,
      random,
      bus: this.bus,
      store,
      placement: never as never,
      apps: { find: (app) => (app === "demo" ? this.appRecord() : undefined) },
      tokens: never as never,
      transport: never as never,
      limits: { ...defaultLimits, ...limits },
      log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
      view,
      giveUp: (reason) => void this.crashes.push(reason),
      ...(lanesOf === undefined ? {} : { lanes: lanesOf(this.clock) }),
    };
    this.system = new ActorSystem({
      ...member,
      clock: this.clock,
      random,
      bus: this.bus,
      onCrash: (report) => void this.crashes.push(`${report.kind}: ${report.error}`),
    });
  }

  static async start(
    limits: Partial<Limits> = {},
    store = new MemoryInbox(8),
    chance = 0,
    lanesOf?: (clock: VirtualClock) => NodeLanes,
  ): Promise<ShardBench> {
    const bench = new ShardBench(limits, store, chance, lanesOf);
    bench.system.spawnRoot("shards", () => new ShardHost(bench.node));
    bench.system.spawnRoot("edge", () => new Recorder(bench.toEdge));
    await bench.giveShards();
    return bench;
  }

  private appRecord(): AppRecord {
    return { v: 1, app: "demo", secrets: [], delivery: this.delivery, createdAtMs: 0 };
  }

  /** All shards, each under the next epoch. */
  async giveShards(): Promise<void> {
    const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
    this.node.view.table = PlacementTable.empty().withOwner(all, member, this.epoch - 1);
    this.system.tell(addressOn("dc1-t.i", "shards"), { kind: "PlacementChanged" });
    await this.clock.advanceAndSettle(10);
  }

  /** As to another owner: all groups close, and open under a higher epoch. */
  async giveAnew(): Promise<void> {
    this.epoch++;
    await this.giveShards();
  }

  /** The request is sent now; the promise is its answer once time has moved on. */
  push(uid: string, command: object): Promise<PushAnswer> {
    const key = sessionKey("demo", uid);
    const reply = `_INBOX.${this.replies++}`;
    return new Promise((resolve) => {
      const inbox = this.bus.subscribe(reply, ({ payload }) => {
        inbox.unsubscribe();
        resolve(unpackValue(payload) as PushAnswer);
      });
      this.bus.publish(shardPushSubject(shardOfKey(key), key), packValue(command), { reply });
    });
  }

  async pushAll(uid: string, commands: readonly object[]): Promise<PushAnswer[]> {
    const answers = commands.map((command) => this.push(uid, command));
    await this.clock.advanceAndSettle(10);
    return Promise.all(answers);
  }

  async tellSession(uid: string, message: FromEdge): Promise<void> {
    const key = sessionKey("demo", uid);
    const { epoch } = this;
    const envelope: ToSession = { kind: "ToSession", shard: shardOfKey(key), epoch, key, message };
    this.system.tell(addressOn("dc1-t.i", "shards"), envelope);
    await this.clock.advanceAndSettle(10);
  }

  async attach(uid: string, connection: number, changes: Partial<Attach> = {}): Promise<void> {
    await this.tellSession(uid, {
      kind: "Attach",
      edge: "dc1-t.i/edge",
      connection,
      device: "phone",
      platform: "ios",
      connect: connection,
      start: "all",
      ...changes,
    });
  }

  async ack(
    uid: string,
    connection: number,
    seq: number,
    generation = this.generation,
  ): Promise<void> {
    const position = { generation, seq };
    await this.tellSession(uid, { kind: "Acked", edge: "dc1-t.i/edge", connection, position });
  }

  /** Of the last `Attached`. */
  get generation(): number {
    const attached = this.toEdge.findLast((message) => message.kind === "Attached");
    return attached?.kind === "Attached" ? attached.base.generation : 0;
  }

  /** What one connection was sent: [prev, seq, body] each. */
  delivered(connection: number): (readonly [number, number, unknown])[] {
    const found: (readonly [number, number, unknown])[] = [];
    for (const message of this.toEdge) {
      if (message.kind !== "Deliver" || message.connection !== connection) continue;
      let { prev } = message;
      for (const [index, seq] of message.seqs.entries()) {
        const body = unpackRecord(message.records[index] as Uint8Array).body;
        found.push([prev, seq, body]);
        prev = seq;
      }
    }
    return found;
  }

  bodies(connection: number): unknown[] {
    return this.delivered(connection).map(([, , body]) => body);
  }

  async inbox(uid: string): Promise<readonly number[]> {
    const key: SessionKey = sessionKey("demo", uid);
    const shard = shardOfKey(key);
    const group = await this.store.openGroup(this.store.groupOf(shard));
    const stored = await group.loadSession(shard, key);
    return stored?.entries.map((entry) => entry.seq) ?? [];
  }
}
