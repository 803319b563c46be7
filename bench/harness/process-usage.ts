/** What processes use, as Linux tells it: processor time, memory, and the kernel's own. */
import { readFileSync } from "node:fs";

const ticksPerSecond = 100;
const pageBytes = 4_096;

/** Processor time of all threads since the process began. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name stands in parentheses and may hold anything; fields are counted behind it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [user, system] = [Number(fields[11]), Number(fields[12])];
  return ((user + system) * 1_000) / ticksPerSecond;
}

export interface ProcessMemory {
  /** What it has in memory, its part of what it shares with others. */
  readonly pssBytes: number;
  readonly rssBytes: number;
}

export function memoryOf(pid: number): ProcessMemory {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return { pssBytes: kilobytes(rollup, "Pss"), rssBytes: kilobytes(rollup, "Rss") };
}

export interface KernelMemory {
  /** Buffers of TCP sockets. */
  readonly tcpBytes: number;
  /** All of the kernel's objects: sockets, files, inodes, and what is not of sockets. */
  readonly slabBytes: number;
  readonly tcpSockets: number;
}

/** Of the whole machine, both ends of each loopback connection included. */
export function kernelMemory(): KernelMemory {
  const sockstat = readFileSync("/proc/net/sockstat", "utf8");
  const tcp = /^TCP: inuse (\d+) .* mem (\d+)$/m.exec(sockstat);
  return {
    tcpBytes: Number(tcp?.[2] ?? 0) * pageBytes,
    tcpSockets: Number(tcp?.[1] ?? 0),
    slabBytes: kilobytes(readFileSync("/proc/meminfo", "utf8"), "Slab"),
  };
}

function kilobytes(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1] ?? 0) * 1_024;
}

/** Processor time of several processes between two moments, in cores. */
export class CpuMeter {
  private readonly startedMs = performance.now();
  private readonly before: ReadonlyMap<string, number>;

  constructor(private readonly pids: Readonly<Record<string, number>>) {
    this.before = this.read();
  }

  /** Cores used on average since the start, by name. */
  shares(): Record<string, number> {
    const spanMs = performance.now() - this.startedMs;
    const shares: Record<string, number> = {};
    for (const [name, ms] of this.read()) {
      shares[name] = Number(((ms - (this.before.get(name) ?? 0)) / spanMs).toFixed(2));
    }
    return shares;
  }

  private read(): Map<string, number> {
    return new Map(Object.entries(this.pids).map(([name, pid]) => [name, cpuMs(pid)]));
  }
}

export function sharesLine(shares: Readonly<Record<string, number>>): string {
  const total = Object.values(shares).reduce((sum, share) => sum + share, 0);
  const each = Object.entries(shares).map(([name, share]) => `${name} ${share.toFixed(2)}`);
  return `cores: ${each.join(", ")}, together ${total.toFixed(2)}`;
}
