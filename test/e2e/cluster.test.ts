/**
 * On three NATS servers: the loss of the one that leads the key-value store costs nobody
 * its lease; the loss of two stops the shards, and nothing that was answered.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connectNats } from "../../src/drivers/nats-connection.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import { shardOf } from "../../src/protocol/shards.js";
import type { PlacementTable } from "../../topology/placement-table.js";
import type { NatsCluster, NatsMember } from "../support/nats-cluster.js";
import { ownersOf, readTable } from "../support/placement-state.js";
import { app, type Platform, startClusterPlatform } from "../support/platform.js";
import { PushLoad, type Via } from "../support/push-load.js";
import { until } from "../support/until.js";

type OnCluster = Platform<NatsCluster>;

const nodeOf = new Map([
  ["n1", "a"],
  ["n2", "b"],
  ["n3", "c"],
]);
const users = Array.from({ length: 24 }, (_, index) => `user-${index}`);
const leaseLost = /lease lost/;

interface Scene {
  readonly platform: OnCluster;
  readonly load: PushLoad;
  readonly log: readonly string[];
  close(): Promise<void>;
}

/** A node and a publisher at each NATS server, all of them pushing to all users. */
async function startScene(environment: Readonly<Record<string, string>> = {}): Promise<Scene> {
  const log: string[] = [];
  const platform = await startClusterPlatform({
    nodes: [],
    environment: { BELFRY_LOG_LEVEL: "info", ...environment },
    onLog: (_, line) => void log.push(line),
  });
  const { members, credentials } = platform.nats;
  const { user, pass: password, inboxPrefix } = credentials.operator;
  const vias: Via[] = [];
  for (const { name, url } of members) {
    await platform.startNode(nodeOf.get(name) ?? "", { BELFRY_NATS_URL: url });
    const connection = await connectNats({ url, name: `via ${name}`, user, password, inboxPrefix });
    vias.push({ name, connection });
  }
  await platform.untilEven();
  await platform.untilPlaced();
  const load = new PushLoad(platform, users, vias);
  await load.untilAnswered(users.length * 3);
  const close = async () => {
    await load.stop();
    await Promise.all(vias.map(({ connection }) => connection.close()));
    await platform[Symbol.asyncDispose]();
  };
  return { platform, load, log, close };
}

function ownerNode(table: PlacementTable, user: string): string | undefined {
  return table.ownerOf(shardOf(app, user))?.nodeId;
}

/** How many revisions of each node's record were told: its renewals. A watch may tell one twice. */
async function countRenewals(platform: OnCluster): Promise<ReadonlyMap<string, number>> {
  const revisions = new Map<string, Set<number>>();
  const counts = new Map<string, number>();
  const placement = await openKeyValue(platform.link, "placement");
  await placement.watch("node.", (key, entry) => {
    if (entry === undefined) return;
    const told = revisions.get(key) ?? new Set();
    revisions.set(key, told.add(entry.revision));
    counts.set(key, told.size);
  });
  assert.equal(counts.size, 3, "each node has a record");
  return counts;
}

/** Resolves, after so many ms, when each node has renewed so many times more. */
async function untilRenewed(renewals: ReadonlyMap<string, number>, more: number): Promise<number> {
  const startMs = performance.now();
  const before = new Map(renewals);
  await until(
    `every node has renewed ${more} times`,
    () => [...renewals].every(([key, count]) => count >= (before.get(key) ?? 0) + more),
    60_000,
  );
  return performance.now() - startMs;
}

test("nobody loses its lease when the server that leads the bucket is killed", async (context) => {
  const { platform, load, log, close } = await startScene();
  try {
    const before = await readTable(platform);
    const renewals = await countRenewals(platform);
    const dead: NatsMember = await platform.nats.streamLeader("KV_placement");
    const node = `dc1-${nodeOf.get(dead.name)}`;
    dead.kill("SIGKILL");
    await dead.ended;
    const withoutMs = await untilRenewed(renewals, 1);
    await untilRenewed(renewals, 4);
    assert.deepEqual(ownersOf(await readTable(platform)), ownersOf(before));
    assert.deepEqual(
      log.filter((line) => leaseLost.test(line)),
      [],
    );
    const { failures } = load;
    const elsewhere = failures.filter(
      ({ user, via }) => via !== dead.name && ownerNode(before, user) !== node,
    );
    assert.deepEqual(elsewhere, [], "only connections to the dead server had to be made again");
    const span = failures.map(({ sentMs }) => sentMs).sort((x, y) => x - y);
    const spanMs = Math.round((span.at(-1) ?? 0) - (span[0] ?? 0));
    context.diagnostic(
      `all had renewed again ${Math.round(withoutMs)} ms after the kill; ${failures.length} of ` +
        `${failures.length + load.answered} requests failed, the first and the last ${spanMs} ms ` +
        `apart; slowest answer ${Math.round(load.slowestMs)} ms`,
    );
    await dead.restart();
    await platform.nats.untilReplicating();
    await load.untilAnswered(users.length);
    await load.stop();
    await load.untilShown();
    assert.deepEqual(ownersOf(await readTable(platform)), ownersOf(before));
  } finally {
    await close();
  }
});

test("goes on by itself when two of three servers were gone for longer than the lease", async (context) => {
  const { platform, load, log, close } = await startScene({ BELFRY_LEASE_MS: "5000" });
  try {
    const [first, second] = platform.nats.members as [NatsMember, NatsMember, NatsMember];
    const startMs = performance.now();
    for (const member of [first, second]) member.kill("SIGKILL");
    await until(
      "every node has stopped its shards",
      () => ["dc1-a", "dc1-b", "dc1-c"].every((nodeId) => hasLost(log, nodeId)),
      30_000,
    );
    const lostMs = performance.now() - startMs;
    await Promise.all([first.restart(), second.restart()]);
    const backMs = performance.now();
    await platform.nats.untilReplicating();
    await load.untilAnswered(users.length * 3, 60_000);
    await platform.untilPlaced();
    const servedMs = performance.now() - backMs;
    await load.stop();
    await load.untilShown();
    assert.equal(platform.nodes.size, 3, "no node has ended");
    context.diagnostic(
      `shards stopped ${Math.round(lostMs)} ms after the cut, served again ` +
        `${Math.round(servedMs)} ms after the servers were back; ${load.answered} answered, ` +
        `${load.failures.length} failed`,
    );
  } finally {
    await close();
  }
});

function hasLost(log: readonly string[], nodeId: string): boolean {
  return log.some((line) => leaseLost.test(line) && line.includes(`"${nodeId}"`));
}
