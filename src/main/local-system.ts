/**
 * A whole system on this machine, as a topology says: private servers (or those that are
 * given by URL), node processes, the demo app. Starts again what dies, stops what it
 * started, and notes in `running.json` where everything is.
 */
import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { createServer } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Fault } from "../base/result.js";
import { NatsBus } from "../drivers/nats-bus.js";
import { connectNats, type NatsConnection, type NatsOptions } from "../drivers/nats-connection.js";
import { openKeyValue } from "../drivers/nats-key-value.js";
import type { KeyValue } from "../ports/key-value.js";
import { appRecordVersion, encodeAppRecord } from "../protocol/app-record.js";
import { partitionCount, type Shard, sessionKey } from "../protocol/shards.js";
import { shardPushSubject } from "../protocol/subjects.js";
import type { Bus } from "../runtime/ports.js";
import { checkNats } from "./check-nats.js";
import { demoApp } from "./demo-pages.js";
import { startStore } from "./local-store.js";
import type { NodeReady } from "./node.js";
import { readSecretFile } from "./settings.js";
import { writePrivately } from "./setup/nats-secrets.js";
import { PrivateNats } from "./setup/private-nats.js";
import type { PrivateServer } from "./setup/private-server.js";
import type { RunLedger } from "./setup/run-ledger.js";
import type { Topology } from "./topology-file.js";

const nodeProgram = fileURLToPath(new URL("./node.js", import.meta.url));
const operatorName = "dev";
const restartDelayMs = 1_000;
const readyDeadlineMs = 60_000;
const stopGraceMs = 30_000;
const servedDeadlineMs = 30_000;

export interface SystemPlan {
  /** Where what runs is noted. */
  readonly home: string;
  /** Where what is stored lies. */
  readonly folder: string;
  readonly topology: Topology;
  /** Where the topology was read; absent in a run in the foreground. */
  readonly topologyFile?: string;
}

/** For the lines that tell people what to do next. */
export interface RunningSystem {
  readonly natsUrl: string;
  readonly nodes: readonly NodeReady[];
  readonly noteFile: string;
}

/** What is started again when it ends. */
interface KeptServer {
  readonly port: number;
  readonly ended: Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

interface NatsAccess {
  readonly url: string;
  readonly user?: string;
  readonly passwordFile?: string;
  readonly inboxPrefix?: string;
}

export class LocalSystem {
  private readonly children = new Map<string, ChildProcess>();
  private readonly storeServers = new Map<string, PrivateServer>();
  private starting: Promise<RunningSystem | undefined> = Promise.resolve(undefined);
  private stopping: Promise<void> | undefined;
  private nats: PrivateNats | undefined;
  private connection: NatsConnection | undefined;

  constructor(
    private readonly plan: SystemPlan,
    private readonly ledger: RunLedger,
  ) {}

  /** Resolves when every shard is served; to nothing when it was stopped meanwhile. */
  start(): Promise<RunningSystem | undefined> {
    this.starting = this.startAll();
    return this.starting;
  }

  get isStopping(): boolean {
    return this.stopping !== undefined;
  }

  private async startAll(): Promise<RunningSystem | undefined> {
    const { topology, topologyFile, folder } = this.plan;
    const access = await this.findNats();
    this.connection = await connectNats(natsOptions(access));
    await checkNats(this.connection, new NatsBus(this.connection));
    const apps = await openKeyValue(this.connection, "apps");
    if (topology.demo) await ensureDemoApp(apps);
    await this.followApps(apps);
    const store = await startStore(topology.store, folder, this.ledger, this.storeServers);
    for (const [name, server] of this.storeServers) void this.keepRunning(name, server);
    const environment = nodeEnvironment(access, topology, store);
    const ready: NodeReady[] = [];
    for (const { name, port, machine } of topology.nodes) {
      if (machine !== undefined && machine !== hostname()) continue;
      // Of a run in the foreground nothing starts any more once it was told to stop.
      if (this.isStopping) return undefined;
      ready.push(await this.startNodeNear(port, name, environment));
    }
    await untilServed(new NatsBus(this.connection), () => this.isStopping);
    if (this.isStopping) return undefined;
    return this.note(access, ready, topologyFile);
  }

  private async findNats(): Promise<NatsAccess> {
    const { topology, folder } = this.plan;
    const outside = natsOutside(topology);
    if (outside !== undefined) return outside;
    const { ledger } = this;
    this.nats = await PrivateNats.start({
      folder: join(folder, "nats"),
      operators: [operatorName],
      apps: topology.demo ? [demoApp] : [],
      ledger,
      port: 4222,
    });
    void this.keepRunning("nats-server", this.nats);
    const { user, pass, inboxPrefix } = this.nats.credentials("node");
    const passwordFile = join(folder, "nats", "node.password");
    await writePrivately(passwordFile, pass);
    return { url: this.nats.url, user, passwordFile, inboxPrefix };
  }

