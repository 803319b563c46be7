/**
 * Many connections: how fast an edge takes them, token checked and session attached, beside
 * a bare `ws` server and Socket.IO that check the same token; and what an idle one takes of
 * all of Belfry's processes, with and without TLS (see load/idle-memory).
 *
 *   BENCH_CONNECTIONS=n   idle ones (18,000, on one edge). More are spread over as many edges
 *                         as they need, and nothing but their memory is measured: the file is
 *                         then connections-many.json.
 */

import { type SessionKey, shardOfKey } from "../src/protocol/shards.js";
import { makeCertificate } from "../test/support/certificate.js";
import { shardsOf } from "../test/support/placement-state.js";
import { figureOf, medianOf, ratioOf } from "./harness/figures.js";
import { bench, type Figures } from "./harness/report.js";
import { temporaryFolder } from "./harness/temporary-folder.js";
import { WorkerProcess } from "./harness/worker-process.js";
import { type Accepting, acceptRounds } from "./load/accept-rounds.js";
import { heapOf, type Idle, kernelOf, measureIdle, slopeOf, total } from "./load/idle-memory.js";
import { app, BelfryUnderLoad, secret } from "./load/system-under-load.js";

const perEdge = 18_000;
const wanted = Number(process.env["BENCH_CONNECTIONS"] ?? perEdge);
/** Four times as many: maps that double are filled alike at both. */
const counts = [Math.ceil(wanted / 4), wanted];
const perRound = Math.min(4_000, wanted);
const rounds = 3;
/** Under five minutes on a machine that does nothing else. */
const boundMs = 480_000;
const inNode = new URL("./harness/in-node.js", import.meta.url).href;

const bytes = { unit: "B", better: "lower" } as const;
const perSecond = { unit: "connections/s", better: "higher" } as const;
const microseconds = { unit: "µs", better: "lower" } as const;

if (wanted > perEdge) await bench("connections-many", boundMs, measureMany);
else await bench("connections", boundMs, measureAll);

async function measureMany(): Promise<Figures> {
  const edges = Math.ceil(wanted / perEdge);
  const names = Array.from({ length: edges }, (_, at) => `e${at}`);
  await using belfry = await BelfryUnderLoad.start(inNode, names);
  const ours = await measureIdleOf(belfry, belfry.edgeUrls);
  return { edges: figureOf(edges, { unit: "edges", better: "lower" }), ...memoryFigures("", ours) };
}

async function measureAll(): Promise<Figures> {
  const rates = await compareRates();
  const plain = await measureOneEdge({});
  const tls = await measureTls();
  await using ws = await startRival("bare-ws");
  const wsIdle = await measureIdleOfRival("ws", "token", ws);
  await using socketIo = await startRival("socket-io");
  const socketIoIdle = await measureIdleOfRival("Socket.IO", "socketio", socketIo);
  return {
    ...rates,
    ...memoryFigures("", plain),
    ...memoryFigures("_tls", tls),
    bytes_per_connection_ws: figureOf(slopeOf(wsIdle, total), bytes),
    bytes_per_connection_socketio: figureOf(slopeOf(socketIoIdle, total), bytes),
  };
}

function memoryFigures(suffix: string, measured: readonly Idle[]): Figures {
  const [none] = measured;
  const perConnection = slopeOf(measured, total);
  return {
    [`connections${suffix}`]: figureOf(wanted, { unit: "connections", better: "higher" }),
    [`bytes_per_connection${suffix}`]: figureOf(perConnection, { ...bytes, goal: 3 * 1_024 }),
    [`heap_bytes_per_connection${suffix}`]: figureOf(slopeOf(measured, heapOf), bytes),
    [`baseline_bytes${suffix}`]: figureOf(none === undefined ? Number.NaN : total(none), bytes),
    [`kernel_bytes_both_ends${suffix}`]: figureOf(slopeOf(measured, kernelOf), bytes),
  };
}

