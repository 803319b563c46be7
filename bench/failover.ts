/**
 * kill -9 on four node processes and a real NATS server, under load over all shards.
 *
 * Owner: one that holds a quarter of the shards and does not lead is killed; the time is
 * from the kill until a user in each of 64 of its shards, over both of its volumes, was
 * answered ok again. Master: the one that leads is killed; requests to shards of the
 * others, which stay where they are, are sent once each and counted when they fail.
 * What the load was answered ok is looked for on its devices at the end.
 *
 *   BENCH_RUNS=n   kills of an owner (20); a quarter as many of a master
 */
import { setTimeout as delay } from "node:timers/promises";
import { packValue } from "../src/protocol/codec.js";
import { type Shard, shardCount } from "../src/protocol/shards.js";
import {
  followerNames,
  leaderName,
  readLeader,
  shardsOf,
  untilBalanced,
  usersIn,
} from "../test/support/placement-state.js";
import { type Platform, startPlatform } from "../test/support/platform.js";
import {
  disorderedPushes,
  doubledPushes,
  lostPushes,
  summaryOf,
} from "../test/support/recorded-history.js";
import { RecordedLoad } from "../test/support/recorded-load.js";
import { msUntilServed } from "../test/support/service-probe.js";
import { until } from "../test/support/until.js";
import { figureOf, medianOf } from "./harness/figures.js";
import { bench, type Figures, note } from "./harness/report.js";
import { temporaryFolder } from "./harness/temporary-folder.js";
import { PlacementLog } from "./load/placement-log.js";
import { SteadyRequests } from "./load/steady-requests.js";

const nodes = ["a", "b", "c", "d"];
const ownerKills = Number(process.env["BENCH_RUNS"] ?? 20);
/** One kill of a master after so many of owners. */
const ownersPerMaster = 4;
const loadUsers = 256;
/** Of each user, by each of two publishers: together 512 pushes a second. */
const loadEveryMs = 1_000;
const probedShards = 64;
const probeEveryMs = 20;
const steadyUsers = 96;
const steadyEveryMs = 100;
/** Around the kill of a master. */
const steadyMs = 1_000;
/** These users have no devices. */
const command = packValue({ body: 0, ttl: 1 });
const boundMs = 900_000;

interface MasterKill {
  readonly failed: number;
  readonly newMasterMs: number;
  readonly servedMs: number;
}

await bench("failover", boundMs, async () => {
  const log = new PlacementLog();
  await using folder = temporaryFolder();
  const environment = { BELFRY_LOG_LEVEL: "info" };
  await using platform = await startPlatform({
    nodes,
    environment,
    isAsShipped: true,
    folder: folder.path,
    onLog: log.onLog,
  });
  await untilBalanced(platform);
  const users = usersIn(allShards(), loadUsers, "user");
  const plan = { users, everyMs: loadEveryMs, requesters: 1, plainPublishers: 1 };
  await using load = await RecordedLoad.start(platform, plan);
  const ownerMs: number[] = [];
  const masters: MasterKill[] = [];
  for (let run = 0; run < ownerKills; run++) {
    ownerMs.push(await killOwner(platform, load, log, run));
    if (run % ownersPerMaster === 0) masters.push(await killMaster(platform, load, log));
  }
  await load.rest();
  note(summaryOf(load.history));
  return figuresOf(ownerMs, masters, load);
});

async function killOwner(
  platform: Platform,
  load: RecordedLoad,
  log: PlacementLog,
  run: number,
): Promise<number> {
  const followers = await followerNames(platform);
  const victim = followers[run % followers.length] ?? "";
  const probes = usersIn(await shardsOf(platform, victim), probedShards, "probe");
  log.forget();
  const [killedMs, wallMs] = [performance.now(), Date.now()];
  const killed = platform.killNode(victim);
  const ms = await msUntilServed(platform, probes, killedMs, { everyMs: probeEveryMs });
  const steps = log.stepsSince(wallMs);
  note(`owner ${run + 1}: all of ${victim}'s answer after ${ms.toFixed(0)} ms (${steps})`);
  await killed;
  await startAgain(platform, load, victim);
  return ms;
}

async function killMaster(
  platform: Platform,
  load: RecordedLoad,
  log: PlacementLog,
): Promise<MasterKill> {
  const victim = await leaderName(platform);
  const epoch = (await readLeader(platform))?.epoch ?? 0;
  const own = await shardsOf(platform, victim);
  const others = new Set([...allShards()].filter((shard) => !own.has(shard)));
  const steadies = usersIn(others, steadyUsers, "steady");
  const steady = new SteadyRequests(platform, steadies, steadyEveryMs, () => command);
  await delay(steadyMs);
  log.forget();
  const [killedMs, wallMs] = [performance.now(), Date.now()];
  const killed = platform.killNode(victim);
  const probes = usersIn(own, probedShards, "probe");
  const [newMasterMs, servedMs] = await Promise.all([
    msUntilLedAbove(platform, epoch, killedMs),
    msUntilServed(platform, probes, killedMs, { everyMs: probeEveryMs }),
  ]);
  const steps = log.stepsSince(wallMs);
  await killed;
  await delay(steadyMs);
  const { sent, failed, firstFailure, longestRequestMs } = await steady.stop();
  note(
    `master: another leads after ${newMasterMs.toFixed(0)} ms, its own shards answer after ` +
      `${servedMs.toFixed(0)} ms (${steps}); of ${sent} requests to the others' ${failed} failed ` +
      `${firstFailure}, the longest took ${longestRequestMs.toFixed(0)} ms`,
  );
  await startAgain(platform, load, victim);
  return { failed, newMasterMs, servedMs };
}

async function msUntilLedAbove(
  platform: Platform,
  epoch: number,
  sinceMs: number,
): Promise<number> {
  await until("another one leads", async () => {
    const leader = await readLeader(platform);
    return leader !== undefined && leader.epoch > epoch;
  });
  return performance.now() - sinceMs;
}

async function startAgain(platform: Platform, load: RecordedLoad, name: string): Promise<void> {
  await platform.startNode(name);
  await untilBalanced(platform);
  await load.untilAnswered(loadUsers);
}

function figuresOf(
  ownerMs: readonly number[],
  masters: readonly MasterKill[],
  { history }: RecordedLoad,
): Figures {
  const ms = { unit: "ms", better: "lower" } as const;
  const count = { unit: "requests", better: "lower", goal: 0 } as const;
  const pushes = { unit: "pushes", better: "lower", goal: 0 } as const;
  const failed = masters.map((each) => each.failed);
  const faults = [lostPushes(history), doubledPushes(history), disorderedPushes(history)];
  for (const fault of faults.flat().slice(0, 20)) note(fault);
  const [lost = 0, doubled = 0, disordered = 0] = faults.map(({ length }) => length);
  return {
    owner_kill_median_ms: medianOf(ownerMs, ms),
    owner_kill_worst_ms: figureOf(Math.max(...ownerMs), { ...ms, goal: 2_000 }),
    master_kill_failed_requests: figureOf(sum(failed), count),
    new_master_ms: medianOf(
      masters.map((each) => each.newMasterMs),
      ms,
    ),
    master_kill_served_ms: medianOf(
      masters.map((each) => each.servedMs),
      ms,
    ),
    lost: figureOf(lost, pushes),
    duplicates: figureOf(doubled, pushes),
    out_of_order: figureOf(disordered, pushes),
  };
}

function allShards(): Set<Shard> {
  return new Set(Array.from({ length: shardCount }, (_, shard) => shard as Shard));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
