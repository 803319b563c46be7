/**
 * `make run`: a whole system on this machine in the foreground. A private NATS
 * server (or the one of NATS_URL), two node processes, a demo app, and the lines
 * to paste. Starts again what dies, stops what it started.
 */
import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { join, relative, resolve } from "node:path";
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
import type { NodeReady } from "./node.js";
import { readSecretFile } from "./settings.js";
import { writePrivately } from "./setup/nats-secrets.js";
import { PrivateNats } from "./setup/private-nats.js";
import { RunInProgress, RunLedger } from "./setup/run-ledger.js";

/** This file runs as dist/src/main/run.js. */
const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));
const home = resolve(process.env["BELFRY_HOME"] ?? join(projectRoot, ".belfry"));
const nodeProgram = fileURLToPath(new URL("./node.js", import.meta.url));
const operatorName = "dev";
const nodeNames = ["a", "b"];
const restartDelayMs = 1_000;
const readyDeadlineMs = 60_000;
const stopGraceMs = 30_000;
const servedDeadlineMs = 30_000;

interface NatsAccess {
  readonly url: string;
  readonly user?: string;
  readonly passwordFile?: string;
  readonly inboxPrefix?: string;
}

class Run {
  private readonly children = new Map<string, ChildProcess>();
  private starting: Promise<void> = Promise.resolve();
  private stopping: Promise<void> | undefined;
  private nats: PrivateNats | undefined;
  private connection: NatsConnection | undefined;

  constructor(private readonly ledger: RunLedger) {}

  start(): Promise<void> {
    this.starting = this.startAll();
    return this.starting;
  }

  get isStopping(): boolean {
    return this.stopping !== undefined;
  }

  private async startAll(): Promise<void> {
    const access = await this.findNats();
    this.connection = await connectNats(natsOptions(access));
    await checkNats(this.connection, new NatsBus(this.connection));
    const apps = await openKeyValue(this.connection, "apps");
    await ensureDemoApp(apps);
    await this.followApps(apps);
    const environment = nodeEnvironment(access);
    const ready: NodeReady[] = [];
    for (const [index, name] of nodeNames.entries()) {
      const port = String(await portOrAny(8080 + index));
      ready.push(await this.startNode(name, { ...environment, BELFRY_PORT: port }));
    }
    await untilServed(new NatsBus(this.connection), () => this.isStopping);
    if (!this.isStopping) await this.report(access, ready);
  }

  private async findNats(): Promise<NatsAccess> {
    const url = given("NATS_URL");
    if (url !== undefined) {
      const user = given("BELFRY_NATS_USER");
      const passwordFile = given("BELFRY_NATS_PASSWORD_FILE");
      return {
        url,
        ...(user === undefined ? {} : { user, inboxPrefix: "_INBOX_node" }),
        ...(passwordFile === undefined ? {} : { passwordFile }),
      };
    }
    const { ledger } = this;
    this.nats = await PrivateNats.start({
      folder: join(home, "nats"),
      operators: [operatorName],
      apps: [demoApp],
      ledger,
      port: 4222,
    });
    void this.followNats(this.nats);
    const { user, pass, inboxPrefix } = this.nats.credentials("node");
    const passwordFile = join(home, "nats", "node.password");
    await writePrivately(passwordFile, pass);
    return { url: this.nats.url, user, passwordFile, inboxPrefix };
  }

  /** Same port, same data: the nodes come back to it by themselves. */
  private async followNats(nats: PrivateNats): Promise<void> {
    for (;;) {
      await nats.ended;
      if (this.isStopping) return;
      say("nats-server ended; starting it again");
      await new Promise((resolve) => setTimeout(resolve, restartDelayMs));
      if (this.isStopping) return;
      try {
        await nats.restart();
        say(`nats-server is back on ${nats.url}`);
      } catch (error) {
        say(`nats-server did not start: ${(error as Error).message}`);
      }
      // Told to stop meanwhile: `stopAll` has stopped the one before it.
      if (this.isStopping) await nats.stop();
    }
  }