/** All three stand while each has its turn. */
async function compareRates(): Promise<Figures> {
  // How many it can take, not how many it is told to.
  const unpaced = { BELFRY_ACCEPTS_PER_SECOND: "100000" };
  await using belfry = await BelfryUnderLoad.start(undefined, undefined, unpaced);
  await using ws = await startRival("bare-ws");
  await using socketIo = await startRival("socket-io");
  // Users of the other node's shards: what this process does is an edge's work, and no more.
  const owned = await shardsOf(belfry.platform, "b");
  const isOwned = (uid: string) => owned.has(shardOfKey(`${app}.${uid}` as SessionKey));
  const uids = namedUsers(perRound, isOwned);
  const edge = belfry.platform.node("a");
  const beside = Object.values(belfry.pids).filter((pid) => pid !== edge.pid);
  const { worker: wsWorker, url: wsUrl } = ws;
  const { worker: ioWorker, url: ioUrl } = socketIo;
  const servers: Accepting[] = [
    { name: "belfry", speech: "belfry", url: edge.edgeUrl, pid: edge.pid, beside, uids },
    { name: "ws", speech: "token", url: wsUrl, pid: wsWorker.pid, beside: [], uids },
    { name: "Socket.IO", speech: "socketio", url: ioUrl, pid: ioWorker.pid, beside: [], uids },
  ];
  const results = await acceptRounds(servers, rounds);
  const [ours = [], theirs = [], others = []] = servers.map(({ name }) => results.get(name));
  const rate = (of: typeof ours) => of.map((round) => round.perSecond);
  const cpu = (of: typeof ours) => of.map((round) => round.cpuUs);
  const allCpu = ours.map((round) => round.allCpuUs);
  const perCore = cpu(ours).map((us) => 1e6 / us);
  const ratio = { better: "higher" } as const;
  return {
    connects_per_s: medianOf(rate(ours), perSecond),
    connects_per_s_ws: medianOf(rate(theirs), perSecond),
    connects_per_s_socketio: medianOf(rate(others), perSecond),
    connects_per_edge_core_s: medianOf(perCore, { ...perSecond, goal: 5_000 }),
    edge_us_per_connect: medianOf(cpu(ours), microseconds),
    all_us_per_connect: medianOf(allCpu, microseconds),
    us_per_connect_ws: medianOf(cpu(theirs), microseconds),
    us_per_connect_socketio: medianOf(cpu(others), microseconds),
    core_vs_ws: ratioOf(cpu(theirs), cpu(ours), ratio),
    core_vs_socketio: ratioOf(cpu(others), cpu(ours), ratio),
  };
}

function namedUsers(count: number, isWanted: (uid: string) => boolean): string[] {
  const uids: string[] = [];
  for (let at = 0; uids.length < count; at++) {
    if (isWanted(`user-${at}`)) uids.push(`user-${at}`);
  }
  return uids;
}

async function measureOneEdge(settings: Readonly<Record<string, string>>): Promise<Idle[]> {
  await using belfry = await BelfryUnderLoad.start(inNode, ["a", "b"], settings);
  return await measureIdleOf(belfry, [belfry.platform.node("a").edgeUrl]);
}

async function measureTls(): Promise<Idle[]> {
  await using folder = temporaryFolder();
  const { certFile, keyFile } = await makeCertificate(folder.path);
  return await measureOneEdge({ BELFRY_TLS_CERT_FILE: certFile, BELFRY_TLS_KEY_FILE: keyFile });
}

function measureIdleOf(belfry: BelfryUnderLoad, urls: readonly string[]): Promise<Idle[]> {
  const { pids, asking: collecting } = belfry;
  return measureIdle({ name: "belfry", speech: "belfry", pids, collecting, urls }, counts);
}

interface Rival extends AsyncDisposable {
  readonly worker: WorkerProcess;
  readonly url: string;
}

async function startRival(folder: string): Promise<Rival> {
  const worker = WorkerProcess.start(`${folder}/server.js`);
  const url = await worker.ask<string>("start", { app, secret });
  return { worker, url, [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose]() };
}

function measureIdleOfRival(
  name: string,
  speech: "token" | "socketio",
  { worker, url }: Rival,
): Promise<Idle[]> {
  const host = { name, speech, urls: [url], pids: { [name]: worker.pid } };
  return measureIdle({ ...host, collecting: [worker] }, counts);
}
