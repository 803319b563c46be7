/**
 * The simulator's command: runs seeds, each twice, and compares the two.
 *
 *   SEEDS=n     how many (100)          SEED=s        the first; alone, only that one
 *   SIM_BREAK=name  with a deliberate breakage       SIM_WITHOUT=fault,fault
 *   SIM_TRACE=n     lines of the trace of a failing seed (80); SIM_TRACE_FILE=all of them
 *   SIM_FAILURES=n  ends after so many (1)           SIM_THREADS=n  (one a core)
 */
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { breakages } from "./breakages.js";
import { type FaultName, faultNames } from "./fault-names.js";
import { runSeed } from "./run-seed.js";
import { SeedPool } from "./seed-pool.js";
import {
  breakageNamed,
  optionsOf,
  runTwice,
  type SeedOutcome,
  type SeedSettings,
} from "./seed-runs.js";

/** Make hands on an empty text for what was not given. */
function given(name: string): string | undefined {
  const value = process.env[name];
  return value === "" ? undefined : value;
}

function isFault(name: string): name is FaultName {
  return (faultNames as readonly string[]).includes(name);
}

const isOne = given("SEED") !== undefined && given("SEEDS") === undefined;
const first = Number(given("SEED") ?? 1);
const count = isOne ? 1 : Number(given("SEEDS") ?? 100);
const traceLines = Number(given("SIM_TRACE") ?? 80);
const failuresMax = Number(given("SIM_FAILURES") ?? 1);
const threads = Math.min(count, Number(given("SIM_THREADS") ?? availableParallelism()));
const settings: SeedSettings = {
  without: (given("SIM_WITHOUT") ?? "").split(",").filter(isFault),
  breakage: given("SIM_BREAK"),
};

if (settings.breakage !== undefined && breakageNamed(settings.breakage) === undefined) {
  console.error(`SIM_BREAK is one of ${breakages.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}

/** One line a failure, its trace where wanted, and how to see it again. */
async function report(seed: number, { failure }: SeedOutcome): Promise<void> {
  console.log(`seed ${seed}: ${failure}`);
  const file = given("SIM_TRACE_FILE");
  if (traceLines > 0 || file !== undefined) {
    const again = await runSeed({ ...optionsOf(settings, seed), isTraceKept: true });
    if (again.failure?.message !== failure) console.log(`  on replay: ${again.failure}`);
    // Of what is no violation: a bug of the actors, or of the simulator.
    else if (again.failure?.name !== "Violation") console.log(again.failure?.stack);
    for (const line of again.tail(traceLines)) console.log(`  ${line}`);
    if (file !== undefined) writeFileSync(file, `${again.tail(1e6).join("\n")}\n`);
  }
  const { without, breakage } = settings;
  const prefix = [
    without.length > 0 ? `SIM_WITHOUT=${without.join(",")} ` : "",
    breakage === undefined ? "" : `SIM_BREAK=${breakage} `,
  ];
  console.log(`replay: ${prefix.join("")}make sim SEED=${seed}`);
}

const startedMs = performance.now();
let failures = 0;
let events = 0;
let virtualMs = 0;
let done = 0;
let ownedMs = 0;
let settledMs = 0;
const totals = new Map<string, number>();
const pool = threads > 1 ? new SeedPool(settings, first, first + count, threads) : undefined;
for (let seed = first; seed < first + count && failures < failuresMax; seed++) {
  const outcome = await (pool?.outcomeOf(seed) ?? runTwice(settings, seed));
  done++;
  events += outcome.events;
  virtualMs += outcome.virtualMs;
  ownedMs = Math.max(ownedMs, outcome.ownedMs);
  settledMs = Math.max(settledMs, outcome.settledMs);
  for (const [name, value] of Object.entries({ ...outcome.figures, ...outcome.faults })) {
    totals.set(name, (totals.get(name) ?? 0) + value);
  }
  if (outcome.failure === undefined) continue;
  failures++;
  await report(seed, outcome);
}
await pool?.stop();
const minutes = (performance.now() - startedMs) / 60_000;
const seconds = (ms: number) => Math.round(ms / 1_000);
console.log(
  `${done} seeds, ${failures} failed; ${Math.round(done / minutes)} seeds a minute on ` +
    `${threads} threads, ${Math.round(events / done)} events and ` +
    `${seconds(virtualMs / done)} virtual seconds each; after the faults all shards were owned ` +
    `within ${seconds(ownedMs)} s, all was settled within ${seconds(settledMs)} s of the last push`,
);
console.log(Object.fromEntries(totals));
process.exitCode = failures > 0 ? 1 : 0;