  /** Same port, same data: the nodes come back to it by themselves. */
  private async keepRunning(name: string, server: KeptServer): Promise<void> {
    for (;;) {
      await server.ended;
      if (this.isStopping) return;
      say(`${name} ended; starting it again`);
      await delay(restartDelayMs);
      if (this.isStopping) return;
      try {
        await server.restart();
        say(`${name} is back on port ${server.port}`);
      } catch (error) {
        say(`${name} did not start: ${(error as Error).message}`);
      }
      // Told to stop meanwhile: `stopAll` has stopped the one before it.
      if (this.isStopping) await server.stop();
    }
  }

  /** An app that is registered later gets its NATS user here: this process owns the server. */
  private async followApps(apps: KeyValue): Promise<void> {
    const { nats } = this;
    if (nats === undefined) return;
    const known = new Set(this.plan.topology.demo ? [demoApp] : []);
    let queue = Promise.resolve();
    await apps.watch("", (app, entry) => {
      if (entry === undefined || known.has(app)) return;
      known.add(app);
      queue = queue
        .then(() => nats.addUsers({ operators: [operatorName], apps: [app] }))
        .catch((error) => say(`the NATS user of app ${app} was not made: ${error.message}`));
    });
  }

  private async startNodeNear(
    wanted: number,
    name: string,
    environment: NodeJS.ProcessEnv,
  ): Promise<NodeReady> {
    const startOn = (port: number) =>
      this.startNode(name, { ...environment, BELFRY_PORT: String(port) });
    const port = await portOrAny(wanted);
    try {
      return await startOn(port);
    } catch (error) {
      // Somebody else took it while the node started.
      if (port === 0 || (await portOrAny(port)) === port) throw error;
      return startOn(0);
    }
  }

  /** Rejects when it ends before it is ready; once it was ready it is started again. */
  private startNode(name: string, environment: NodeJS.ProcessEnv): Promise<NodeReady> {
    return new Promise((resolve, reject) => {
      if (this.isStopping) return reject(new Error("this run is stopping"));
      const child = fork(nodeProgram, [], {
        env: { ...process.env, ...environment, BELFRY_NAME: name },
        execArgv: ["--enable-source-maps"],
        // Ctrl-C goes to the launcher alone: it stops the nodes before the bus.
        detached: true,
      });
      if (child.pid !== undefined) this.ledger.record(`node ${name}`, child.pid);
      this.children.set(name, child);
      let ready: NodeReady | undefined;
      const late = setTimeout(() => {
        reject(new Error(`node ${name} was not ready within ${readyDeadlineMs / 1_000} s`));
        child.kill("SIGKILL");
      }, readyDeadlineMs);
      child.once("message", (message) => {
        clearTimeout(late);
        ready = message as NodeReady;
        resolve(ready);
      });
      child.once("exit", (code, signal) => {
        clearTimeout(late);
        if (child.pid !== undefined) this.ledger.forget(child.pid);
        this.children.delete(name);
        const how = signal ?? String(code);
        if (ready === undefined) return reject(new Error(`node ${name} ended (${how})`));
        // At its address, where its clients look for it.
        const { port } = new URL(ready.httpUrl);
        this.startAgain(name, { ...environment, BELFRY_PORT: port }, how);
      });
    });
  }

  private startAgain(name: string, environment: NodeJS.ProcessEnv, how: string): void {
    if (this.isStopping) return;
    say(`node ${name} ended (${how}); starting it again`);
    setTimeout(() => {
      if (this.isStopping) return;
      this.startNode(name, environment).then(
        (ready) => say(`node ${name} is back on ${ready.edgeUrl}`),
        () => this.startAgain(name, environment, "before it was ready"),
      );
    }, restartDelayMs);
  }

  private async note(
    { url: natsUrl }: NatsAccess,
    nodes: readonly NodeReady[],
    topology: string | undefined,
  ): Promise<RunningSystem> {
    const { nats, plan } = this;
    const credentials = nats && {
      natsFolder: nats.folder,
      operator: nats.credentials(`operator-${operatorName}`),
      ...(plan.topology.demo ? { app: nats.credentials(`app-${demoApp}`) } : {}),
    };
    const noteFile = join(plan.home, "running.json");
    const servers = [...this.storeServers].map(([name, { port, pid }]) => ({ name, port, pid }));
    const note = { version: 1, natsUrl, ...credentials, nodes, servers, topology };
    await writePrivately(noteFile, `${JSON.stringify(note, null, 2)}\n`);
    return { natsUrl, nodes, noteFile };
  }

