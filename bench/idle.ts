/**
 * Bytes that an idle connection takes of all of Belfry's processes (see load/idle-memory),
 * and beside it of a bare `ws` server. `connections` has the large numbers.
 */
import { figureOf } from "./harness/figures.js";
import { bench, type Figures } from "./harness/report.js";
import { WorkerProcess } from "./harness/worker-process.js";
import { heapOf, type Idle, measureIdle, slopeOf, total, uncollected } from "./load/idle-memory.js";
import { BelfryUnderLoad } from "./load/system-under-load.js";

/** Four times as many: maps that double are filled alike at both. */
const counts = [4_000, 16_000];
const boundMs = 120_000;
const inNode = new URL("./harness/in-node.js", import.meta.url).href;

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
  const { pids, asking: collecting, edgeUrls: urls } = belfry;
  return await measureIdle({ name: "belfry", speech: "belfry", pids, collecting, urls }, counts);
}

async function measureWs(): Promise<Idle[]> {
  await using server = WorkerProcess.start("bare-ws/server.js");
  const urls = [await server.ask<string>("start")];
  const host = { name: "ws", speech: "bare", pids: { ws: server.pid } } as const;
  return await measureIdle({ ...host, urls, collecting: [server] }, counts);
}
