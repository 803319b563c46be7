/**
 * A server program of Belfry's own beside NATS: Redis, MariaDB. It listens on one port of
 * 127.0.0.1, keeps everything in one folder, and never outlives the process that started
 * it: a watchdog waits on a pipe from here and ends the server when the pipe closes, which
 * the system does even after kill -9.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdir, open, readFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { RunLedger } from "./run-ledger.js";
import { endWithThisProcess } from "./watchdog.js";

/** This file runs as dist/src/main/setup/private-server.js. */
const scripts = fileURLToPath(new URL("../../../../scripts/", import.meta.url));

const readyDeadlineMs = 20_000;
const stopGraceMs = 10_000;
const probeEveryMs = 10;

export interface ServerPlan {
  readonly name: string;
  readonly program: string;
  readonly arguments: (folder: string, port: number) => readonly string[];
  /** Whether it serves; asked until it does. */
  readonly isReady: (port: number) => Promise<boolean>;
  /** Makes the first data where there is none, before the first start. */
  readonly prepare?: (folder: string) => Promise<void>;
}

export interface ServerOptions {
  readonly folder: string;
  /** Where its pid is noted for the next run. */
  readonly ledger?: RunLedger;
  /** What the watchdog ends it with; `KILL` where its data is gone with it. */
  readonly endSignal?: "TERM" | "KILL";
}

export class PrivateServer {
  private child: ChildProcess | undefined;
  private end: Promise<void> = Promise.resolve();

  private constructor(
    private readonly plan: ServerPlan,
    readonly port: number,
    private readonly options: ServerOptions,
  ) {}

  /** Resolves when it serves, at a free port that stays its own over restarts. */
  static async start(plan: ServerPlan, options: ServerOptions): Promise<PrivateServer> {
    await mkdir(options.folder, { recursive: true });
    await plan.prepare?.(options.folder);
    const server = new PrivateServer(plan, await freePort(), options);
    await server.restart();
    return server;
  }

  get folder(): string {
    return this.options.folder;
  }

  /** Of the process that runs now; 0 before the first. */
  get pid(): number {
    return this.child?.pid ?? 0;
  }

  /** Resolves when the process that runs now has ended, however it did. */
  get ended(): Promise<void> {
    return this.end;
  }

  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  /** Same port, same data; ends it before if it still runs. */
  async restart(): Promise<void> {
    await this.stop();
    const { plan, port } = this;
    const { folder, ledger, endSignal = "TERM" } = this.options;
    const log = await open(join(folder, "log"), "a");
    // In a group of its own: Ctrl-C is for who started it, who ends it in order.
    const child = spawn(plan.program, plan.arguments(folder, port), {
      cwd: folder,
      stdio: ["ignore", log.fd, log.fd],
      detached: true,
    });
    const { pid } = child;
    if (pid !== undefined) ledger?.record(plan.name, pid);
    this.child = child;
    this.end = new Promise((resolve) => {
      child.once("error", () => resolve());
      child.once("exit", () => {
        if (pid !== undefined) ledger?.forget(pid);
        resolve();
      });
    });
    await log.close();
    if (pid !== undefined) {
      endWithThisProcess(child, `kill -${endSignal} ${pid}; kill -CONT ${pid}`);
    }
    await this.untilReady(child);
  }

  /** Resolves when the process is gone; may be called again. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const { child } = this;
    if (child === undefined || isOver(child)) return;
    // Unwatched it would not keep this process alive until it has ended.
    child.ref();
    child.kill(signal);
    child.kill("SIGCONT");
    const killing = setTimeout(() => child.kill("SIGKILL"), stopGraceMs);
    await this.end;
    clearTimeout(killing);
  }

  private async untilReady(child: ChildProcess): Promise<void> {
    const { plan, port } = this;
    const deadlineMs = performance.now() + readyDeadlineMs;
    while (!(await plan.isReady(port))) {
      if (isOver(child)) throw new Error(`${plan.name} ended: ${await this.said()}`);
      if (performance.now() > deadlineMs) {
        child.kill("SIGKILL");
        throw new Error(`${plan.name} does not serve: ${await this.said()}`);
      }
      await delay(probeEveryMs);
    }
  }

  private async said(): Promise<string> {
    return (await readFile(join(this.folder, "log"), "utf8")).slice(-2_000);
  }
}

/**
 * The path that a script of scripts/ finds; where it finds none it unpacks one, if
 * `mayInstall`, or throws an Error that says what to install.
 */
export async function findProgram(script: string, mayInstall = false): Promise<string> {
  const options = mayInstall ? [] : ["--find"];
  try {
    const done = await promisify(execFile)(process.execPath, [join(scripts, script), ...options]);
    return done.stdout.trim();
  } catch (cause) {
    const { stderr } = cause as { stderr?: string };
    throw new Error(stderr?.trim() || `${script} failed`, { cause });
  }
}

function isOver(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
