/**
 * Seeds on as many threads as the machine has cores. Outcomes come in the order of the
 * seeds, whichever thread was quicker, so that two runs of a command print the same.
 */
import { Worker } from "node:worker_threads";
import type { SeedOutcome, SeedSettings } from "./seed-runs.js";

interface Reply {
  readonly seed: number;
  readonly outcome: SeedOutcome;
}

export class SeedPool {
  private readonly workers: Worker[];
  private readonly outcomes = new Map<number, SeedOutcome>();
  private readonly waiting = new Map<number, (outcome: SeedOutcome) => void>();
  private error: Error | undefined;
  private onError: (error: Error) => void = () => {};

  constructor(
    settings: SeedSettings,
    private next: number,
    private readonly end: number,
    threads: number,
  ) {
    const file = new URL("./seed-worker.js", import.meta.url);
    this.workers = Array.from({ length: threads }, () => {
      const worker = new Worker(file, { workerData: settings });
      worker.on("message", (reply: Reply) => {
        this.onReply(reply);
        this.give(worker);
      });
      worker.on("error", (error) => {
        this.error = error;
        this.onError(error);
      });
      this.give(worker);
      return worker;
    });
  }

  /** To be asked for in order, each once. */
  outcomeOf(seed: number): Promise<SeedOutcome> {
    const known = this.outcomes.get(seed);
    this.outcomes.delete(seed);
    if (known !== undefined) return Promise.resolve(known);
    if (this.error !== undefined) return Promise.reject(this.error);
    return new Promise((resolve, reject) => {
      this.onError = reject;
      this.waiting.set(seed, resolve);
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }

  private give(worker: Worker): void {
    if (this.next < this.end) worker.postMessage(this.next++);
  }

  private onReply({ seed, outcome }: Reply): void {
    const resolve = this.waiting.get(seed);
    this.waiting.delete(seed);
    if (resolve === undefined) this.outcomes.set(seed, outcome);
    else resolve(outcome);
  }
}
