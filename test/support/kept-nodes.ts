/**
 * The nodes of a platform as a machine's supervisor keeps them: one that ended is started
 * again, and again, until it stays; unless a test holds it down.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Platform } from "./platform.js";

const lookMs = 100;
const againMs = 500;

export class KeptNodes implements AsyncDisposable {
  readonly names: readonly string[];
  /** Starts that failed, such as while there was no bus. */
  failedStarts = 0;
  /** Ends that no test asked for: of who gave up, or was killed by a taker. */
  endedByThemselves = 0;
  private readonly held = new Set<string>();
  private readonly keepers: Promise<void>[];
  private isOver = false;

  constructor(
    private readonly platform: Platform,
    private readonly environment: (name: string) => Readonly<Record<string, string>> = () => ({}),
  ) {
    this.names = [...platform.nodes.keys()];
    this.keepers = this.names.map((name) => this.keep(name));
  }

  get areUp(): boolean {
    return this.names.every((name) => this.platform.nodes.has(name));
  }

  /** kill -9 of those that run; started again after `downMs`. */
  async kill(names: readonly string[], downMs: number): Promise<void> {
    for (const name of names) this.held.add(name);
    const running = names.filter((name) => this.platform.nodes.has(name));
    await Promise.all(running.map((name) => this.platform.killNode(name)));
    await delay(downMs);
    for (const name of names) this.held.delete(name);
  }

  async stopFor(name: string, stoppedMs: number): Promise<void> {
    const child = this.platform.nodes.get(name)?.process;
    child?.kill("SIGSTOP");
    await delay(stoppedMs);
    child?.kill("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isOver = true;
    await Promise.all(this.keepers);
  }

  private async keep(name: string): Promise<void> {
    const { platform } = this;
    this.watch(name);
    while (!this.isOver) {
      await delay(lookMs);
      if (this.isOver || this.held.has(name) || platform.nodes.has(name)) continue;
      try {
        await platform.startNode(name, this.environment(name));
        this.watch(name);
      } catch {
        this.failedStarts++;
        await delay(againMs);
      }
    }
  }

  private watch(name: string): void {
    this.platform.nodes.get(name)?.process.once("exit", () => {
      if (!this.held.has(name) && !this.isOver) this.endedByThemselves++;
    });
  }
}
