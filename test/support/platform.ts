/**
 * A whole platform for one test: a private NATS server, node processes on free
 * ports, one registered app. Everything it starts it stops, by process id.
 *
 *   await using platform = await startPlatform({ nodes: ["a", "b"] });
 *   const answer = await platform.push("alice", { body: "hello" });
 */
import { type ChildProcess, fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { tableKey } from "../../actors/membership.js";
import { createDevice, type Device, type DeviceOptions } from "../../src/client/device-client.js";
import { JwtTokens } from "../../src/drivers/jwt-tokens.js";
import { volumeCount } from "../../src/drivers/lmdb-inbox.js";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { connectNats, type NatsConnection } from "../../src/drivers/nats-connection.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import type { NodeReady } from "../../src/main/node.js";
import {
  type AppRecord,
  appRecordVersion,
  encodeAppRecord,
} from "../../src/protocol/app-record.js";
import type { AppEvents } from "../../src/protocol/app-settings.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { decodeMsgId } from "../../src/protocol/msg-id.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { type Shard, shardCount } from "../../src/protocol/shards.js";
import { pushUserSubject } from "../../src/protocol/subjects.js";
import { decodeNodeRecord, type NodeRecord, nodeKey } from "../../topology/node-record.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { withLimits } from "./changed-limits.js";
import { type NatsCluster, startNatsCluster } from "./nats-cluster.js";
import { type NatsFixture, type NatsServers, startNats } from "./nats-server.js";
import { readPlacementRecord } from "./placement-record.js";
import { until } from "./until.js";

/**
 * A busy machine stops a node for longer now and then than one bears as it is shipped: who
 * outsleeps its lease is killed by who takes its volumes, who lags refuses pushes and
 * handshakes for a while and is unwell. Tests are rarely about that.
 */
export const patientLeaseMs = 6_000;
const patientLagMs = 60_000;

const nodeProgram = fileURLToPath(new URL("../../src/main/node.js", import.meta.url));

export interface PlatformOptions {
  readonly nodes?: readonly string[];
  /** Kept at the end where given. */
  readonly folder?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** What the app's services are told; nothing unless given. */
  readonly events?: AppEvents;
  /** Without the patience with a busy machine that nodes of tests have otherwise. */
  readonly isAsShipped?: boolean;
  /** Takes each line that a node logs, which otherwise go to standard error. */
  readonly onLog?: OnLog;
}

export type OnLog = (node: string, line: string) => void;

export interface PlatformNode {
  readonly name: string;
  readonly pid: number;
  readonly httpUrl: string;
  readonly edgeUrl: string;
  readonly process: ChildProcess;
}

export const app = "demo";
export const secret = { kid: "test", secret: "a secret of at least thirty-two bytes" };

export class Platform<Nats extends NatsServers = NatsServers> implements AsyncDisposable {
  readonly nodes = new Map<string, PlatformNode>();
  private readonly devices: Device[] = [];

  private constructor(
    readonly folder: string,
    private readonly isKept: boolean,
    readonly nats: Nats,
    /** As the user `node`; tests look and publish with it. */
    readonly link: NatsConnection,
    readonly operator: NatsConnection,
    private readonly environment: Readonly<Record<string, string>>,
    private readonly onLog: OnLog | undefined,
  ) {}

  static async start<Nats extends NatsServers>(
    options: PlatformOptions,
    startServers: (folder: string) => Promise<Nats>,
  ): Promise<Platform<Nats>> {
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "belfry-test-")));
    const nats = await startServers(join(folder, "nats"));
    const link = await connect(nats, "node");
    const operator = await connect(nats, "operator-test");
    const platform = new Platform(
      folder,
      options.folder !== undefined,
      nats,
      link,
      operator,
      options.environment ?? {},
      options.onLog,
    );
    const { events } = options;
    await platform.registerApp(events === undefined ? {} : { events });
    const names = options.nodes ?? ["a", "b"];
    await Promise.all(names.map((name) => platform.startNode(name)));
    if (names.length === 0) return platform;
    await platform.untilPlaced();
    // A move that is still to come would change owners in the middle of some test.
    await platform.untilEven();
    return platform;
  }

  async registerApp(changes: Partial<AppRecord>): Promise<void> {
    const apps = await openKeyValue(this.link, "apps");
    const record = {
      v: appRecordVersion,
      app,
      secrets: [secret],
      delivery: "each-device",
      createdAtMs: 0,
      ...changes,
    } as const;
    await apps.create(record.app, encodeAppRecord(record));
  }

  /** `environment`, `execPath` (what is run in place of Node) and `program` are this start's alone. */
  async startNode(
    name: string,
    environment: Readonly<Record<string, string>> = {},
    execPath = process.execPath,
    program = nodeProgram,
  ): Promise<PlatformNode> {
    const passwordFile = join(this.folder, "node.password");
    const { user, pass, inboxPrefix } = this.nats.credentials.node;
    await writeFile(passwordFile, pass, { mode: 0o600 });
    const { onLog } = this;
    const child = fork(program, [], {
      execPath,
      execArgv: ["--enable-source-maps"],
      stdio: ["inherit", "inherit", onLog === undefined ? "inherit" : "pipe", "ipc"],
      env: {
        ...process.env,
        BELFRY_NAME: name,
        BELFRY_NATS_URL: this.nats.url,
        BELFRY_NATS_USER: user,
        BELFRY_NATS_PASSWORD_FILE: passwordFile,
        BELFRY_NATS_INBOX_PREFIX: inboxPrefix,
        BELFRY_DATA_FOLDER: join(this.folder, "data"),
        BELFRY_PORT: "0",
        UV_THREADPOOL_SIZE: "16",
        BELFRY_LOG_LEVEL: process.env["BELFRY_LOG_LEVEL"] ?? "error",
        ...this.environment,
        ...environment,
      },
    });
    if (child.stderr !== null && onLog !== undefined) {
      createInterface({ input: child.stderr }).on("line", (line) => onLog(name, line));
    }
    const ready = await new Promise<NodeReady>((resolve, reject) => {
      child.once("message", (message) => resolve(message as NodeReady));
      child.once("exit", (code) => reject(new Error(`node ${name} ended with ${code}`)));
    });
    const { httpUrl, edgeUrl } = ready;
    const node = { name, pid: child.pid ?? 0, httpUrl, edgeUrl, process: child };
    this.nodes.set(name, node);
    child.once("exit", () => {
      if (this.nodes.get(name) === node) this.nodes.delete(name);
    });
    return node;
  }

  node(name: string): PlatformNode {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`no node ${name} runs`);
    return node;
  }

  async killNode(name: string, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const { process: child } = this.node(name);
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await gone;
  }

  /** Stops every process, the NATS server too; `startAgain` brings them back on the same data. */
  async stopAll(): Promise<string[]> {
    const names = [...this.nodes.keys()];
    await Promise.all(names.map((name) => this.killNode(name, "SIGTERM")));
    this.nats.kill("SIGTERM");
    return names;
  }

  async startAgain(names: readonly string[]): Promise<void> {
    await this.nats.restart();
    await until(
      "the connections are back",
      () => this.link.isConnected && this.operator.isConnected,
    );
    await Promise.all(names.map((name) => this.startNode(name)));
    await this.untilPlaced();
  }

  /** Every volume answers: one probe user in each. */
  async untilPlaced(): Promise<void> {
    const volumes = new Set<number>();
    for (let index = 0; volumes.size < 8; index++) {
      const uid = `probe-${index}`;
      const answer = await until(`the shard of ${uid} answers`, async () => {
        const given = await this.tryPush(uid, { body: 0, qos: 0 });
        return given?.ok ? given : undefined;
      });
      if (answer.ok) volumes.add((decodeMsgId(answer.id)?.shard ?? 0) % 8);
      if (index > 500) throw new Error("a volume without a probe user");
    }
  }

  /** Each running node serves its share of the volumes, give or take one. */
  async untilEven(): Promise<void> {
    const names = [...this.nodes.keys()];
    await until("the shards are placed evenly", async () => {
      const counts = await this.shardCounts();
      const shares = names.map((name) => counts.get(`dc1-${name}`) ?? 0);
      const sum = shares.reduce((one, other) => one + other, 0);
      if (sum !== shardCount) return false;
      return Math.max(...shares) - Math.min(...shares) <= shardCount / volumeCount;
    });
  }

  async nodeRecord(nodeId: string): Promise<NodeRecord> {
    const entry = await readPlacementRecord(this.link, nodeKey(nodeId));
    const record = entry && decodeNodeRecord(entry.value);
    if (record === undefined) throw new Error(`${nodeId} has no record`);
    return record;
  }

  /** How many shards each node serves, by the table. */
  async shardCounts(): Promise<Map<string, number>> {
    const entry = await readPlacementRecord(this.link, tableKey);
    const table = entry && PlacementTable.decode(entry.value);
    const counts = new Map<string, number>();
    for (let shard = 0; table?.ok && shard < shardCount; shard++) {
      const owner = table.value.ownerOf(shard as Shard);
      if (owner === undefined || owner.state !== "serving") continue;
      counts.set(owner.nodeId, (counts.get(owner.nodeId) ?? 0) + 1);
    }
    return counts;
  }

  /** Throws when nobody answers, in more time than a node gives itself to. */
  async push(uid: string, command: object, timeoutMs = 20_000): Promise<PushAnswer> {
    const bytes = packValue(command);
    const answer = await new NatsBus(this.operator).request(
      pushUserSubject(app, uid),
      bytes,
      timeoutMs,
    );
    return unpackValue(answer) as PushAnswer;
  }

  async tryPush(uid: string, command: object, timeoutMs = 1_000): Promise<PushAnswer | undefined> {
    try {
      return await this.push(uid, command, timeoutMs);
    } catch {
      return undefined;
    }
  }

  async token(uid: string, claims: Record<string, unknown> = {}): Promise<string> {
    const exp = Math.floor(Date.now() / 1_000) + 600;
    const all = { app, sub: uid, exp, jti: randomUUID(), ...claims };
    return new JwtTokens({ find: () => undefined }).sign(all, secret);
  }

  /** Connects to the node of that name, or to each in turn; closed with the platform. */
  device(uid: string, options: Partial<DeviceOptions> & Pick<DeviceOptions, "onMessage">): Device {
    const device = createDevice({
      urls: [...this.nodes.values()].map((node) => node.edgeUrl),
      getToken: () => this.token(uid),
      socket: WebSocket as unknown as NonNullable<DeviceOptions["socket"]>,
      start: "all",
      storage: memoryStorage(),
      backoff: { baseMs: 50, capMs: 500 },
      ...options,
    });
    this.devices.push(device);
    device.connect();
    return device;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const device of this.devices) device.close();
    for (const { process: child } of this.nodes.values()) child.kill("SIGCONT");
    await Promise.all([...this.nodes.keys()].map((name) => this.killNode(name, "SIGTERM")));
    await Promise.all([this.link.close(), this.operator.close()]);
    await this.nats.stop();
    if (!this.isKept) await rm(this.folder, { recursive: true, force: true });
  }
}

