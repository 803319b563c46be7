/**
 * A nats-server of Belfry's own: `make run` and the tests start theirs here.
 *
 * It listens on 127.0.0.1 at a free port, keeps everything in one folder, and
 * never outlives the process that started it: a watchdog waits on a pipe from
 * this process and ends the server when the pipe closes, which the system does
 * even after kill -9. Servers that others started are never touched.
 *
 *   folder/nats.conf, users.conf, apps.conf
 *                                  what it runs with; member.conf around it in a cluster
 *   folder/secrets.json            the users' passwords, mode 0600
 *   folder/data/                   JetStream
 *   folder/nats.log                what it says
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { globalAccount, platformAccount, renderApps, renderPlatform } from "./nats-accounts.js";
import { ensureSecrets, makePassword, type WantedUsers, writePrivately } from "./nats-secrets.js";
import { type NatsUser, type NatsUsersSpec, usersOf } from "./nats-users.js";
import type { RunLedger } from "./run-ledger.js";
import { endWithThisProcess } from "./watchdog.js";

/** The project's folder: this file runs as dist/src/main/setup/private-nats.js. */
const projectRoot = fileURLToPath(new URL("../../../../", import.meta.url));

const readyDeadlineMs = 15_000;
const stopGraceMs = 8000;
const probeEveryMs = 10;

export interface PrivateNatsOptions extends WantedUsers {
  readonly folder: string;
  /** Taken when it is free; any free one otherwise, and when none is given. */
  readonly port?: number;
  /** Where its pid is noted for the next run. */
  readonly ledger?: RunLedger;
  /** One of several servers that replicate JetStream among them; alone without it. */
  readonly cluster?: ClusterPlace;
}

export interface ClusterPlace {
  readonly clusterName: string;
  /** Different in each member, and the same at each of its starts. */
  readonly serverName: string;
  /** Where the other members connect, on 127.0.0.1. */
  readonly routePort: number;
  readonly otherRoutePorts: readonly number[];
}

export interface NatsCredentials {
  readonly user: string;
  readonly pass: string;
  /** The user may subscribe only to inboxes under it: hand it to the client. */
  readonly inboxPrefix: string;
}

/** A machine without a nats-server that is new enough; the message says what to do. */
export class NatsServerMissing extends Error {
  override readonly name = "NatsServerMissing";
}

const memberConfig = "member.conf";

let found: Promise<string> | undefined;

/** The path of a nats-server >= 2.10; looks once a process and installs nothing. */
export function findNatsServer(): Promise<string> {
  found ??= lookForNatsServer();
  return found;
}

async function lookForNatsServer(): Promise<string> {
  const script = join(projectRoot, "scripts", "ensure-nats.mjs");
  try {
    const done = await promisify(execFile)(process.execPath, [script, "--find"]);
    return done.stdout.trim();
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    throw new NatsServerMissing(stderr?.trim() || "nats-server was not found", { cause: error });
  }
}

export class PrivateNats {
  private constructor(
    readonly folder: string,
    readonly port: number,
    private users: readonly NatsUser[],
    private child: ServerProcess,
    private readonly options: PrivateNatsOptions,
  ) {}

  /** Resolves when the server greets; throws when it is missing or ends before. */
  static async start(options: PrivateNatsOptions): Promise<PrivateNats> {
    await findNatsServer();
    const folder = resolve(options.folder);
    await mkdir(folder, { recursive: true });
    await copyFile(join(projectRoot, "nats.conf"), join(folder, "nats.conf"));
    if (options.cluster !== undefined) {
      await writeFile(join(folder, memberConfig), renderMember(options.cluster));
    }
    const spec = await ensureSecrets(join(folder, "secrets.json"), options);
    const users = await writeUsers(folder, spec);
    await takeOverStreams(join(folder, "data", "jetstream"));
    const wanted = options.port !== undefined && (await isFree(options.port)) ? options.port : -1;
    const child = await ServerProcess.start(folder, wanted, options);
    return new PrivateNats(folder, child.port, users, child, options);
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.child.pid;
  }

