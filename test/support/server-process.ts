/**
 * A server program of a test, on a port of 127.0.0.1 that stays its own over restarts,
 * and in a folder that is gone with it. It never outlives the test's process: a
 * watchdog waits on a pipe from here and kills the server when the pipe closes, which
 * the system does even after kill -9.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { endWithThisProcess } from "../../src/main/setup/watchdog.js";
import { until } from "./until.js";

export interface ServerPlan {
  readonly name: string;
  readonly program: string;
  readonly arguments: (folder: string, port: number) => readonly string[];
  /** Whether it serves; asked until it does. */
  readonly isReady: (port: number) => Promise<boolean>;
  /** Makes the first data, before the first start. */
  readonly prepare?: (folder: string) => Promise<void>;
}

export class ServerProcess implements AsyncDisposable {
  private child: ChildProcess | undefined;

  private constructor(
    private readonly plan: ServerPlan,
    readonly folder: string,
    readonly port: number,
    private readonly clear: () => void,
  ) {}

  static async start(plan: ServerPlan): Promise<ServerProcess> {
    const folder = await mkdtemp(join(tmpdir(), `belfry-test-${plan.name}-`));
    const clear = () => rmSync(folder, { recursive: true, force: true });
    process.once("exit", clear);
    await plan.prepare?.(folder);
    const server = new ServerProcess(plan, folder, await freePort(), clear);
    await server.restart();
    return server;
  }

  get pid(): number {
    return this.child?.pid ?? 0;
  }

  /** SIGSTOP, SIGCONT; for SIGKILL rather `crash`, which waits for the end. */
  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  /** kill -9; resolves when the process is gone. */
  async crash(): Promise<void> {
    await this.end("SIGKILL");
  }

  /** Same port, same data; ends it before if it still runs. */
  async restart(): Promise<void> {
    await this.end("SIGTERM");
    const { plan, folder, port } = this;
    const log = await open(join(folder, "log"), "a");
    // In a group of its own: Ctrl-C is for the test, which ends its servers itself.
    const child = spawn(plan.program, plan.arguments(folder, port), {
      cwd: folder,
      stdio: ["ignore", log.fd, log.fd],
      detached: true,
    });
    await log.close();
    child.once("error", () => undefined);
    this.child = child;
    if (child.pid !== undefined) endWithThisProcess(child, `kill -KILL ${child.pid}`);
    await until(`${plan.name} serves`, async () => {
      if (isOver(child)) throw new Error(`${plan.name} ended: ${await this.said()}`);
      return plan.isReady(port);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGKILL");
    process.off("exit", this.clear);
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (child === undefined || isOver(child)) return;
    // Unwatched it would not keep the test's process alive until it has ended.
    child.ref();
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    child.kill("SIGCONT");
    await ended;
  }

  private async said(): Promise<string> {
    return (await readFile(join(this.folder, "log"), "utf8")).slice(-2_000);
  }
}

/** The path that a script of scripts/ finds, which says what to install where it finds none. */
export async function findProgram(script: string): Promise<string> {
  const file = new URL(`../../../scripts/${script}`, import.meta.url).pathname;
  try {
    const found = await promisify(execFile)(process.execPath, [file, "--find"]);
    return found.stdout.trim();
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