  /** An app that is registered later gets its NATS user here: this process owns the server. */
  private async followApps(apps: KeyValue): Promise<void> {
    const { nats } = this;
    if (nats === undefined) return;
    const known = new Set([demoApp]);
    let queue = Promise.resolve();
    await apps.watch("", (app, entry) => {
      if (entry === undefined || known.has(app)) return;
      known.add(app);
      queue = queue
        .then(() => nats.addUsers({ operators: [operatorName], apps: [app] }))
        .catch((error) => say(`the NATS user of app ${app} was not made: ${error.message}`));
    });
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

  private async report(access: NatsAccess, nodes: readonly NodeReady[]): Promise<void> {
    const operator = this.nats?.credentials(`operator-${operatorName}`);
    const app = this.nats?.credentials(`app-${demoApp}`);
    const running = { version: 1, natsUrl: access.url, operator, app, nodes };
    await writePrivately(join(home, "running.json"), `${JSON.stringify(running, null, 2)}\n`);
    const page = nodes[0]?.httpUrl;
    say(`
Belfry runs: NATS on ${access.url}, nodes on ${nodes.map((node) => node.edgeUrl).join(" and ")}.

  1. Open the page, enter the name alice:       ${page}/demo/
  2. Push to her from another terminal:         npx belfry push demo alice '{"text":"hello"}'
  3. Look at her inbox:                         npx belfry user demo alice --json
  4. Look at the actors:                        npx belfry topology

From any NATS client: publish or request on push.demo.user.alice, e.g. {"body":"hello"}
(user and password of the demo app: ${relative(process.cwd(), join(home, "running.json"))}).
Ctrl-C stops everything.
`);
  }

  /** Resolves when everything is gone, however often it is called. */
  stop(): Promise<void> {
    this.stopping ??= this.stopAll();
    return this.stopping;
  }

  /** Nodes first, while they still have their bus; then NATS. */
  private async stopAll(): Promise<void> {
    await Promise.all([...this.children.values()].map(stopChild));
    // A start that was interrupted ends here: it starts no node any more.
    await this.starting.catch(() => undefined);
    await this.connection?.close();
    await this.nats?.stop();
    await rm(join(home, "running.json"), { force: true });
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

function nodeEnvironment(access: NatsAccess): NodeJS.ProcessEnv {
  const { url, user, passwordFile, inboxPrefix } = access;
  return {
    BELFRY_NATS_URL: url,
    ...(user === undefined ? {} : { BELFRY_NATS_USER: user }),
    ...(passwordFile === undefined ? {} : { BELFRY_NATS_PASSWORD_FILE: passwordFile }),
    ...(inboxPrefix === undefined ? {} : { BELFRY_NATS_INBOX_PREFIX: inboxPrefix }),
    BELFRY_DATA_FOLDER: join(home, "data"),
    BELFRY_DEMO: "true",
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

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(): Promise<void> {
  await mkdir(home, { recursive: true });
  const run = new Run(await RunLedger.claim(join(home, "run.json")));
  const stop = (code: number) => {
    run.stop().then(
      () => process.exit(code),
      (error) => {
        process.stderr.write(`belfry: ${error.stack ?? error}\n`);
        process.exit(1);
      },
    );
  };
  process.on("SIGINT", () => stop(0));
  process.on("SIGTERM", () => stop(0));
  process.on("SIGHUP", () => stop(0));
  try {
    await run.start();
  } catch (error) {
    if (run.isStopping) return;
    process.stderr.write(`belfry: ${(error as Error).message}\n`);
    stop(1);
  }
}

main().catch((error) => {
  // A folder that cannot be written is the user's to mend: its sentence names it.
  const isExpected = error instanceof RunInProgress || typeof error.code === "string";
  const text = isExpected ? error.message : (error.stack ?? String(error));
  process.stderr.write(`belfry: ${text}\n`);
  process.exit(1);
});
