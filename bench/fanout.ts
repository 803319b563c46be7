/**
 * What the edge's driver makes of one frame for many connections, beside bare sockets
 * that write the same bytes and beside `ws`: one process, three groups of sockets, in
 * turns of a few milliseconds each, warmed. A ratio is taken of neighbours in time.
 *
 * Rates are by the clock and disturbed by whatever else runs; the processor's time of the
 * writing process is noted beside them.
 */
import { setTimeout as delay } from "node:timers/promises";
import { figureOf, median, medianOf, ratioOf, shown } from "./harness/figures.js";
import { bench, type Figures, note } from "./harness/report.js";
import { WorkerProcess } from "./harness/worker-process.js";
import type { ReadersOptions } from "./load/fanout-readers.js";
import type { FanoutCost, FanoutPlan, Way } from "./load/fanout-server.js";

const socketsPerWay = 500;
const bodyBytes = 256;
const ways: readonly Way[] = ["bare", "edge", "ws"];
const warmRounds = 60;
const rounds = 200;
/** Of a round and way: short, so that neighbours in time see the same machine. */
const turns = 4;
const manyFrames = 8;
const boundMs = 120_000;

await bench("fanout", boundMs, async () => {
  await using server = WorkerProcess.start("load/fanout-server.js");
  await using readers = WorkerProcess.start("load/fanout-readers.js");
  const ports = await server.ask<Record<Way, number>>("start");
  for (const way of ways) {
    const isUpgrading = way !== "bare";
    const options = { port: ports[way], count: socketsPerWay, isUpgrading };
    await readers.ask("open", options satisfies ReadersOptions);
  }
  while (!isFull(await server.ask<Record<Way, number>>("counts"))) await delay(20);
  const one = await measure(server, 1);
  const many = await measure(server, manyFrames);
  const ratio = { better: "higher" } as const;
  return {
    frames_per_s: medianOf(perSecond(one.edge), { unit: "1/s", better: "higher" }),
    vs_bare_writes: ratioOf(perSecond(one.edge), perSecond(one.bare), { ...ratio, goal: 0.9 }),
    vs_ws_send: ratioOf(perSecond(one.edge), perSecond(one.ws), ratio),
    cpu_us_per_frame: figureOf(cpuUs(one.edge), { unit: "µs", better: "lower" }),
    cpu_us_per_frame_bare: figureOf(cpuUs(one.bare), { unit: "µs", better: "lower" }),
    cpu_us_per_frame_ws: figureOf(cpuUs(one.ws), { unit: "µs", better: "lower" }),
    [`vs_bare_writes_${manyFrames}_a_turn`]: ratioOf(
      perSecond(many.edge),
      perSecond(many.bare),
      ratio,
    ),
    [`vs_ws_send_${manyFrames}_a_turn`]: ratioOf(perSecond(many.edge), perSecond(many.ws), ratio),
  } satisfies Figures;
});

type Costs = Record<Way, FanoutCost[]>;

async function measure(server: WorkerProcess, framesPerTurn: number): Promise<Costs> {
  const costs: Costs = { bare: [], edge: [], ws: [] };
  for (let round = 0; round < warmRounds + rounds; round++) {
    // Who is first meets the caches of who was last: each is it as often.
    for (let at = 0; at < ways.length; at++) {
      const way = ways[(round + at) % ways.length] ?? "bare";
      const plan: FanoutPlan = { way, bodyBytes, turns, framesPerTurn };
      const cost = await server.ask<FanoutCost>("fanOut", plan);
      if (round >= warmRounds) costs[way].push(cost);
    }
  }
  for (const way of ways) {
    const rate = shown(Math.round(median(perSecond(costs[way]))));
    const cpu = cpuUs(costs[way]).toFixed(2);
    note(`${framesPerTurn} a turn, ${way}: ${rate}/s, ${cpu} µs of processor a frame`);
  }
  return costs;
}

function isFull(counts: Readonly<Record<Way, number>>): boolean {
  return ways.every((way) => counts[way] === socketsPerWay);
}

function perSecond(costs: readonly FanoutCost[]): number[] {
  return costs.map(({ frames, wallUs }) => (frames * 1e6) / wallUs);
}

/** Over all rounds: one round is shorter than the clock of processor time is fine. */
function cpuUs(costs: readonly FanoutCost[]): number {
  const sum = (of: (cost: FanoutCost) => number) =>
    costs.reduce((total, cost) => total + of(cost), 0);
  return sum(({ cpuUs }) => cpuUs) / sum(({ frames }) => frames);
}