  /** Of `node`, `operator-<name>` or `app-<app>`; throws for a user that it does not have. */
  credentials(user: string): NatsCredentials {
    const known = this.users.find((each) => each.user === user);
    if (known === undefined) throw new Error(`this nats-server has no user ${user}`);
    return { user, pass: known.password, inboxPrefix: known.inboxPrefix };
  }

  /**
   * Adds users while the server runs; connections of the others stay open. For an instant of
   * the reload nobody takes what apps publish: a request may be answered no responders.
   */
  async addUsers(wanted: WantedUsers): Promise<void> {
    const spec = await ensureSecrets(join(this.folder, "secrets.json"), wanted);
    const known = new Set(this.users.map(({ user }) => user));
    // nats-server (seen in 2.10.27; configureAccounts in its server.go) activates the service
    // imports of an account only with the reload after the one that brought the account. So the
    // first one brings it with a password that nobody has: whoever gets in can also push.
    const apps = spec.apps.map(({ app, password }) => ({
      app,
      password: known.has(`app-${app}`) ? password : makePassword(),
    }));
    await writeUsers(this.folder, { ...spec, apps });
    await this.child.reload();
    this.users = await writeUsers(this.folder, spec);
    await this.child.reload();
  }

  /** For tests of faults: SIGSTOP, SIGCONT, SIGKILL. */
  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Stops it if it still runs and starts it on the same port and data. */
  async restart(): Promise<void> {
    await this.child.stop();
    this.child = await ServerProcess.start(this.folder, this.port, this.options);
  }

  /** Resolves when the process that runs now has ended, however it did. */
  get ended(): Promise<void> {
    return this.child.ended;
  }

  /** Resolves when the process is gone; may be called again. */
  stop(): Promise<void> {
    return this.child.stop();
  }
}

/** What differs in a member of a cluster; the rest is nats.conf, as everywhere. */
function renderMember(place: ClusterPlace): string {
  const routes = place.otherRoutePorts.map((port) => `"nats-route://127.0.0.1:${port}"`);
  return `include "nats.conf"
server_name: "${place.serverName}"
cluster: {
  name: "${place.clusterName}"
  listen: "127.0.0.1:${place.routePort}"
  routes: [${routes.join(", ")}]
}
`;
}

/** What a single server kept before the platform had an account of its own. */
async function takeOverStreams(folder: string): Promise<void> {
  const [before, now] = [join(folder, globalAccount), join(folder, platformAccount)];
  if (existsSync(before) && !existsSync(now)) await rename(before, now);
}

async function writeUsers(folder: string, spec: NatsUsersSpec): Promise<NatsUser[]> {
  await writePrivately(join(folder, "users.conf"), renderPlatform(spec));
  await writePrivately(join(folder, "apps.conf"), renderApps(spec));
  return usersOf(spec);
}

/** One process from its start to its end; a restart makes another. */
class ServerProcess {
  readonly ended: Promise<void>;

  private constructor(
    private readonly child: ChildProcess,
    readonly pid: number,
    readonly port: number,
    private readonly folder: string,
  ) {
    this.ended = endOf(child);
  }

