/**
 * An edge with 10,000 clients under pushes loses them twice: it is drained by an operator's
 * command and taken back, then it is upgraded: SIGTERM and a start. Bystanders on another
 * edge tell what that costs those who do not move.
 *
 *   BENCH_CLIENTS=n   clients that move (10,000); bystanders and the load are in proportion
 */
import { setTimeout as delay } from "node:timers/promises";
import { runOperatorCommand } from "../test/support/operator-command.js";
import { untilBalanced } from "../test/support/placement-state.js";
import { figureOf } from "./harness/figures.js";
import { bench, type Figures } from "./harness/report.js";
import { MovingLoad } from "./load/moving-load.js";
import { BelfryUnderLoad } from "./load/system-under-load.js";

const nodes = ["a", "b", "c", "d"];
const movers = Number(process.env["BENCH_CLIENTS"] ?? 10_000);
const bystanders = Math.ceil(movers / 4);
/** Of all users, who are drawn alike. */
const perSecond = Math.ceil(movers / 5);
const restMs = 5_000;
const boundMs = 480_000;

await bench("edge-drain", boundMs, async () => {
  await using belfry = await BelfryUnderLoad.start(undefined, nodes);
  await untilBalanced(belfry.platform);
  await using load = await MovingLoad.start(belfry, { movers, bystanders, nodes, perSecond });
  const atRest = await load.latenciesDuring("at rest", () => delay(restMs));
  const drain = await load.move("drain", async () => {
    await operate(belfry, "drain", "dc1-a", "--wait", "240");
  });
  await operate(belfry, "undrain", "dc1-a");
  // Those who were on a are on the others: b's are the ones to move now.
  const upgrade = await load.move("upgrade", async () => {
    await belfry.platform.killNode("b", "SIGTERM");
    await belfry.platform.startNode("b");
  });
  const { accepted, moving, others } = await load.settle();
  const shown = moving.unique + others.unique;
  const ms = { unit: "ms", better: "lower" } as const;
  const seconds = { unit: "s", better: "lower" } as const;
  const pushes = { unit: "pushes", better: "lower", goal: 0 } as const;
  const connects = { unit: "connections", better: "lower" } as const;
  return {
    clients: figureOf(movers, { unit: "clients", better: "higher" }),
    drain_s: figureOf(drain.tookS, seconds),
    upgrade_s: figureOf(upgrade.tookS, seconds),
    drain_connects_max: figureOf(drain.connectsMax, { ...connects, goal: 1 }),
    upgrade_connects_max: figureOf(upgrade.connectsMax, { ...connects, goal: 1 }),
    others_p99_at_rest_ms: figureOf(atRest.p99Ms, ms),
    others_p99_in_drain_ms: figureOf(drain.latencies.p99Ms, ms),
    others_p99_in_upgrade_ms: figureOf(upgrade.latencies.p99Ms, ms),
    lost: figureOf(Math.max(0, accepted - shown), pushes),
    duplicates: figureOf(moving.doubled + others.doubled, pushes),
    out_of_order: figureOf(moving.outOfOrder + others.outOfOrder, pushes),
  } satisfies Figures;
});

async function operate(belfry: BelfryUnderLoad, ...args: readonly string[]): Promise<void> {
  const { exitCode, document } = await runOperatorCommand(belfry.platform, ...args);
  if (exitCode !== 0) throw new Error(`${args.join(" ")}: ${JSON.stringify(document)}`);
}
