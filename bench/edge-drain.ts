/**
 * An edge with 10,000 clients under pushes loses them twice: it is drained by an operator's
 * command; then the edge that they are on by that time is upgraded, which is SIGTERM and a
 * start of a newer version. Bystanders on another edge tell what that costs those who do not
 * move. All of it, the clients too, shares the machine's processors.
 *
 *   BENCH_CLIENTS=n   clients that move (10,000); bystanders and the load are in proportion
 *   BENCH_RATE=n      told to move in a second, in the drain (the platform's own)
 *   BENCH_PROFILE=folder   also profiles the nodes during the drain, prints what is hot
 */
import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { makeNewerVersion } from "../test/support/newer-version.js";
import { runOperatorCommand } from "../test/support/operator-command.js";
import { untilBalanced } from "../test/support/placement-state.js";
import { figureOf } from "./harness/figures.js";
import { type CpuProfile, hotFunctions, partShares } from "./harness/hot-functions.js";
import { bench, type Figures, note } from "./harness/report.js";
import { type Moved, MovingLoad, type Seen } from "./load/moving-load.js";
import { BelfryUnderLoad } from "./load/system-under-load.js";

const nodes = ["a", "b", "c", "d"];
const movers = Number(process.env["BENCH_CLIENTS"] ?? 10_000);
const bystanders = Math.ceil(movers / 4);
/** Of all users, who are drawn alike: about half of what two cores bear with all of this. */
const perSecond = Math.ceil(movers / 10);
const rate = process.env["BENCH_RATE"];
const profileFolder = process.env["BENCH_PROFILE"];
const warmMs = 12_000;
const restMs = 8_000;
const waitSeconds = "120";
const boundMs = 240_000;
const inNode = new URL("./harness/in-node.js", import.meta.url).href;

await bench("edge-drain", boundMs, async () => {
  await using belfry = await BelfryUnderLoad.start(inNode, nodes);
  const { platform } = belfry;
  const program = await makeNewerVersion(join(platform.folder, "newer"));
  await untilBalanced(platform);
  // Whom a gives go to b, so that it has all of them when it is upgraded.
  for (const node of ["dc1-c", "dc1-d"]) await operate(belfry, "dispatcher", "weigh", node, "0");
  await using load = await MovingLoad.start(belfry, { movers, bystanders, nodes, perSecond });
  await delay(warmMs);
  const atRest = await load.watch("at rest", () => delay(restMs));
  await startProfiles(belfry);
  const pace = rate === undefined ? [] : ["--rate", rate];
  const drain = await load.move("drain", () =>
    operate(belfry, "drain", "dc1-a", "--wait", waitSeconds, ...pace),
  );
  await showProfiles(belfry);
  for (const node of ["dc1-c", "dc1-d"]) await operate(belfry, "dispatcher", "weigh", node, "100");
  await operate(belfry, "undrain", "dc1-a");
  await untilBalanced(platform);
  const upgrade = await load.move("upgrade", async () => {
    await platform.killNode("b", "SIGTERM");
    await platform.startNode("b", {}, process.execPath, program);
  });
  return figuresOf(atRest, drain, upgrade, await load.settle());
});

function figuresOf(
  atRest: Seen,
  drain: Moved,
  upgrade: Moved,
  { accepted, moving, others }: Awaited<ReturnType<MovingLoad["settle"]>>,
): Figures {
  const ms = { unit: "ms", better: "lower" } as const;
  const pushes = { unit: "pushes", better: "lower", goal: 0 } as const;
  const shown = moving.unique + others.unique;
  return {
    clients: figureOf(movers, { unit: "clients", better: "higher" }),
    others_p50_at_rest_ms: figureOf(atRest.latencies.p50Ms, ms),
    others_p99_at_rest_ms: figureOf(atRest.latencies.p99Ms, ms),
    loop_lag_p99_at_rest_ms: figureOf(atRest.loopLagMs, ms),
    ...movedFigures("drain", drain),
    ...movedFigures("upgrade", upgrade),
    lost: figureOf(Math.max(0, accepted - shown), pushes),
    duplicates: figureOf(moving.doubled + others.doubled, pushes),
    out_of_order: figureOf(moving.outOfOrder + others.outOfOrder, pushes),
  };
}

/** An upgrade takes all of its clients' time at once: it has the budget of a burst, no goal else. */
function movedFigures(name: "drain" | "upgrade", moved: Moved): Figures {
  const ms = { unit: "ms", better: "lower" } as const;
  const connects = { unit: "connections", better: "lower" } as const;
  const goals = name === "drain" ? { p99: { goal: 100 }, lag: { goal: 20 } } : { p99: {}, lag: {} };
  const { latencies, loopLagMs } = moved.seen;
  return {
    [`${name}_s`]: figureOf(moved.tookS, { unit: "s", better: "lower" }),
    [`${name}_connects_max`]: figureOf(moved.connectsMax, { ...connects, goal: 1 }),
    [`${name}_connects_min`]: figureOf(moved.connectsMin, {
      ...connects,
      better: "higher",
      goal: 1,
    }),
    [`${name}_closed_for_staying`]: figureOf(moved.closedForStaying, { ...connects, goal: 0 }),
    [`others_p50_in_${name}_ms`]: figureOf(latencies.p50Ms, ms),
    [`others_p99_in_${name}_ms`]: figureOf(latencies.p99Ms, { ...ms, ...goals.p99 }),
    [`loop_lag_p99_in_${name}_ms`]: figureOf(loopLagMs, { ...ms, ...goals.lag }),
  };
}

async function operate(belfry: BelfryUnderLoad, ...args: readonly string[]): Promise<void> {
  const { exitCode, document } = await runOperatorCommand(belfry.platform, ...args);
  if (exitCode !== 0) throw new Error(`${args.join(" ")}: ${JSON.stringify(document)}`);
}

/** The profiler costs a few percent. */
async function startProfiles(belfry: BelfryUnderLoad): Promise<void> {
  if (profileFolder === undefined) return;
  for (const node of belfry.asking) await node.ask("startProfile");
}

async function showProfiles(belfry: BelfryUnderLoad): Promise<void> {
  if (profileFolder === undefined) return;
  await mkdir(profileFolder, { recursive: true });
  const line = ({ name, percent }: { name: string; percent: number }) =>
    `  ${percent.toFixed(1).padStart(5)} %  ${name}`;
  for (const node of belfry.asking) {
    const file = join(profileFolder, `${node.name}.cpuprofile`);
    await node.ask("stopProfile", file);
    const read = JSON.parse(readFileSync(file, "utf8")) as CpuProfile;
    note(`\n${node.name}, by part:\n${partShares(read).map(line).join("\n")}`);
    note(`${node.name}, all:\n${hotFunctions(read, 25).map(line).join("\n")}`);
  }
}
