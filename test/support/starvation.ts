/**
 * How long a platform's processes were ready to run and were given no processor. A bound
 * on real time holds for a machine that has some: what it took from them is added, so
 * that the same test is sharp on a machine at rest and does not fail on a busy one.
 *
 * Linux tells it for each thread (proc(5), schedstat); elsewhere nothing is added.
 */
import { readdirSync, readFileSync } from "node:fs";
import type { Platform } from "./platform.js";

export class Starvation {
  private readonly before: ReadonlyMap<number, number>;

  constructor(private readonly platform: Platform) {
    this.before = this.read();
  }

  /** Of all threads of all processes since the start; those that ended since count for nothing. */
  ms(): number {
    let sumMs = 0;
    for (const [pid, ms] of this.read()) sumMs += Math.max(0, ms - (this.before.get(pid) ?? 0));
    return sumMs;
  }

  private read(): Map<number, number> {
    const { nodes, nats } = this.platform;
    const pids = [process.pid, ...nats.pids, ...[...nodes.values()].map(({ pid }) => pid)];
    return new Map(pids.map((pid) => [pid, waitedMs(pid)]));
  }
}

function waitedMs(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => sum + threadMs(pid, thread), 0);
  } catch {
    // Ended meanwhile, or not Linux.
    return 0;
  }
}

/** The second of three numbers: nanoseconds on a run queue. */
function threadMs(pid: number, thread: string): number {
  const [, waitedNs] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ");
  return Number(waitedNs) / 1e6;
}
