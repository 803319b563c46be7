/**
 * What idle connections take of a server's processes, by their number: hello said, session
 * attached, nothing under way. The slope between two counts, so that what the processes need
 * without clients is told apart; after a garbage collection in each, because a process that
 * stands idle does not collect by itself.
 *
 * The kernel's memory is noted and not counted. It is the whole machine's: half of it
 * and more belongs to the clients' ends of the same connections.
 */
import { setTimeout as delay } from "node:timers/promises";
import { shown, slope } from "../harness/figures.js";
import { type KernelMemory, kernelMemory, memoryOf } from "../harness/process-usage.js";
import { note } from "../harness/report.js";
import { type Asking, WorkerProcess } from "../harness/worker-process.js";
import type { ClientsCounts, ClientsOptions, UserRange } from "./clients.js";
import { app, secret } from "./system-under-load.js";

export interface Idle {
  readonly count: number;
  /** By process, after a collection. */
  readonly pss: Readonly<Record<string, number>>;
  /** Of the processes of Node: live objects, and buffers beside them. */
  readonly heapBytes: number;
  readonly beforeCollectionBytes: number;
  readonly kernel: KernelMemory;
}

export interface Host {
  readonly name: string;
  readonly pids: Readonly<Record<string, number>>;
  readonly collecting: readonly Asking[];
  readonly speech: ClientsOptions["speech"];
  /** Users take them in turn. */
  readonly urls: readonly string[];
}

/** For acks, commits and closing handshake timers to come to rest. */
const restMs = 5_000;
/** Pages that a collection frees go back to the system a moment later. */
const freedMs = 1_000;
/** Of one process: it has descriptors for a few more. */
const devicesPerProcess = 18_000;

/** At no connection, and at each count; all are closed when it resolves. */
export async function measureIdle(host: Host, counts: readonly number[]): Promise<Idle[]> {
  await using clients = await IdleClients.start(host, counts.at(-1) ?? 0);
  const measured = [await rest(0, host)];
  for (const count of counts) {
    await clients.connect(measured.at(-1)?.count ?? 0, count);
    measured.push(await rest(count, host));
    await clients.check(count);
  }
  for (const idle of measured) note(`  ${idleLine(idle)}`);
  return measured;
}

class IdleClients implements AsyncDisposable {
  private constructor(
    private readonly name: string,
    private readonly workers: readonly WorkerProcess[],
  ) {}

  static async start({ name, speech, urls }: Host, countMax: number): Promise<IdleClients> {
    const processes = Math.ceil(countMax / devicesPerProcess);
    const workers = Array.from({ length: processes }, () => WorkerProcess.start("load/clients.js"));
    const acks = { messagesMax: 32, delayMs: 50 };
    const options: ClientsOptions = { speech, urls, app, secret, acks };
    await Promise.all(workers.map((worker) => worker.ask("setUp", options)));
    return new IdleClients(name, workers);
  }

  async connect(from: number, to: number): Promise<void> {
    const { name, workers } = this;
    const startMs = performance.now();
    const bound = (at: number) => from + Math.floor(((to - from) * at) / workers.length);
    await Promise.all(
      workers.map((worker, at) => {
        const [first, end] = [bound(at), bound(at + 1)];
        const uids = Array.from({ length: end - first }, (_, each) => `user-${first + each}`);
        return worker.ask("connect", { uids, from: first } satisfies UserRange);
      }),
    );
    const seconds = (performance.now() - startMs) / 1_000;
    const rate = shown(Math.round((to - from) / seconds));
    note(`${name}: ${shown(to - from)} more connected, ${rate}/s`);
  }

  async check(count: number): Promise<void> {
    const ask = (worker: WorkerProcess) => worker.ask<ClientsCounts>("counts");
    const all = await Promise.all(this.workers.map(ask));
    const connected = sum(all.map((each) => each.connected));
    const [why = ""] = all.map(({ firstLoss }) => firstLoss).filter((reason) => reason !== "");
    if (connected !== count) throw new Error(`${this.name}: ${connected} of ${count}: ${why}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker[Symbol.asyncDispose]()));
  }
}

async function rest(count: number, { pids, collecting }: Host): Promise<Idle> {
  await delay(restMs);
  const beforeCollectionBytes = sum(Object.values(pids).map((pid) => memoryOf(pid).pssBytes));
  const usages = await Promise.all(
    collecting.map((process) => process.ask<NodeJS.MemoryUsage>("collect")),
  );
  await delay(freedMs);
  const pss = Object.entries(pids).map(([name, pid]) => [name, memoryOf(pid).pssBytes] as const);
  return {
    count,
    pss: Object.fromEntries(pss),
    heapBytes: sum(usages.map(({ heapUsed, external }) => heapUsed + external)),
    beforeCollectionBytes,
    kernel: kernelMemory(),
  };
}

export function total({ pss }: Idle): number {
  return sum(Object.values(pss));
}

export function heapOf({ heapBytes }: Idle): number {
  return heapBytes;
}

export function uncollected({ beforeCollectionBytes }: Idle): number {
  return beforeCollectionBytes;
}

/** Both ends of the connections, and whatever else the machine does. */
export function kernelOf({ kernel }: Idle): number {
  return kernel.slabBytes + kernel.tcpBytes;
}

/** Between the counts; the first point, without any client, is the baseline. */
export function slopeOf(measured: readonly Idle[], bytesOf: (idle: Idle) => number): number {
  return slope(measured.slice(1).map((idle) => ({ x: idle.count, y: bytesOf(idle) })));
}

function idleLine(idle: Idle): string {
  const each = Object.entries(idle.pss).map(([name, bytes]) => `${name} ${megabytes(bytes)}`);
  const { tcpBytes, slabBytes, tcpSockets } = idle.kernel;
  const kernel = `slab ${megabytes(slabBytes)}, TCP buffers ${megabytes(tcpBytes)}, ${tcpSockets} sockets`;
  return `${shown(idle.count)} connections: ${each.join(", ")} (heaps ${megabytes(idle.heapBytes)}); kernel: ${kernel}`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