export function startPlatform(options: PlatformOptions = {}): Promise<Platform<NatsFixture>> {
  const { isAsShipped = false, environment = {} } = options;
  const patient = { BELFRY_LEASE_MS: String(patientLeaseMs), ...bearingLag(environment) };
  const own = isAsShipped ? environment : patient;
  return Platform.start({ ...options, environment: own }, (folder) =>
    startNats({ folder, apps: [app] }),
  );
}

/** On three NATS servers in place of one. */
export function startClusterPlatform(
  options: PlatformOptions = {},
): Promise<Platform<NatsCluster>> {
  // The lease on a cluster is long as it is shipped.
  const environment = bearingLag(options.environment ?? {});
  return Platform.start({ ...options, environment }, (folder) =>
    startNatsCluster({ folder, apps: [app] }),
  );
}

function bearingLag(given: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const limits = withLimits({ loopLagMaxMs: patientLagMs, acceptLagMaxMs: patientLagMs });
  const imports = [process.env["NODE_OPTIONS"], limits.NODE_OPTIONS, given["NODE_OPTIONS"]];
  return {
    ...limits,
    ...given,
    NODE_OPTIONS: imports.filter((each) => each !== undefined).join(" "),
  };
}

function connect(nats: NatsServers, name: string): Promise<NatsConnection> {
  const { user, pass, inboxPrefix } = nats.credentials.user(name);
  return connectNats({ url: nats.url, name: "test", user, password: pass, inboxPrefix });
}

export function memoryStorage() {
  const values = new Map<string, string>();
  return {
    get: (key: string) => values.get(key) ?? null,
    set: (key: string, value: string) => void values.set(key, value),
  };
}
