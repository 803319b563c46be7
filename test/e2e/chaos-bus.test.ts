/**
 * The bus goes under load: its server is killed and comes back after ten seconds, on the
 * same port and data. Sockets stay open meanwhile, nobody answers ok, and afterwards
 * everything resumes by itself.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { defaultLimits } from "../../actors/limits.js";
import type { Shard } from "../../src/protocol/shards.js";
import { untilBalanced, usersIn } from "../support/placement-state.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { RecordedLoad } from "../support/recorded-load.js";
import { msUntilServed } from "../support/service-probe.js";
import { Starvation } from "../support/starvation.js";
import { until } from "../support/until.js";

const nodes = ["a", "b", "c", "d"];
const users = Array.from({ length: 48 }, (_, index) => `user-${index}`);
const awayMs = 10_000;
const allShards = new Set(Array.from({ length: 4_096 }, (_, shard) => shard as Shard));
const { leaseMs } = defaultLimits;
/** A node looks at its deadline every twelfth of the lease. */
const lookMs = leaseMs / 12;
const slackMs = 750;
/** Clients dial again within half a second; a node then needs its lease and its stores. */
const resumedMsMax = 5_000;

test("resumes by itself when the NATS server was away for ten seconds", async (t) => {
  await using platform = await startPlatform({ nodes, isAsShipped: true });
  await untilBalanced(platform);
  const probes = usersIn(allShards, 64, "probe");
  await using load = await RecordedLoad.start(platform, { users });
  const opened = load.devices.openedByResting;
  const pids = pidsOf(platform);
  let starvation = new Starvation(platform);
  platform.nats.kill("SIGKILL");
  const downMs = performance.now();
  await until("no node serves any more", () => areAllUnhealthy(platform), 2 * leaseMs + 10_000);
  const fencedMs = performance.now() - downMs;
  const starvedDownMs = starvation.ms();
  const fencedMsMax = leaseMs + lookMs + slackMs + starvedDownMs;
  t.diagnostic(`every node had stopped its shards ${fencedMs.toFixed(0)} ms after the bus went`);
  await delay(Math.max(0, awayMs - fencedMs));
  starvation = new Starvation(platform);
  const upMs = performance.now();
  await platform.nats.restart();
  const servedMs = await msUntilServed(platform, probes, upMs);
  const starvedMs = starvation.ms();
  t.diagnostic(`all served again ${servedMs.toFixed(0)} ms after the server was started again`);
  await load.untilAnswered(2 * users.length);
  await untilBalanced(platform);
  const reopened = load.devices.openedByResting - opened;
  t.diagnostic(await load.settle());
  // Answers that this process had and could not look at are no later ones.
  const lastMs = downMs + slackMs + starvedDownMs;
  const early = load.history.pushes.filter(
    ({ outcome, endedMs = 0 }) => outcome === "ok" && endedMs > lastMs && endedMs < upMs,
  );
  assert.deepEqual(early, [], "nobody was answered ok without a bus");
  assert.equal(reopened, 0, "no device lost its socket");
  assert.deepEqual(pidsOf(platform), pids, "no process was lost");
  assert.ok(fencedMs < fencedMsMax, "no node served past its deadline");
  assert.ok(servedMs < resumedMsMax + starvedMs, `all served again within ${resumedMsMax} ms`);
});

/** A node that holds no lease says so, and serves no shard. */
async function areAllUnhealthy(platform: Platform): Promise<boolean> {
  const answers = await Promise.all(
    [...platform.nodes.values()].map(({ httpUrl }) => fetch(`${httpUrl}/healthz`)),
  );
  return answers.every(({ status }) => status === 503);
}

function pidsOf(platform: Platform): number[] {
  return [...platform.nodes.values()].map(({ pid }) => pid).sort();
}