  /** Resolves when everything is gone, however often it is called. */
  stop(): Promise<void> {
    this.stopping ??= this.stopAll();
    return this.stopping;
  }

  /** Nodes first, while they still have their bus and their store. */
  private async stopAll(): Promise<void> {
    await Promise.all([...this.children.values()].map(stopChild));
    // A start that was interrupted ends here: it starts no node any more.
    await this.starting.catch(() => undefined);
    await this.connection?.close();
    await this.nats?.stop();
    await Promise.all([...this.storeServers.values()].map((server) => server.stop()));
    await rm(join(this.plan.home, "running.json"), { force: true });
    this.ledger.release();
  }
}

function stopChild(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    const killing = setTimeout(() => child.kill("SIGKILL"), stopGraceMs);
    child.once("exit", () => {
      clearTimeout(killing);
      resolve();
    });
    child.kill("SIGTERM");
    // A paused node would sleep through it.
    child.kill("SIGCONT");
  });
}

function given(name: string): string | undefined {
  return process.env[name] || undefined;
}

/** A private server greets already, and one of others is there or is not. */
function natsOptions({ url, user, passwordFile, inboxPrefix }: NatsAccess): NatsOptions {
  const password = readSecretFile(passwordFile);
  return {
    url,
    name: "belfry run",
    firstConnectMs: 0,
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { password }),
    ...(inboxPrefix === undefined ? {} : { inboxPrefix }),
  };
}

/** A server that somebody else runs; undefined where the topology has one of its own. */
function natsOutside({ nats }: Topology): NatsAccess | undefined {
  const url = given("NATS_URL");
  if (url === undefined && nats === "private") return undefined;
  const servers = nats === "private" ? undefined : nats;
  const user = given("BELFRY_NATS_USER") ?? servers?.user;
  const passwordFile = given("BELFRY_NATS_PASSWORD_FILE") ?? servers?.passwordFile;
  return {
    url: url ?? servers?.url ?? "",
    ...(user === undefined ? {} : { user, inboxPrefix: "_INBOX_node" }),
    ...(passwordFile === undefined ? {} : { passwordFile }),
  };
}

function nodeEnvironment(
  access: NatsAccess,
  topology: Topology,
  store: NodeJS.ProcessEnv,
): NodeJS.ProcessEnv {
  const { url, user, passwordFile, inboxPrefix } = access;
  return {
    BELFRY_IDC: topology.idc,
    BELFRY_NATS_URL: url,
    ...(user === undefined ? {} : { BELFRY_NATS_USER: user }),
    ...(passwordFile === undefined ? {} : { BELFRY_NATS_PASSWORD_FILE: passwordFile }),
    ...(inboxPrefix === undefined ? {} : { BELFRY_NATS_INBOX_PREFIX: inboxPrefix }),
    ...store,
    BELFRY_DEMO: String(topology.demo),
    // Each volume's commit holds a thread of the pool for as long as the disk takes.
    UV_THREADPOOL_SIZE: process.env["UV_THREADPOOL_SIZE"] ?? "16",
    BELFRY_LOG_LEVEL: process.env["BELFRY_LOG_LEVEL"] ?? "warn",
  };
}

async function ensureDemoApp(apps: KeyValue): Promise<void> {
  const record = encodeAppRecord({
    v: appRecordVersion,
    app: demoApp,
    secrets: [{ kid: "first", secret: randomBytes(32).toString("base64url") }],
    delivery: "each-device",
    createdAtMs: Date.now(),
  });
  // CONFLICT: it is there from an earlier run, with its secrets.
  await apps.create(demoApp, record);
}

/** `wanted` where nobody listens there, else 0: the system chooses when the node listens. */
function portOrAny(wanted: number): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(0));
    probe.listen(wanted, "127.0.0.1", () => probe.close(() => resolve(wanted)));
  });
}

/** Shards of every volume have an owner that listens, so that what is printed works at once. */
async function untilServed(bus: Bus, isCancelled: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + servedDeadlineMs;
  // A user of another shard: refused before anything is stored, and not answered here.
  const user = sessionKey(demoApp, "nobody");
  const subjects = Array.from({ length: partitionCount }, (_, group) =>
    shardPushSubject(group as Shard, user),
  );
  while (!isCancelled()) {
    const heard = await Promise.all(subjects.map((subject) => isHeard(bus, subject)));
    if (heard.every(Boolean)) return;
    if (performance.now() > deadlineMs) return say("belfry: not every shard is served yet");
    await delay(20);
  }
}

/** Nobody there is known at once, by the server; who is there lets this request run out. */
async function isHeard(bus: Bus, subject: string): Promise<boolean> {
  try {
    await bus.request(subject, new Uint8Array(0), 200);
    return true;
  } catch (error) {
    return error instanceof Fault && error.code === "TIMEOUT";
  }
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
