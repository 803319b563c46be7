/**
 * SIGSTOP under load, then SIGCONT: a pause that the lease outlasts is only a wait; from
 * a longer one the shards are taken away, and the sleeper has no effect any more. With
 * the embedded store the taker of its volumes kills it, and a fence would refuse it.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  epochsOf,
  followerNames,
  leaderName,
  readTable,
  shardsOf,
  untilBalanced,
  usersIn,
} from "../support/placement-state.js";
import { type Platform, patientLeaseMs, startPlatform } from "../support/platform.js";
import { RecordedLoad } from "../support/recorded-load.js";
import { msUntilServed } from "../support/service-probe.js";
import { Starvation } from "../support/starvation.js";
import { until } from "../support/until.js";

const nodes = ["a", "b", "c", "d"];
const users = Array.from({ length: 48 }, (_, index) => `user-${index}`);
const probesPerNode = 32;
const leaseMs = patientLeaseMs;

async function startBalanced(
  environment: Readonly<Record<string, string>> = {},
): Promise<Platform> {
  const platform = await startPlatform({ nodes, environment });
  await untilBalanced(platform);
  return platform;
}

async function pause(platform: Platform, name: string, pauseMs: number): Promise<void> {
  const { process: child } = platform.node(name);
  child.kill("SIGSTOP");
  await delay(pauseMs);
  child.kill("SIGCONT");
}

/** Until all of the sleeper's shards are served by others. */
async function sleepPastLease(
  t: TestContext,
  platform: Platform,
  name: string,
  servedMsMax: number,
): Promise<void> {
  await using load = await RecordedLoad.start(platform, { users });
  const probes = usersIn(await shardsOf(platform, name), probesPerNode, "probe");
  const { process: sleeper } = platform.node(name);
  const starvation = new Starvation(platform);
  const stoppedMs = performance.now();
  sleeper.kill("SIGSTOP");
  const servedMs = await msUntilServed(platform, probes, stoppedMs);
  const starvedMs = starvation.ms();
  // Told to this process by another way than the answers are.
  await until("nobody opens a volume that a sleeper holds", () => sleeper.signalCode === "SIGKILL");
  t.diagnostic(
    `served again ${servedMs.toFixed(0)} ms after the pause began, ` +
      `${starvedMs.toFixed(0)} ms without a processor`,
  );
  await load.untilAnswered(users.length);
  await platform.startNode(name);
  await untilBalanced(platform);
  await load.untilAnswered(users.length);
  t.diagnostic(await load.settle());
  assert.ok(servedMs < servedMsMax + starvedMs, `served again within ${servedMsMax} ms`);
}

test("takes a sleeping owner's shards, and kills it before its volumes are opened", async (t) => {
  await using platform = await startBalanced();
  const [sleeper = ""] = await followerNames(platform);
  await sleepPastLease(t, platform, sleeper, leaseMs + 5_000);
});

test("takes a sleeping leader's place, and its shards", async (t) => {
  await using platform = await startBalanced();
  await sleepPastLease(t, platform, await leaderName(platform), leaseMs + 5_000);
});

test("lets an owner sleep that wakes within its lease", async (t) => {
  // So long that a busy machine, which sleeps a little longer, does not outsleep it.
  const longLeaseMs = 2 * leaseMs;
  await using platform = await startBalanced({ BELFRY_LEASE_MS: String(longLeaseMs) });
  await using load = await RecordedLoad.start(platform, { users });
  const [sleeper = ""] = await followerNames(platform);
  const epochs = epochsOf(await readTable(platform));
  const pids = pidsOf(platform);
  const opened = load.devices.openedByResting;
  await pause(platform, sleeper, longLeaseMs / 3);
  await load.untilAnswered(2 * users.length);
  assert.deepEqual(pidsOf(platform), pids, "nobody died");
  assert.deepEqual(epochsOf(await readTable(platform)), epochs, "no shard was given away");
  t.diagnostic(await load.settle());
  assert.equal(load.devices.openedByResting - opened, silentDevices(load), "no socket was lost");
});

/** The lease is over and nobody has taken the shards yet: whatever happens, nothing is lost. */
test("loses nothing when a sleeper wakes between its lease's end and its removal", async (t) => {
  await using platform = await startBalanced();
  await using load = await RecordedLoad.start(platform, { users });
  const [sleeper = ""] = await followerNames(platform);
  const epochs = epochsOf(await readTable(platform));
  await pause(platform, sleeper, leaseMs + 50);
  await load.untilAnswered(2 * users.length);
  const after = epochsOf(await readTable(platform));
  const given = after.filter((epoch, shard) => epoch !== epochs[shard]).length;
  t.diagnostic(`${given} shards were given anew; ${platform.nodes.size} nodes run`);
  if (!platform.nodes.has(sleeper)) await platform.startNode(sleeper);
  await untilBalanced(platform);
  t.diagnostic(await load.settle());
});

function pidsOf(platform: Platform): number[] {
  return [...platform.nodes.values()].map(({ pid }) => pid).sort();
}

/** `settle` connects them anew, so that they acknowledge. */
function silentDevices({ devices }: RecordedLoad): number {
  return devices.all.filter(({ habit }) => habit === "silent").length;
}
