/**
 * All clients of an edge lose it at once: the edge dies and comes again; then the way to it
 * breaks for nearly all, who come back as the SDK does; then the same with clients that retry
 * at once; then these while the edge is told to let nobody in. Pushes come all the while, to
 * all of them, and those who stay connected tell what it costs them.
 *
 *   BENCH_CLIENTS=n   all clients (18,000); one in eighteen stays
 *   BENCH_ACCEPTS=n   the edge's accept rate (Belfry's own where it is not set)
 *   BENCH_PROFILE=f   a profile of the edge in the storm of the rude, into that file
 */
import { setTimeout as delay } from "node:timers/promises";
import { runOperatorCommand } from "../test/support/operator-command.js";
import { untilBalanced } from "../test/support/placement-state.js";
import { figureOf } from "./harness/figures.js";
import type { LatencySummary } from "./harness/latency.js";
import { bench, type Figures } from "./harness/report.js";
import { type Stormed, StormLoad } from "./load/storm-load.js";
import { BelfryUnderLoad } from "./load/system-under-load.js";

const clients = Number(process.env["BENCH_CLIENTS"] ?? 18_000);
const calm = Math.ceil(clients / 18);
const perSecond = 500;
const restMs = 5_000;
const siegeMs = 10_000;
/** Under five minutes on a machine that does nothing else. */
const boundMs = 480_000;
const inNode = new URL("./harness/in-node.js", import.meta.url).href;
const accepts = process.env["BENCH_ACCEPTS"];
const profileFile = process.env["BENCH_PROFILE"];

await bench("storm", boundMs, async () => {
  await using belfry = await BelfryUnderLoad.start(
    inNode,
    undefined,
    accepts === undefined ? {} : { BELFRY_ACCEPTS_PER_SECOND: accepts },
  );
  await untilBalanced(belfry.platform);
  const shape = { node: "a", movers: clients - calm, calm, perSecond };
  await using load = await StormLoad.start(belfry, shape);
  const atRest = await rest(load);
  const storms = await raise(belfry, load);
  const { accepted, lost, doubled, outOfOrder } = await load.settle();
  const pushes = { unit: "pushes", better: "lower", goal: 0 } as const;
  return {
    connections: figureOf(clients, { unit: "connections", better: "higher" }),
    connected_p99_at_rest_ms: figureOf(atRest.p99Ms, { unit: "ms", better: "lower" }),
    ...figuresOf(storms),
    accepted_pushes: figureOf(accepted, { unit: "pushes", better: "higher" }),
    lost: figureOf(lost, pushes),
    duplicates: figureOf(doubled, pushes),
    out_of_order: figureOf(outOfOrder, pushes),
  } satisfies Figures;
});

interface Storms {
  readonly died: Stormed;
  readonly polite: Stormed;
  readonly rude: Stormed;
  readonly besieged: Stormed;
}

/** One after the other, with a rest between them. */
async function raise(belfry: BelfryUnderLoad, load: StormLoad): Promise<Storms> {
  const refusals = () => refusedBy(belfry);
  const died = await load.storm("the edge dies", {
    ...{ manners: "sdk", cut: false, refusals },
    order: () => restartEdge(belfry),
  });
  await untilBalanced(belfry.platform);
  await rest(load);
  const polite = await load.storm("cut, with manners", { manners: "sdk", cut: true, refusals });
  await rest(load);
  const rude = await profiled(belfry, () =>
    load.storm("cut, rude", { manners: "rude", cut: true, refusals }),
  );
  await rest(load);
  await letIn(belfry, 0);
  const besieged = await load.storm("cut, rude, nobody let in at first", {
    ...{ manners: "rude", cut: true, refusals },
    order: () => delay(siegeMs).then(() => letIn(belfry, 100)),
  });
  return { died, polite, rude, besieged };
}

function rest(load: StormLoad): Promise<LatencySummary> {
  return load.latenciesDuring("at rest", () => delay(restMs));
}

function figuresOf({ died, polite, rude, besieged }: Storms): Figures {
  const ms = { unit: "ms", better: "lower" } as const;
  const seconds = { unit: "s", better: "lower" } as const;
  const handshakes = { unit: "handshakes", better: "lower" } as const;
  return {
    connects_per_s: figureOf(rude.perSecond, { unit: "connections/s", better: "higher" }),
    all_back_s: figureOf(died.allS, seconds),
    cut_all_back_s: figureOf(polite.allS, seconds),
    rude_all_back_s: figureOf(rude.allS, seconds),
    connected_p99_ms: figureOf(rude.latencies.p99Ms, { ...ms, goal: 100 }),
    connected_p99_polite_ms: figureOf(polite.latencies.p99Ms, ms),
    connected_p99_besieged_ms: figureOf(besieged.latencies.p99Ms, { ...ms, goal: 100 }),
    ...lagFigures({ polite, rude, besieged }),
    refused_died: figureOf(refusedIn(died), handshakes),
    refused_polite: figureOf(refusedIn(polite), handshakes),
    refused_rude: figureOf(refusedIn(rude), handshakes),
    refused_besieged: figureOf(refusedIn(besieged), handshakes),
  };
}

/** Under the same address: it is where the clients come back to. */
async function restartEdge({ platform }: BelfryUnderLoad): Promise<void> {
  const port = new URL(platform.node("a").edgeUrl).port;
  await platform.killNode("a");
  await platform.startNode("a", { BELFRY_PORT: port });
}

async function letIn({ platform }: BelfryUnderLoad, percent: number): Promise<void> {
  await runOperatorCommand(platform, "edges", "let-in", String(percent));
}

async function refusedBy(belfry: BelfryUnderLoad): Promise<Record<string, number>> {
  const { document } = await runOperatorCommand(belfry.platform, "edges");
  const edges = document.edges as readonly EdgeReport[];
  const edge = edges.find(({ node }) => node.startsWith("dc1-a"));
  return { ...edge?.refused, ...socketEnds(edge?.sockets ?? {}) };
}

interface EdgeReport {
  readonly node: string;
  readonly refused: Readonly<Record<string, number>> | null;
  readonly sockets: Readonly<Record<string, number>> | null;
}

/** Those of its figures that are handshakes which came to nothing. */
function socketEnds(sockets: Readonly<Record<string, number>>): Record<string, number> {
  const names = ["handshakesOverdue", "handshakesDisplaced", "socketsDropped"];
  return Object.fromEntries(names.map((name) => [name, sockets[name] ?? 0]));
}

function refusedIn({ refused }: Stormed): number {
  return Object.values(refused).reduce((total, count) => total + count, 0);
}

function lagFigures(storms: Readonly<Record<string, Stormed>>): Figures {
  const ms = { unit: "ms", better: "lower" } as const;
  const figures: Figures = {};
  for (const [name, { lag }] of Object.entries(storms)) {
    figures[`lag_p99_${name}_ms`] = figureOf(lag?.p99Ms ?? Number.NaN, ms);
    // A cut of all at once is one long turn of the loop.
    figures[`lag_max_${name}_ms`] = figureOf(lag?.maxMs ?? Number.NaN, ms);
  }
  return figures;
}

async function profiled<Result>(
  belfry: BelfryUnderLoad,
  during: () => Promise<Result>,
): Promise<Result> {
  if (profileFile === undefined) return during();
  const edge = belfry.asking.find(({ name }) => name === "node-a");
  await edge?.ask("startProfile");
  const result = await during();
  await edge?.ask("stopProfile", profileFile);
  return result;
}
