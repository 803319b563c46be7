/**
 * At-least-once pushes end to end on real parts: one publisher process, NATS, two
 * nodes, 1,000 devices in one process, 256-byte bodies, all on this machine. On the
 * embedded store, on Redis and MySQL (private ones, flushed at each commit), and beside
 * them, in turns, a bare pipeline on the embedded store's path.
 *
 * A push counts when it was answered ok, delivered and acked. Belfry's devices
 * acknowledge as its SDK does (32 messages or 50 ms), the bare ones each message; a
 * last run of the bare ones batches acks too. Latency is from the moment a push was
 * due to its frame in the device's process.
 *
 *   BENCH_RECEIPTS=1       the app's services are told of each push: two events a push
 *   BENCH_PROFILE=folder   also profiles the nodes during one run, prints what is hot
 */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { figureOf, median, medianOf, ratioOf, shown } from "./harness/figures.js";
import { type CpuProfile, hotFunctions, partShares } from "./harness/hot-functions.js";
import { latencyLine } from "./harness/latency.js";
import { cpuLine } from "./harness/process-usage.js";
import { bench, type Figures, note } from "./harness/report.js";
import type { AckPolicy } from "./load/ack-batches.js";
import { Lane, type Rates } from "./load/lane.js";
import { BareUnderLoad, BelfryUnderLoad } from "./load/system-under-load.js";

const users = 1_000;
const acksOfSdk: AckPolicy = { messagesMax: 32, delayMs: 50 };
const ackEach: AckPolicy = { messagesMax: 1, delayMs: 0 };
const inFlightTried = [500, 1_000, 2_000];
/** A longer queue that brings less than this is only latency. */
const kneeGain = 1.05;
const kneeSpanMs = 1_500;
const coldMs = 4_000;
const warmMs = 1_500;
const runs = 3;
const runSpanMs = 10_000;
const openSpanMs = 15_000;
const boundMs = 300_000;

/** DESIGN §11. */
const goals = { lmdb: { perSecond: 30_000 }, redis_mysql: { perSecond: 15_000 } } as const;

const inNode = new URL("./harness/in-node.js", import.meta.url).href;

/** One of the stores: its rates in turns with the others', then its latency at half of them. */
class Measured implements AsyncDisposable {
  readonly rates: Rates[] = [];

  private constructor(
    readonly store: keyof typeof goals,
    readonly belfry: BelfryUnderLoad,
    readonly lane: Lane,
    readonly inFlight: number,
  ) {}

  static async start(store: keyof typeof goals, belfry: BelfryUnderLoad): Promise<Measured> {
    const lane = await Lane.open(belfry, users, acksOfSdk);
    return new Measured(store, belfry, lane, await findKnee(lane));
  }

  async measure(): Promise<void> {
    this.rates.push(await measure(this.lane, this.inFlight));
  }

