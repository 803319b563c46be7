/**
 * How long a platform's processes were ready to run and were given no processor, or waited
 * for a disk. A bound on real time holds for a machine that has both: what it took from them
 * is added, so that the same test is sharp on a machine at rest and does not fail on a busy
 * one. A machine that was stopped as a whole is seen by a timer of this process.
 *
 * Linux tells the first for each thread (proc(5), schedstat), the second for all together
 * (/proc/pressure/io); elsewhere nothing is added for them.
 */
import { readdirSync, readFileSync } from "node:fs";

const tickMs = 20;

/** A platform, or what has the processes of one. */
type Watched = {
  readonly nodes: ReadonlyMap<string, { readonly pid: number }>;
  readonly nats: { readonly pids: readonly number[] };
};

export class Starvation {
  private readonly before: ReadonlyMap<number, number>;
  private readonly diskBeforeMs: number;
  private readonly ticking: NodeJS.Timeout;
  private lateMs = 0;
  private tickedMs = performance.now();

  /** Without `isDiskCounted` where the disk's standing still is what the test is about. */
  constructor(
    private readonly platform: Watched,
    private readonly isDiskCounted = true,
  ) {
    this.before = this.read();
    this.diskBeforeMs = diskWaitedMs();
    this.ticking = setInterval(() => this.tick(), tickMs).unref();
  }

  /**
   * Of all threads of all processes since the start; those that ended since count for
   * nothing. Asked for once: then it looks no more.
   */
  ms(): number {
    clearInterval(this.ticking);
    this.tick();
    let sumMs = this.lateMs;
    if (this.isDiskCounted) sumMs += Math.max(0, diskWaitedMs() - this.diskBeforeMs);
    for (const [pid, ms] of this.read()) sumMs += Math.max(0, ms - (this.before.get(pid) ?? 0));
    return sumMs;
  }

  private tick(): void {
    const nowMs = performance.now();
    this.lateMs += Math.max(0, nowMs - this.tickedMs - 2 * tickMs);
    this.tickedMs = nowMs;
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

/** Microseconds in which somebody waited for a disk, all in all. */
function diskWaitedMs(): number {
  try {
    const [, total = "0"] =
      /^some .*total=(\d+)/m.exec(readFileSync("/proc/pressure/io", "utf8")) ?? [];
    return Number(total) / 1e3;
  } catch {
    return 0;
  }
}
