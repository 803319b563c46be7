/**
 * A server program of a test, on a port of 127.0.0.1 that stays its own over restarts,
 * and in a folder that is gone with it; see src/main/setup/private-server.
 */
import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PrivateServer, type ServerPlan } from "../../src/main/setup/private-server.js";

export class ServerProcess implements AsyncDisposable {
  private constructor(
    private readonly server: PrivateServer,
    private readonly clear: () => void,
  ) {}

  static async start(plan: ServerPlan): Promise<ServerProcess> {
    const folder = await mkdtemp(join(tmpdir(), `belfry-test-${plan.name}-`));
    const clear = () => rmSync(folder, { recursive: true, force: true });
    process.once("exit", clear);
    const server = await PrivateServer.start(plan, { folder, endSignal: "KILL" });
    return new ServerProcess(server, clear);
  }

  get folder(): string {
    return this.server.folder;
  }

  get port(): number {
    return this.server.port;
  }

  get pid(): number {
    return this.server.pid;
  }

  /** SIGSTOP, SIGCONT; for SIGKILL rather `crash`, which waits for the end. */
  signal(signal: NodeJS.Signals): void {
    this.server.signal(signal);
  }

  /** kill -9; resolves when the process is gone. */
  async crash(): Promise<void> {
    await this.server.stop("SIGKILL");
  }

  /** Same port, same data; ends it before if it still runs. */
  async restart(): Promise<void> {
    await this.server.restart();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.stop("SIGKILL");
    process.off("exit", this.clear);
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