  async figures({ perSecond }: { readonly perSecond: number }): Promise<Figures> {
    const { store, rates, lane } = this;
    const perSecondRuns = perSecondOf(rates);
    const half = Math.floor(median(perSecondRuns) / 2);
    const open = await lane.openLoop(half, warmMs, openSpanMs);
    note(`${lane.system.name}: open loop at ${shown(half)}/s`);
    note(`  delivered ${shown(Math.round(open.deliveredPerSecond))}/s`);
    note(`  ${latencyLine(open.latencies)}\n  ${cpuLine(open.cpu)}`);
    const { p50Ms, p99Ms } = open.latencies;
    const cpuUs = rates.map(({ cpuUsPerPush }) => cpuUsPerPush);
    return {
      [`${store}_acked_per_s`]: medianOf(perSecondRuns, {
        unit: "1/s",
        better: "higher",
        goal: perSecond,
      }),
      [`${store}_p50_ms`]: figureOf(p50Ms, { unit: "ms", better: "lower", goal: 5 }),
      [`${store}_p99_ms`]: figureOf(p99Ms, { unit: "ms", better: "lower", goal: 30 }),
      // Of all processes: what other work on the machine disturbs least.
      [`${store}_cpu_us_per_push`]: medianOf(cpuUs, { unit: "µs", better: "lower" }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lane[Symbol.asyncDispose]();
    await this.belfry[Symbol.asyncDispose]();
  }
}

function comparedFigures(
  ours: readonly Rates[],
  theirs: readonly Rates[],
  theirsBatching: Rates,
): Figures {
  const [oursPerSecond, theirsPerSecond] = [perSecondOf(ours), perSecondOf(theirs)];
  const cpuUs = theirs.map(({ cpuUsPerPush }) => cpuUsPerPush);
  return {
    vs_bare_pipeline: ratioOf(oursPerSecond, theirsPerSecond, { better: "higher", goal: 0.8 }),
    vs_bare_same_acks: figureOf(median(oursPerSecond) / theirsBatching.perSecond, {
      unit: "ratio",
      better: "higher",
    }),
    bare_acked_per_s: medianOf(theirsPerSecond, { unit: "1/s", better: "higher" }),
    other_load_cores: medianOf(
      [...ours, ...theirs].map(({ cpu }) => cpu.elsewhere),
      { unit: "cores", better: "lower" },
    ),
    bare_cpu_us_per_push: medianOf(cpuUs, { unit: "µs", better: "lower" }),
  };
}

function perSecondOf(rates: readonly Rates[]): number[] {
  return rates.map(({ perSecond }) => perSecond);
}

/** The shortest queue that brings nearly what a longer one would; first warms all up. */
async function findKnee(lane: Lane): Promise<number> {
  await lane.closedLoop(inFlightTried[0] ?? 1, coldMs, kneeSpanMs);
  let best = { inFlight: 0, perSecond: 0 };
  for (const inFlight of inFlightTried) {
    const { perSecond } = await lane.closedLoop(inFlight, warmMs, kneeSpanMs);
    note(`${lane.system.name}: ${inFlight} in flight bring ${shown(Math.round(perSecond))}/s`);
    if (perSecond > best.perSecond * kneeGain) best = { inFlight, perSecond };
  }
  return best.inFlight;
}

async function measure(lane: Lane, inFlight: number): Promise<Rates> {
  const rates = await lane.closedLoop(inFlight, warmMs, runSpanMs);
  noteRates(lane, inFlight, rates);
  return rates;
}

function noteRates(lane: Lane, inFlight: number, rates: Rates): void {
  note(`${lane.system.name}: ${shown(Math.round(rates.perSecond))}/s with ${inFlight} in flight`);
  note(`  ${cpuLine(rates.cpu)}; ${rates.cpuUsPerPush.toFixed(0)} µs of processor a push`);
}

/** A run of its own: the profiler costs a few percent. */
async function profile({ belfry, lane, inFlight }: Measured, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const nodes = belfry.asking;
  await Promise.all(nodes.map((node) => node.ask("startProfile")));
  noteRates(lane, inFlight, await lane.closedLoop(inFlight, 0, runSpanMs));
  for (const node of nodes) {
    const file = join(folder, `${node.name}.cpuprofile`);
    await node.ask("stopProfile", file);
    const read = JSON.parse(readFileSync(file, "utf8")) as CpuProfile;
    const line = ({ name, percent }: { name: string; percent: number }) =>
      `  ${percent.toFixed(1).padStart(5)} %  ${name}`;
    note(`\n${node.name}, by part:\n${partShares(read).map(line).join("\n")}`);
    for (const part of ["owner", "edge", "mysql", "redis"]) {
      note(`${node.name}, ${part}:\n${hotFunctions(read, 10, part).map(line).join("\n")}`);
    }
    note(`${node.name}, all:\n${hotFunctions(read, 25).map(line).join("\n")}`);
  }
}

await bench("unicast", boundMs, async () => {
  const profileFolder = process.env["BENCH_PROFILE"];
  const preload = profileFolder === undefined ? undefined : inNode;
  await using lmdb = await Measured.start("lmdb", await BelfryUnderLoad.start(preload));
  await using mysql = await Measured.start(
    "redis_mysql",
    await BelfryUnderLoad.onRedisMysql(preload),
  );
  await using bare = await BareUnderLoad.start();
  await using theirs = await Lane.open(bare, users, ackEach);
  const theirsInFlight = await findKnee(theirs);
  const theirsRates: Rates[] = [];
  for (let run = 0; run < runs; run++) {
    await lmdb.measure();
    theirsRates.push(await measure(theirs, theirsInFlight));
    await mysql.measure();
  }
  await theirs.setAcks(acksOfSdk);
  const theirsBatching = await measure(theirs, theirsInFlight);
  const figures = {
    ...(await lmdb.figures(goals.lmdb)),
    ...(await mysql.figures(goals.redis_mysql)),
    ...comparedFigures(lmdb.rates, theirsRates, theirsBatching),
  };
  for (const each of [lmdb, mysql]) {
    if (profileFolder !== undefined) await profile(each, join(profileFolder, each.store));
    note(await each.lane.verify());
  }
  note(await theirs.verify());
  return figures;
});
