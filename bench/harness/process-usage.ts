/** What processes use, as Linux tells it: processor time, memory, and the kernel's own. */
import { existsSync, readFileSync } from "node:fs";

const ticksPerSecond = 100;
const pageBytes = 4_096;

/** Processor time of all threads since the process began. */
export function cpuMs(pid: number): number {
  return cpuMsIn(`/proc/${pid}/stat`);
}

/** Of the thread that runs JavaScript; the others write to the disk, collect and compile. */
export function mainThreadMs(pid: number): number {
  return cpuMsIn(`/proc/${pid}/task/${pid}/stat`);
}

function cpuMsIn(file: string): number {
  const stat = readFileSync(file, "utf8");
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

export interface CpuShare {
  /** Cores used by all threads on average. */
  readonly cores: number;
  readonly mainThread: number;
}

export interface CpuUse {
  readonly byName: Readonly<Record<string, CpuShare>>;
  readonly cores: number;
  /** Used by others on this machine, the hypervisor's other guests included: the noise. */
  readonly elsewhere: number;
}

/** Processor time of several processes between two moments. */
export class CpuMeter {
  private readonly startedMs = performance.now();
  private readonly machineBeforeMs = machineBusyMs();
  private readonly before: ReadonlyMap<string, CpuShare>;

  constructor(private readonly pids: Readonly<Record<string, number>>) {
    this.before = this.read();
  }

  /** Since the start. */
  use(): CpuUse {
    const spanMs = performance.now() - this.startedMs;
    const byName: Record<string, CpuShare> = {};
    let together = 0;
    for (const [name, { cores, mainThread }] of this.read()) {
      const before = this.before.get(name) ?? { cores: 0, mainThread: 0 };
      const used = (cores - before.cores) / spanMs;
      byName[name] = { cores: used, mainThread: (mainThread - before.mainThread) / spanMs };
      together += used;
    }
    const machine = (machineBusyMs() - this.machineBeforeMs) / spanMs;
    return { byName, cores: together, elsewhere: Math.max(0, machine - together) };
  }

  /** Who has ended meanwhile counts as elsewhere. */
  private read(): Map<string, CpuShare> {
    const living = Object.entries(this.pids).filter(([, pid]) => existsSync(`/proc/${pid}`));
    const used = (pid: number) => ({ cores: cpuMs(pid), mainThread: mainThreadMs(pid) });
    return new Map(living.map(([name, pid]) => [name, used(pid)]));
  }
}

/** Of all processors, what was neither idle nor waiting; stolen time counts as busy. */
function machineBusyMs(): number {
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n", 1);
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, stolen = 0] = line
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return ((user + nice + system + irq + softIrq + stolen) * 1_000) / ticksPerSecond;
}

export function cpuLine({ byName, cores, elsewhere }: CpuUse): string {
  const each = Object.entries(byName).map(([name, { cores, mainThread }]) => {
    // Of Go's threads the main one is like any other.
    const main = mainThread > 0.05 ? ` (main thread ${mainThread.toFixed(2)})` : "";
    return `${name} ${cores.toFixed(2)}${main}`;
  });
  const sum = `together ${cores.toFixed(2)}; elsewhere ${elsewhere.toFixed(2)}`;
  return `cores: ${each.join(", ")}, ${sum}`;
}
