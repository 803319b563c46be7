/**
 * At-least-once pushes end to end on real parts: one publisher process, NATS, two
 * nodes with the embedded store, 1,000 devices in one process, 256-byte bodies, all
 * on this machine. Beside it, in turns, a bare pipeline on the same path.
 *
 * A push counts when it was answered ok, delivered and acked. Devices acknowledge as
 * the SDK does (32 messages or 50 ms), on both sides. Latency is from the moment a
 * push was due to its frame in the device's process.
 *
 *   BENCH_PROFILE=folder   also profiles the nodes during one run, prints what is hot
 */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type CpuProfile, hotFunctions, partShares } from "./harness/hot-functions.js";
import { figureOf, median, medianOf, ratioOf, shown } from "./harness/figures.js";
import { latencyLine } from "./harness/latency.js";
import { sharesLine } from "./harness/process-usage.js";
import { bench, type Figures, note } from "./harness/report.js";
import { Lane, type LaneOptions, type Rates } from "./load/lane.js";
import { BareUnderLoad, BelfryUnderLoad } from "./load/system-under-load.js";

const laneOptions: LaneOptions = { users: 1_000, ackMessagesMax: 32, ackDelayMs: 50 };
const inFlightTried = [500, 1_000, 2_000];
/** A longer queue that brings less than this is only latency. */
const kneeGain = 1.05;
const kneeSpanMs = 2_000;
const warmMs = 1_500;
const runs = 3;
const runSpanMs = 10_000;
const openSpanMs = 15_000;
const boundMs = 180_000;

const inNode = new URL("./harness/in-node.js", import.meta.url).href;

await bench("unicast", boundMs, async () => {
  const profileFolder = process.env["BENCH_PROFILE"];
  const preload = profileFolder === undefined ? undefined : inNode;
  await using belfry = await BelfryUnderLoad.start(preload);
  await using bare = await BareUnderLoad.start();
  await using ours = await Lane.open(belfry, laneOptions);
  await using theirs = await Lane.open(bare, laneOptions);
  const oursInFlight = await findKnee(ours);
  const theirsInFlight = await findKnee(theirs);
  const oursRates: number[] = [];
  const theirsRates: number[] = [];
  for (let run = 0; run < runs; run++) {
    oursRates.push(await measure(ours, oursInFlight));
    theirsRates.push(await measure(theirs, theirsInFlight));
  }
  const half = Math.floor(median(oursRates) / 2);
  const open = await ours.openLoop(half, warmMs, openSpanMs);
  note(`open loop at ${shown(half)}/s, delivered ${shown(Math.round(open.deliveredPerSecond))}/s`);
  note(`  ${latencyLine(open.latencies)}\n  ${sharesLine(open.cores)}`);
  if (profileFolder !== undefined) await profile(belfry, ours, oursInFlight, profileFolder);
  note(await ours.verify());
  note(await theirs.verify());
  return {
    lmdb_acked_per_s: medianOf(oursRates, { unit: "1/s", better: "higher", goal: 30_000 }),
    lmdb_p50_ms: figureOf(open.latencies.p50Ms, { unit: "ms", better: "lower", goal: 5 }),
    lmdb_p99_ms: figureOf(open.latencies.p99Ms, { unit: "ms", better: "lower", goal: 30 }),
    bare_acked_per_s: medianOf(theirsRates, { unit: "1/s", better: "higher" }),
    vs_bare_pipeline: ratioOf(oursRates, theirsRates, { better: "higher", goal: 0.8 }),
  } satisfies Figures;
});

/** The shortest queue that brings nearly what a longer one would; warms up as well. */
async function findKnee(lane: Lane): Promise<number> {
  let best = { inFlight: 0, perSecond: 0 };
  for (const inFlight of inFlightTried) {
    const { perSecond } = await lane.closedLoop(inFlight, warmMs, kneeSpanMs);
    note(`${lane.system.name}: ${inFlight} in flight bring ${shown(Math.round(perSecond))}/s`);
    if (perSecond > best.perSecond * kneeGain) best = { inFlight, perSecond };
  }
  return best.inFlight;
}

async function measure(lane: Lane, inFlight: number): Promise<number> {
  const rates = await lane.closedLoop(inFlight, warmMs, runSpanMs);
  noteRates(lane, inFlight, rates);
  return rates.perSecond;
}

function noteRates(lane: Lane, inFlight: number, rates: Rates): void {
  note(`${lane.system.name}: ${shown(Math.round(rates.perSecond))}/s with ${inFlight} in flight`);
  note(`  ${sharesLine(rates.cores)}`);
}

/** A run of its own: the profiler costs a few percent. */
async function profile(
  belfry: BelfryUnderLoad,
  lane: Lane,
  inFlight: number,
  folder: string,
): Promise<void> {
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
    for (const part of ["owner", "edge"]) {
      note(`${node.name}, ${part}:\n${hotFunctions(read, 10, part).map(line).join("\n")}`);
    }
    note(`${node.name}, all:\n${hotFunctions(read, 25).map(line).join("\n")}`);
  }
}
