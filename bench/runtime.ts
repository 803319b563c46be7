/**
 * The actor runtime: local tells and spawn-stops, beside nact's in the same process
 * and in turns; and the bytes of an idle session and an idle connection, their entry
 * in the parent's map and the edge's arrays included, the socket not.
 */
import { figureOf, medianOf, ratioOf, shown, slope } from "./harness/figures.js";
import { bench, type Figures, note } from "./harness/report.js";
import { WorkerProcess } from "./harness/worker-process.js";
import { belfryRunner } from "./runtime/belfry-actors.js";
import type { MemoryCurve } from "./runtime/idle-actors.js";
import { nactRunner } from "./runtime/nact-actors.js";
import { type Runner, timeSpawns, timeTells } from "./runtime/runner.js";

const runs = 7;
const ringSize = 1_000;
const belfryHops = 20_000_000;
const nactHops = 1_000_000;
const belfrySpawns = 200_000;
const nactSpawns = 50_000;
/** Twice as many: maps that double are filled alike at both. */
const memoryCounts = [50_000, 100_000];
const boundMs = 60_000;

await bench("runtime", boundMs, async () => {
  const memory = await measureMemory();
  return { ...(await measureSpeed()), ...memory };
});

interface Speeds {
  readonly ring: number[];
  readonly pair: number[];
  readonly spawn: number[];
}

async function measureSpeed(): Promise<Figures> {
  const [belfry, nact] = [belfryRunner(), nactRunner()];
  const ours: Speeds = { ring: [], pair: [], spawn: [] };
  const theirs: Speeds = { ring: [], pair: [], spawn: [] };
  // The first warms both up and is not counted.
  for (let run = 0; run <= runs; run++) {
    await measureOnce(belfry, belfryHops, belfrySpawns, run === 0 ? undefined : ours);
    await measureOnce(nact, nactHops, nactSpawns, run === 0 ? undefined : theirs);
  }
  await Promise.all([belfry.close(), nact.close()]);
  const rate = { unit: "1/s", better: "higher" } as const;
  return {
    tell_per_s: medianOf(ours.ring, rate),
    tell_vs_nact: ratioOf(ours.ring, theirs.ring, { better: "higher" }),
    tell_pair_per_s: medianOf(ours.pair, rate),
    tell_pair_vs_nact: ratioOf(ours.pair, theirs.pair, { better: "higher" }),
    spawn_per_s: medianOf(ours.spawn, rate),
    spawn_vs_nact: ratioOf(ours.spawn, theirs.spawn, { better: "higher" }),
    nact_tell_per_s: medianOf(theirs.ring, rate),
    nact_spawn_per_s: medianOf(theirs.spawn, rate),
  };
}

/** One ring with a token for each actor, one pair with a single token, one flock spawned and stopped. */
async function measureOnce(
  runner: Runner,
  hops: number,
  spawns: number,
  speeds: Speeds | undefined,
): Promise<void> {
  const ring = await timeTells(runner, ringSize, ringSize, hops);
  const pair = await timeTells(runner, 2, 1, hops / 4);
  const spawn = await timeSpawns(runner, spawns);
  speeds?.ring.push(ring);
  speeds?.pair.push(pair);
  speeds?.spawn.push(spawn);
}

async function measureMemory(): Promise<Figures> {
  const sessions = await measureIn("measureSessions");
  const connections = await measureIn("measureConnections");
  const bytes = { unit: "B", better: "lower" } as const;
  return {
    session_actor_bytes: figureOf(perActor(sessions), { ...bytes, goal: 400 }),
    connection_actor_bytes: figureOf(perActor(connections), { ...bytes, goal: 200 }),
  };
}

/** A process for each, so that neither finds the other's garbage or its compiled code. */
async function measureIn(what: string): Promise<MemoryCurve> {
  await using worker = WorkerProcess.start("runtime/idle-actors.js", ["--expose-gc"]);
  const curve = await worker.ask<MemoryCurve>(what, memoryCounts);
  const points = curve.points.map(
    ({ count, bytes }) => `${shown(count)}: ${shown(bytes)} B of heap`,
  );
  note(`${what}: ${points.join(", ")}, ${curve.slotBytes.toFixed(0)} B of arrays a slot`);
  return curve;
}

function perActor({ points, slotBytes }: MemoryCurve): number {
  return slope(points.map(({ count, bytes }) => ({ x: count, y: bytes }))) + slotBytes;
}
