/**
 * Requests a second of the dispatcher's page on one core, each for another client, beside a
 * bare HTTP server of Node's that sends the same number of bytes, in turns in the same run.
 * The load comes from a process of its own.
 *
 *   BENCH_EDGES=n   edges that it chooses among (32)
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Dispatcher } from "../actors/dispatcher.js";
import { defaultLimits } from "../actors/limits.js";
import { PlacementView } from "../actors/placement-view.js";
import { systemClock } from "../src/drivers/system-clock.js";
import { sendDispatch } from "../src/main/dispatch-page.js";
import { createHttpServer } from "../src/main/http.js";
import { figureOf, medianOf, ratioOf } from "./harness/figures.js";
import { bench, note } from "./harness/report.js";
import { WorkerProcess } from "./harness/worker-process.js";
import type { HttpLoad, HttpLoadResult } from "./load/http-load.js";

const edges = Number(process.env["BENCH_EDGES"] ?? 32);
const rounds = 5;
const forMs = 2_000;
const sockets = 64;
const boundMs = 120_000;

interface Measured {
  readonly perSecond: number;
  /** Of this process, which serves. */
  readonly microseconds: number;
}

await bench("dispatch", boundMs, async () => {
  const dispatcher = new Dispatcher({
    ...{ nodeId: "dc1-n0", idc: "dc1", view: viewOf(edges), clock: systemClock },
    limits: defaultLimits,
  });
  const page = createHttpServer({
    health: () => ({ isHealthy: true, text: "ok" }),
    dispatch: (search, request, response) =>
      sendDispatch(dispatcher, "dc1", search, request, response),
    socketsMax: 2 * sockets,
  });
  const body = JSON.stringify(dispatcher.answer("k", 0));
  const bare = createServer((_, response) => {
    const length = Buffer.byteLength(body);
    response.writeHead(200, { "content-type": "application/json", "content-length": length });
    response.end(body);
  });
  await using load = WorkerProcess.start("load/http-load.js");
  const [pagePort, barePort] = [await listen(page), await listen(bare)];
  const ours: Measured[] = [];
  const theirs: Measured[] = [];
  for (let round = 0; round <= rounds; round++) {
    const [own, other] = [await measure(load, pagePort), await measure(load, barePort)];
    // The first round warms both up.
    if (round === 0) continue;
    ours.push(own);
    theirs.push(other);
    note(`${own.perSecond.toFixed(0)} requests/s, a bare server ${other.perSecond.toFixed(0)}`);
  }
  for (const server of [page, bare]) {
    server.closeAllConnections();
    server.close();
  }
  const rates = (all: readonly Measured[]) => all.map(({ perSecond }) => perSecond);
  const costs = (all: readonly Measured[]) => all.map(({ microseconds }) => microseconds);
  return {
    edges: figureOf(edges, { unit: "edges", better: "higher" }),
    requests_per_s: medianOf(rates(ours), { unit: "requests/s", better: "higher" }),
    cpu_us: medianOf(costs(ours), { unit: "µs", better: "lower" }),
    bare_cpu_us: medianOf(costs(theirs), { unit: "µs", better: "lower" }),
    vs_bare_http: ratioOf(rates(ours), rates(theirs), { better: "higher" }),
  };
});

function viewOf(count: number): PlacementView {
  const view = new PlacementView();
  for (let at = 0; at < count; at++) {
    const nodeId = `dc1-n${at}`;
    view.nodes.set(nodeId, {
      ...{ v: 1, nodeId, incarnation: "i", idc: "dc1", pid: 1, processStart: "1" },
      ...{ version: "bench", leaseMs: 3_000, startedAtMs: 0 },
      edgeUrl: `wss://edge-${at}.push.example.com/connect`,
    });
  }
  return view;
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}

async function measure(load: WorkerProcess, port: number): Promise<Measured> {
  const before = process.cpuUsage();
  const wanted: HttpLoad = { port, path: "/edges?key=user-{}&attempt=0", sockets, forMs };
  const { answers, others, tookMs } = await load.ask<HttpLoadResult>("run", wanted);
  if (others > 0) throw new Error(`${others} answers are no 200`);
  const { user, system } = process.cpuUsage(before);
  return { perSecond: (answers * 1_000) / tookMs, microseconds: (user + system) / answers };
}
