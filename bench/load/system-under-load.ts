/**
 * What the unicast bench drives: Belfry, or the bare pipeline that it is compared
 * with. Each has a NATS server of its own, so that neither sees the other's pushes.
 */
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import { encodeDesk } from "../../src/protocol/operator-desk.js";
import { type SessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { operatorSubject } from "../../src/protocol/subjects.js";
import { type NatsFixture, startNats } from "../../test/support/nats-server.js";
import { app, type Platform, secret, startPlatform } from "../../test/support/platform.js";
import { type StoreServers, startStoreServers } from "../../test/support/store-servers.js";
import { decodeNodeRecord, nodeKey } from "../../topology/node-record.js";
import type { BareOptions } from "../bare-pipeline/wire.js";
import { temporaryFolder } from "../harness/temporary-folder.js";
import { Asking, WorkerProcess } from "../harness/worker-process.js";
import type { ClientsOptions } from "./clients.js";

export interface SystemUnderLoad extends AsyncDisposable {
  readonly name: string;
  readonly nats: NatsFixture;
  readonly speech: ClientsOptions["speech"];
  readonly edgeUrls: readonly string[];
  /** Its own processes, the NATS server among them. */
  readonly pids: Readonly<Record<string, number>>;
  /** Messages that are stored and not trimmed. */
  left(uids: readonly string[]): Promise<number>;
}

export { app, secret };

export class BelfryUnderLoad implements SystemUnderLoad {
  readonly speech = "belfry";
  private readonly asked = new WeakMap<ChildProcess, Asking>();

  private constructor(
    readonly name: string,
    readonly platform: Platform<NatsFixture>,
    private readonly folder: AsyncDisposable,
    private readonly servers?: StoreServers,
  ) {}

  /** `preload` is imported by each node, before its program. */
  static async start(
    preload?: string,
    nodes: readonly string[] = ["a", "b"],
    settings: Readonly<Record<string, string>> = {},
  ): Promise<BelfryUnderLoad> {
    const environment = { ...imported(preload), ...settings };
    const folder = temporaryFolder();
    // BENCH_RECEIPTS=1: services are told of each message that it was stored and acked.
    const events = process.env["BENCH_RECEIPTS"] === "1" ? { receipts: true } : {};
    const platform = await startPlatform({
      nodes,
      environment,
      isAsShipped: true,
      folder: folder.path,
      events,
    });
    return new BelfryUnderLoad("belfry", platform, folder);
  }

  /** With a Redis and a MariaDB of its own, as durable as a real one. */
  static async onRedisMysql(preload?: string): Promise<BelfryUnderLoad> {
    const servers = await startStoreServers();
    const folder = temporaryFolder();
    const environment = { ...servers.environment, ...imported(preload) };
    const options = { nodes: ["a", "b"], environment, isAsShipped: true, folder: folder.path };
    const platform = await startPlatform(options);
    return new BelfryUnderLoad("belfry on Redis + MySQL", platform, folder, servers);
  }

  get nats(): NatsFixture {
    return this.platform.nats;
  }

  get edgeUrls(): readonly string[] {
    return [...this.platform.nodes.values()].map((node) => node.edgeUrl);
  }

  get pids(): Record<string, number> {
    const nodes = [...this.platform.nodes.values()].map(({ name, pid }) => [`node-${name}`, pid]);
    const { servers } = this;
    const stores = servers && { mariadb: servers.mariadb.pid, redis: servers.redis.pid };
    return { nats: this.nats.pid, ...stores, ...Object.fromEntries(nodes) };
  }

  /** The nodes, for what `in-node.ts` serves there. */
  get asking(): Asking[] {
    return [...this.platform.nodes.values()].map(({ name, process }) => {
      const known = this.asked.get(process) ?? new Asking(`node-${name}`, process);
      this.asked.set(process, known);
      return known;
    });
  }

  async left(uids: readonly string[]): Promise<number> {
    const desks = await this.desks();
    let left = 0;
    for (const uid of uids) left += await this.inboxOf(uid, desks);
    return left;
  }

  /** What each node is asked as an operator. */
  private async desks(): Promise<string[]> {
    const { link } = this.platform;
    const bucket = await openKeyValue(link, "placement");
    const desks: string[] = [];
    for (const name of this.platform.nodes.keys()) {
      const stored = await bucket.get(nodeKey(`dc1-${name}`));
      const record = stored === undefined ? undefined : decodeNodeRecord(stored.value);
      if (record !== undefined) desks.push(operatorSubject(record.nodeId, record.incarnation));
    }
    return desks;
  }

  private async inboxOf(uid: string, desks: readonly string[]): Promise<number> {
    const bus = new NatsBus(this.platform.operator);
    for (const desk of desks) {
      const bytes = await bus.request(desk, encodeDesk({ kind: "user", app, uid }), 5_000);
      const answer = JSON.parse(new TextDecoder().decode(bytes)) as {
        ok: boolean;
        value?: { inbox: { messages: number } };
      };
      if (answer.ok && answer.value !== undefined) return answer.value.inbox.messages;
    }
    throw new Error(
      `no node shows the inbox of ${uid} (${shardOfKey(`${app}.${uid}` as SessionKey)})`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.platform[Symbol.asyncDispose]();
    await this.servers?.[Symbol.asyncDispose]();
    await this.folder[Symbol.asyncDispose]();
  }
}

function imported(preload: string | undefined): Record<string, string> {
  return preload === undefined ? {} : { NODE_OPTIONS: `--import=${preload}` };
}

export class BareUnderLoad implements SystemUnderLoad {
  readonly name = "bare";
  readonly speech = "bare";

  private constructor(
    readonly nats: NatsFixture,
    private readonly folder: AsyncDisposable,
    private readonly shard: WorkerProcess,
    private readonly edge: WorkerProcess,
    readonly edgeUrls: readonly string[],
  ) {}

  static async start(): Promise<BareUnderLoad> {
    const folder = temporaryFolder();
    const nats = await startNats({ apps: [app] });
    const { user, pass: password, inboxPrefix } = nats.credentials.node;
    const dataFolder = join(folder.path, "data");
    const options: BareOptions = { url: nats.url, user, password, inboxPrefix, dataFolder };
    const shard = WorkerProcess.start("bare-pipeline/shard.js");
    const edge = WorkerProcess.start("bare-pipeline/edge.js");
    await shard.ask("start", options);
    const edgeUrl = await edge.ask<string>("start", options);
    return new BareUnderLoad(nats, folder, shard, edge, [edgeUrl]);
  }

  get pids(): Record<string, number> {
    return { nats: this.nats.pid, shard: this.shard.pid, edge: this.edge.pid };
  }

  left(): Promise<number> {
    return this.shard.ask<number>("left");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.shard[Symbol.asyncDispose](), this.edge[Symbol.asyncDispose]()]);
    await this.nats.stop();
    await this.folder[Symbol.asyncDispose]();
  }
}
