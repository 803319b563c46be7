/**
 * The shards of one node on virtual time, with a store in memory and a recorder in
 * the place of the edge: what a session answers and sends can be read off.
 */
import { DeliveryJournal } from "../../actors/delivery-journal.js";
import type { NodeLanes } from "../../actors/lane-limits.js";
import { defaultLimits, type Limits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { PlacementView } from "../../actors/placement-view.js";
import { ShardHost } from "../../actors/shard-host.js";
import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { MemoryEvents } from "../../src/drivers/memory-events.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type {
  Change,
  DeviceRecord,
  Due,
  InboxGroup,
  InboxStore,
  StoredSession,
} from "../../src/ports/inbox-store.js";
import type { AppRecord } from "../../src/protocol/app-record.js";
import type { AppEvents, AppLimits } from "../../src/protocol/app-settings.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import type { InboxAnswer } from "../../src/protocol/inbox-answer.js";
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
import { shardInboxSubject, shardPushSubject } from "../../src/protocol/subjects.js";
import { Actor } from "../../src/runtime/actor.js";
import { addressOn } from "../../src/runtime/address.js";
import type { ActorKind } from "../../src/runtime/kind.js";
import { ActorSystem } from "../../src/runtime/system.js";
import type { NodeRecord } from "../../topology/node-record.js";
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
  readonly events = new MemoryEvents(this.clock);
  readonly toEdge: ToEdge[] = [];
  readonly crashes: string[] = [];
  readonly warnings: string[] = [];
  readonly journal = new DeliveryJournal({ nodeId: "dc1-t", clock: this.clock, sampleOneIn: 1 });
  readonly system: ActorSystem;
  private readonly node: NodeContext;
  private epoch = 0;
  private replies = 0;
  delivery: AppRecord["delivery"] = "each-device";
  wishes: AppEvents = {};
  readonly registered = new Set(["demo", "other"]);
  /** Of the app `demo`; the app `other` has none. */
  appLimits: AppLimits = {};

  /** `path`: the node's way to the store. */
  private constructor(
    limits: Partial<Limits>,
    store: MemoryInbox,
    chance: number,
    path: InboxStore,
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
      store: path,
      placement: never as never,
      apps: { find: (app) => this.appRecord(app) },
      events: this.events,
      journal: this.journal,
      tokens: never as never,
      transport: never as never,
      limits: { ...defaultLimits, ...limits },
      log: {
        ...{ debug: () => {}, info: () => {}, error: () => {} },
        warn: (message, fields) =>
          void this.warnings.push(`${message} ${JSON.stringify(fields ?? {})}`),
      },
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
    path: InboxStore = store,
    lanesOf?: (clock: VirtualClock) => NodeLanes,
  ): Promise<ShardBench> {
    const bench = new ShardBench(limits, store, chance, path, lanesOf);
    bench.system.spawnRoot("shards", () => new ShardHost(bench.node));
    bench.system.spawnRoot("edge", () => new Recorder(bench.toEdge));
    await bench.giveShards();
    return bench;
  }

  private appRecord(app: string): AppRecord | undefined {
    const record = { v: 1, app, secrets: [], delivery: this.delivery, createdAtMs: 0 };
    if (!this.registered.has(app)) return undefined;
    if (app === "other") return record;
    return { ...record, limits: this.appLimits, events: this.wishes };
  }

  /** All shards, each under the next epoch. */
  async giveShards(): Promise<void> {
    const all = Array.from({ length: shardCount }, (_, shard) => shard as Shard);
    this.node.view.table = PlacementTable.empty().withOwner(all, member, this.epoch);
    this.epoch += 1;
    await this.tellPlacementChanged();
  }

  /** As to another owner: all groups close, and open under a higher epoch. */
  async giveAnew(): Promise<void> {
    this.epoch++;
    await this.giveShards();
  }

  /** The request is sent now; the promise is its answer once time has moved on. */
  push(uid: string, command: object, app = "demo"): Promise<PushAnswer> {
    const key = sessionKey(app, uid);
    return this.request(shardPushSubject(shardOfKey(key), key), command) as Promise<PushAnswer>;
  }

  /** Likewise of the user's inbox. */
  askInbox(uid: string, request: object): Promise<InboxAnswer> {
    const key = sessionKey("demo", uid);
    return this.request(shardInboxSubject(shardOfKey(key), key), request) as Promise<InboxAnswer>;
  }

  async ofInbox<Answer extends InboxAnswer>(uid: string, request: object): Promise<Answer> {
    const answer = this.askInbox(uid, request);
    await this.clock.advanceAndSettle(10);
    return (await answer) as Answer;
  }

  private request(subject: string, request: object): Promise<unknown> {
    const reply = `_INBOX.${this.replies++}`;
    return new Promise((resolve) => {
      const inbox = this.bus.subscribe(reply, ({ payload }) => {
        inbox.unsubscribe();
        resolve(unpackValue(payload));
      });
      this.bus.publish(subject, packValue(request), { reply });
    });
  }

  /** Whoever subscribes `reply` sees every answer. */
  publishWith(uid: string, command: object, reply: string): void {
    const key = sessionKey("demo", uid);
    this.bus.publish(shardPushSubject(shardOfKey(key), key), packValue(command), { reply });
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

  async dueOf(uid: string): Promise<readonly Due[]> {
    const key = sessionKey("demo", uid);
    const due = await (await this.groupOf(key)).readDue(
      shardOfKey(key),
      Number.MAX_SAFE_INTEGER,
      100,
    );
    return due.filter((one) => one.key === key);
  }

  async inbox(uid: string): Promise<readonly number[]> {
    const stored = await this.stored(uid);
    return stored?.entries.map((entry) => entry.seq) ?? [];
  }

  async devices(uid: string): Promise<readonly DeviceRecord[]> {
    return (await this.stored(uid))?.record.devices ?? [];
  }

  async stored(uid: string): Promise<StoredSession | undefined> {
    const key = sessionKey("demo", uid);
    return (await this.groupOf(key)).loadSession(shardOfKey(key), key);
  }

  /** Those of one kind, in order, as the store has logged them. */
  async changesOf<Kind extends Change["kind"]>(
    uid: string,
    kind: Kind,
  ): Promise<readonly Extract<Change, { kind: Kind }>[]> {
    const key = sessionKey("demo", uid);
    const changes = await (await this.groupOf(key)).readChanges(shardOfKey(key), 0, 10_000);
    return changes
      .filter((numbered) => numbered.key === key)
      .flatMap(({ change }) => (change.kind === kind ? [change] : []) as never[]);
  }

  groupOf(key: SessionKey): Promise<InboxGroup> {
    return this.store.openGroup(this.store.groupOf(shardOfKey(key)));
  }

  /** The edge comes up: it is called to attach, and never confirms. */
  async callEdge(): Promise<void> {
    this.node.view.nodes.set(member.nodeId, member as NodeRecord);
    await this.tellPlacementChanged();
  }

  /** The edge is gone, with all its connections. */
  async loseEdge(): Promise<void> {
    await this.callEdge();
    this.node.view.nodes.delete(member.nodeId);
    await this.tellPlacementChanged();
  }

  private async tellPlacementChanged(): Promise<void> {
    this.system.tell(addressOn("dc1-t.i", "shards"), { kind: "PlacementChanged" });
    await this.clock.advanceAndSettle(10);
  }
}
