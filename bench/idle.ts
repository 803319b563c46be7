/**
 * Bytes that an idle connection takes: hello said, session attached, nothing under
 * way. The slope between two counts over all of Belfry's processes, so that what they
 * need without clients is told apart; after a garbage collection in each, because a
 * process that stands idle does not collect by itself. Beside it a bare `ws` server.
 *
 * The kernel's memory is noted and not counted. It is the whole machine's: half of it
 * and more belongs to the clients' ends of the same connections.
 */
import { setTimeout as delay } from "node:timers/promises";
import { figureOf, shown, slope } from "./harness/figures.js";
import { type KernelMemory, kernelMemory, memoryOf } from "./harness/process-usage.js";
import { bench, type Figures, note } from "./harness/report.js";
import { type Asking, WorkerProcess } from "./harness/worker-process.js";
import type { ClientsCounts, ClientsOptions, UserRange } from "./load/clients.js";
import { app, BelfryUnderLoad, secret } from "./load/system-under-load.js";

/** Four times as many: maps that double are filled alike at both. */
const counts = [4_000, 16_000];
/** For acks, commits and closing handshake timers to come to rest. */
const restMs = 5_000;
const boundMs = 120_000;
const inNode = new URL("./harness/in-node.js", import.meta.url).href;

interface Idle {
  readonly count: number;
  /** By process, after a collection. */
  readonly pss: Readonly<Record<string, number>>;
  /** Of the processes of Node: live objects, and buffers beside them. */
  readonly heapBytes: number;
  readonly beforeCollectionBytes: number;
  readonly kernel: KernelMemory;
}

interface Host {
  readonly pids: Readonly<Record<string, number>>;
  readonly collecting: readonly Asking[];
}

await bench("idle", boundMs, async () => {
  const ours = await measureBelfry();
  const theirs = await measureWs();
  const bytes = { unit: "B", better: "lower" } as const;
  const [oursBytes, theirsBytes] = [slopeOf(ours, total), slopeOf(theirs, total)];
  return {
    connections: figureOf(counts.at(-1) ?? 0, { unit: "connections", better: "higher" }),
    bytes_per_connection: figureOf(oursBytes, { ...bytes, goal: 3 * 1_024 }),
    bytes_per_connection_ws: figureOf(theirsBytes, bytes),
    vs_ws: figureOf(oursBytes / theirsBytes, { unit: "ratio", better: "lower" }),
    heap_bytes_per_connection: figureOf(slopeOf(ours, heapOf), bytes),
    heap_bytes_per_connection_ws: figureOf(slopeOf(theirs, heapOf), bytes),
    uncollected_bytes_per_connection: figureOf(slopeOf(ours, uncollected), bytes),
  } satisfies Figures;
});

async function measureBelfry(): Promise<Idle[]> {
  await using belfry = await BelfryUnderLoad.start(inNode);
  const speech = { speech: "belfry", urls: belfry.edgeUrls } as const;
  return await measure("belfry", speech, { pids: belfry.pids, collecting: belfry.asking });
}

async function measureWs(): Promise<Idle[]> {
  await using server = WorkerProcess.start("bare-ws/server.js");
  const url = await server.ask<string>("start");
  const speech = { speech: "bare", urls: [url] } as const;
  return await measure("ws", speech, { pids: { ws: server.pid }, collecting: [server] });
}

async function measure(
  name: string,
  speech: Pick<ClientsOptions, "speech" | "urls">,
  host: Host,
): Promise<Idle[]> {
  await using clients = WorkerProcess.start("load/clients.js");
  const acks = { messagesMax: 32, delayMs: 50 };
  await clients.ask("setUp", { ...speech, app, secret, acks } satisfies ClientsOptions);
  const measured = [await rest(0, host)];
  for (const count of counts) {
    const from = measured.at(-1)?.count ?? 0;
    const uids = Array.from({ length: count - from }, (_, at) => `user-${from + at}`);
    const startMs = performance.now();
    await clients.ask("connect", { uids, from } satisfies UserRange);
    const seconds = (performance.now() - startMs) / 1_000;
    note(
      `${name}: ${shown(uids.length)} more connected, ${shown(Math.round(uids.length / seconds))}/s`,
    );
    measured.push(await rest(count, host));
    const { connected, firstLoss } = await clients.ask<ClientsCounts>("counts");
    if (connected !== count)
      throw new Error(`${name}: ${connected} of ${count} left: ${firstLoss}`);
  }
  await clients.ask("close");
  for (const idle of measured) note(`  ${idleLine(idle)}`);
  return measured;
}

async function rest(count: number, { pids, collecting }: Host): Promise<Idle> {
  await delay(restMs);
  const beforeCollectionBytes = sum(Object.values(pids).map((pid) => memoryOf(pid).pssBytes));
  const usages = await Promise.all(
    collecting.map((process) => process.ask<NodeJS.MemoryUsage>("collect")),
  );
  // Pages that a collection frees go back to the system a moment later.
  await delay(1_000);
  const pss = Object.entries(pids).map(([name, pid]) => [name, memoryOf(pid).pssBytes] as const);
  return {
    count,
    pss: Object.fromEntries(pss),
    heapBytes: sum(usages.map(({ heapUsed, external }) => heapUsed + external)),
    beforeCollectionBytes,
    kernel: kernelMemory(),
  };
}

function total({ pss }: Idle): number {
  return sum(Object.values(pss));
}

function heapOf({ heapBytes }: Idle): number {
  return heapBytes;
}

function uncollected({ beforeCollectionBytes }: Idle): number {
  return beforeCollectionBytes;
}

/** Between the two counts; the first point, without any client, is the baseline. */
function slopeOf(measured: readonly Idle[], bytesOf: (idle: Idle) => number): number {
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