  static async start(
    folder: string,
    port: number,
    { cluster, ledger }: PrivateNatsOptions,
  ): Promise<ServerProcess> {
    const config = join(folder, cluster === undefined ? "nats.conf" : memberConfig);
    const portsFolder = join(folder, "ports");
    await rm(portsFolder, { recursive: true, force: true });
    await mkdir(portsFolder);
    const log = await open(join(folder, "nats.log"), "a");
    const logStart = (await log.stat()).size;
    const child = spawn(
      await findNatsServer(),
      ["-c", config, "-p", String(port), "--ports_file_dir", portsFolder],
      // In its folder, because nats.conf names the data's by a relative path. In a group
      // of its own, because Ctrl-C is for the nodes first, which still need the bus.
      { cwd: folder, stdio: ["ignore", log.fd, log.fd], detached: true },
    );
    const { pid } = child;
    if (pid !== undefined) ledger?.record("nats-server", pid);
    child.once("exit", () => pid !== undefined && ledger?.forget(pid));
    child.once("error", () => undefined);
    await log.close();
    if (pid === undefined) throw new NatsServerMissing("nats-server could not be started");
    endWithThisProcess(child, `kill -TERM ${pid}; kill -CONT ${pid}`);
    try {
      return new ServerProcess(child, pid, await untilReady(child, portsFolder), folder);
    } catch (error) {
      child.kill("SIGKILL");
      const said = await readFile(join(folder, "nats.log"), "utf8");
      throw new Error(`nats-server did not start: ${said.slice(logStart).slice(-2000)}`, {
        cause: error,
      });
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Resolves when the server has said that it has read its configuration again. */
  async reload(): Promise<void> {
    const log = join(this.folder, "nats.log");
    const before = (await readFile(log, "utf8")).length;
    this.child.kill("SIGHUP");
    await until("nats-server has read its users again", async () => {
      const said = (await readFile(log, "utf8")).slice(before);
      // Other errors are other people's: somebody may try a password that is not read yet.
      if (said.includes("Failed to reload server configuration")) {
        throw new Error(`nats-server refused its users: ${said}`);
      }
      return said.includes("Reloaded server configuration") ? true : undefined;
    });
  }

  async stop(): Promise<void> {
    this.child.kill("SIGTERM");
    this.child.kill("SIGCONT");
    const killing = setTimeout(() => this.child.kill("SIGKILL"), stopGraceMs);
    await this.ended;
    clearTimeout(killing);
  }
}

function endOf(child: ChildProcess): Promise<void> {
  return new Promise((done) => {
    if (child.exitCode !== null || child.signalCode !== null) return done();
    child.once("exit", () => done());
  });
}

/** The port it listens on, once it greets there. */
function untilReady(child: ChildProcess, portsFolder: string): Promise<number> {
  return until("nats-server greets", async () => {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`it ended with ${child.exitCode ?? child.signalCode}`);
    }
    const port = await readPort(portsFolder);
    return port !== undefined && (await greets(port)) ? port : undefined;
  });
}

/** Asks again until there is an answer; throws after the deadline. */
async function until<Value>(what: string, probe: () => Promise<Value | undefined>): Promise<Value> {
  const deadlineMs = performance.now() + readyDeadlineMs;
  for (;;) {
    const answer = await probe();
    if (answer !== undefined) return answer;
    if (performance.now() > deadlineMs) throw new Error(`waited in vain until ${what}`);
    await delay(probeEveryMs);
  }
}

async function readPort(portsFolder: string): Promise<number | undefined> {
  const name = (await readdir(portsFolder)).find((entry) => entry.endsWith(".ports"));
  if (name === undefined) return undefined;
  const text = await readFile(join(portsFolder, name), "utf8");
  const port = /nats:\/\/127\.0\.0\.1:(\d+)/.exec(text)?.[1];
  return port === undefined ? undefined : Number(port);
}

/** A NATS server speaks first, with its INFO line. */
function greets(port: number): Promise<boolean> {
  return new Promise((answered) => {
    const socket = connect({ host: "127.0.0.1", port });
    const end = (answer: boolean) => {
      socket.destroy();
      answered(answer);
    };
    socket.once("data", (bytes) => end(bytes.toString("latin1").startsWith("INFO ")));
    socket.once("error", () => end(false));
    socket.once("close", () => end(false));
    socket.setTimeout(1000, () => end(false));
  });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((answered) => {
    const probe = createServer();
    probe.once("error", () => answered(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => answered(true)));
  });
}
