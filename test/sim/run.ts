/**
 * The simulator's command: runs seeds, each twice, and compares the two.
 *
 *   SEEDS=n     how many (100)          SEED=s        the first; alone, only that one
 *   SIM_BREAK=name  with a deliberate breakage       SIM_WITHOUT=fault,fault
 *   SIM_STRICT=1    also what is known and not built yet (assumptions.ts)
 *   SIM_TRACE=n     lines of the trace of a failing seed (80)
 */
import { writeFileSync } from "node:fs";
import { breakages } from "./breakages.js";
import { type FaultName, faultNames } from "./nemesis.js";
import { type RunOptions, type RunResult, runSeed } from "./run-seed.js";

/** Make hands on an empty text for what was not given. */
function given(name: string): string | undefined {
  const value = process.env[name];
  return value === "" ? undefined : value;
}

const isOne = given("SEED") !== undefined && given("SEEDS") === undefined;
const first = Number(given("SEED") ?? 1);
const count = isOne ? 1 : Number(given("SEEDS") ?? 100);
const traceLines = Number(given("SIM_TRACE") ?? 80);
const failuresMax = Number(given("SIM_FAILURES") ?? 1);
const without = new Set((given("SIM_WITHOUT") ?? "").split(",").filter(isFault));

const isStrict = given("SIM_STRICT") === "1";

const breakage = breakages.find(({ name }) => name === given("SIM_BREAK"));
if (breakage === undefined && given("SIM_BREAK") !== undefined) {
  console.error(`SIM_BREAK is one of ${breakages.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}

function optionsOf(seed: number): RunOptions {
  return { seed, without, isStrict, ...(breakage === undefined ? {} : { breakage }) };
}

function isFault(name: string): name is FaultName {
  return (faultNames as readonly string[]).includes(name);
}

async function runTwice(seed: number): Promise<RunResult> {
  const options = optionsOf(seed);
  const once = await runSeed(options);
  const again = await runSeed(options);
  if (once.failure !== undefined || once.hash === again.hash) return once;
  const failure = new Error(`two runs differ: ${once.hash} and ${again.hash}`);
  return { ...once, failure };
}

async function report(seed: number, failure: Error): Promise<void> {
  console.log(`seed ${seed}: ${failure.message}`);
  if (failure.name !== "Violation") console.log(failure.stack);
  const file = given("SIM_TRACE_FILE");
  if (traceLines > 0 || file !== undefined) {
    const again = await runSeed({ ...optionsOf(seed), isTraceKept: true });
    if (again.failure?.message !== failure.message) console.log(`  on replay: ${again.failure}`);
    for (const line of again.tail(traceLines)) console.log(`  ${line}`);
    if (file !== undefined) writeFileSync(file, `${again.tail(1e6).join("\n")}\n`);
  }
  const names = [...without].join(",");
  const prefix = `${names === "" ? "" : `SIM_WITHOUT=${names} `}${isStrict ? "SIM_STRICT=1 " : ""}${breakage === undefined ? "" : `SIM_BREAK=${breakage.name} `}`;
  console.log(`replay: ${prefix}make sim SEED=${seed}`);
}

const startedMs = performance.now();
let failures = 0;
let events = 0;
let virtualMs = 0;
let done = 0;
const totals = new Map<string, number>();
let settledMs = 0;
for (let seed = first; seed < first + count && failures < failuresMax; seed++) {
  const result = await runTwice(seed);
  done++;
  events += result.events;
  virtualMs += result.virtualMs;
  settledMs = Math.max(settledMs, result.settledMs);
  for (const [name, value] of Object.entries({ ...result.figures, ...result.faults })) {
    totals.set(name, (totals.get(name) ?? 0) + value);
  }
  if (result.failure === undefined) continue;
  failures++;
  await report(seed, result.failure);
}
const minutes = (performance.now() - startedMs) / 60_000;
console.log(
  `${done} seeds, ${failures} failed; ${Math.round(done / minutes)} seeds a minute, ` +
    `${Math.round(events / done)} events and ${Math.round(virtualMs / done / 1_000)} virtual seconds each, ` +
    `settled within ${Math.round(settledMs / 1_000)} s`,
);
console.log(Object.fromEntries(totals));
process.exitCode = failures > 0 ? 1 : 0;
