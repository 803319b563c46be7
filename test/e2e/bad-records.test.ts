/**
 * Records of the placement that are broken or of a newer version: nobody acts on them,
 * nobody overwrites what may be a newer Belfry's, what is served is served on; and two
 * processes of one name.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { leaderKey, tableKey } from "../../actors/membership.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import { openNatsFleet } from "../../src/main/nats-fleet.js";
import type { KeyValue } from "../../src/ports/key-value.js";
import { packValue } from "../../src/protocol/codec.js";
import { shardCount } from "../../src/protocol/shards.js";
import { decodeLeader } from "../../topology/election.js";
import { decodeNodeRecord, nodeKey } from "../../topology/node-record.js";
import { deleteKey } from "../support/delete-key.js";
import type { NatsFixture } from "../support/nats-server.js";
import { forSomeLeases } from "../support/placement-state.js";
import { type Platform, type PlatformNode, startPlatform } from "../support/platform.js";
import { PushLoad } from "../support/push-load.js";
import { startTcpProxy } from "../support/tcp-proxy.js";
import { until } from "../support/until.js";

const half = shardCount / 2;
const users = Array.from({ length: 12 }, (_, index) => `user-${index}`);

const broken = new TextEncoder().encode("no record at all");
const newer = packValue({ v: 99, epoch: 1, masterEpoch: 1 });
const newerNode = new TextEncoder().encode(JSON.stringify({ v: 99 }));
/** Nobody could ever take its place. */
const endless = packValue({ v: 1, nodeId: "dc1-x", incarnation: "x", epoch: 9, leaseMs: 1e15 });

interface Scene {
  readonly platform: Platform<NatsFixture>;
  readonly placement: KeyValue;
  readonly load: PushLoad;
  readonly log: readonly string[];
  close(): Promise<void>;
}

/** Nodes a and b with half the shards each; a leads. */
async function startScene(): Promise<Scene> {
  const log: string[] = [];
  const platform = await startPlatform({
    nodes: ["a"],
    // Short, and longer than a busy machine takes from a node at a time.
    environment: { BELFRY_LOG_LEVEL: "info", BELFRY_LEASE_MS: "4000" },
    onLog: (_, line) => void log.push(line),
  });
  await platform.startNode("b");
  await untilCounts(platform, { a: half, b: half });
  const placement = await openKeyValue(platform.link, "placement");
  const load = new PushLoad(platform, users, [{ name: "test", connection: platform.operator }]);
  await load.untilAnswered(users.length);
  const close = async () => {
    await load.stop();
    await platform[Symbol.asyncDispose]();
  };
  return { platform, placement, load, log, close };
}

function untilCounts(platform: Platform, wanted: Readonly<Record<string, number>>) {
  return until(`the shards are ${JSON.stringify(wanted)}`, async () => {
    const counts = await platform.shardCounts();
    return Object.entries(wanted).every(([name, count]) => counts.get(`dc1-${name}`) === count);
  });
}

/** Whatever it holds now; returns the revision that it has then. */
function overwrite(placement: KeyValue, key: string, bytes: Uint8Array): Promise<number> {
  return until(`${key} is overwritten`, async () => {
    const entry = await placement.get(key);
    const written =
      entry === undefined
        ? await placement.create(key, bytes)
        : await placement.update(key, bytes, entry.revision);
    return written.ok ? written.value : undefined;
  });
}

async function assertUntouched(placement: KeyValue, key: string, revision: number): Promise<void> {
  assert.equal((await placement.get(key))?.revision, revision, `${key} stays as it is`);
}

async function unreadableByCli({ nats, folder }: Platform): Promise<readonly string[]> {
  const { user, pass } = nats.credentials.user("operator-test");
  const passwordFile = join(folder, "operator.password");
  await writeFile(passwordFile, pass);
  const opened = await openNatsFleet(
    { natsUrl: nats.url, user, passwordFile, timeoutMs: 20_000 },
    {},
  );
  assert.ok(opened.ok);
  const { unreadable = [] } = await opened.value.placement();
  await opened.value.close();
  return [...unreadable].sort();
}

/** Of all nodes together; what they log comes by pipes of their own. */
async function untilTold(log: readonly string[], key: string, times: number): Promise<void> {
  await until(`${key} is told ${times} times`, () => toldOf(log, key).length >= times);
  assert.equal(toldOf(log, key).length, times, "each node says so, once");
}

function toldOf(log: readonly string[], key: string): string[] {
  return log.filter((line) => line.includes("is not readable") && line.includes(`"${key}"`));
}

test("a leader's record of a newer version is challenged by nobody, noise once it is stale", async () => {
  const { platform, placement, load, log, close } = await startScene();
  try {
    for (const [at, bytes] of [broken, endless].entries()) {
      await overwrite(placement, leaderKey, bytes);
      await until("somebody leads again", async () => {
        const leader = await placement.get(leaderKey);
        return leader !== undefined && decodeLeader(leader.value).ok;
      });
      await untilTold(log, leaderKey, 2 * (at + 1));
    }
    const revision = await overwrite(placement, leaderKey, newer);
    await forSomeLeases(placement, nodeKey("dc1-a"));
    await assertUntouched(placement, leaderKey, revision);
    await untilTold(log, leaderKey, 6);
    await load.untilAnswered(users.length);
    assert.deepEqual(load.failures, []);
    await untilCounts(platform, { a: half, b: half });
    await deleteKey(placement, leaderKey);
    await until("somebody leads", async () => (await placement.get(leaderKey)) !== undefined);
    await load.stop();
    await load.untilShown();
  } finally {
    await close();
  }
});

test("a table that cannot be read stays, and what was read before is served", async () => {
  const { platform, placement, load, log, close } = await startScene();
  try {
    const good = await placement.get(tableKey);
    assert.ok(good !== undefined);
    await overwrite(placement, tableKey, broken);
    await forSomeLeases(placement, nodeKey("dc1-a"));
    const revision = await overwrite(placement, tableKey, newer);
    await load.untilAnswered(users.length);
    assert.deepEqual(load.failures, []);
    await platform.killNode("b");
    await until("a has seen that b is gone", () => log.some((line) => /gives up dc1-b/.test(line)));
    await forSomeLeases(placement, nodeKey("dc1-a"));
    await assertUntouched(placement, tableKey, revision);
    await untilTold(log, tableKey, 4);
    await overwrite(placement, tableKey, good.value);
    await untilCounts(platform, { a: shardCount });
    await platform.untilPlaced();
    await load.stop();
    await load.untilShown();
  } finally {
    await close();
  }
});

test("a node writes its record again over noise, and serves on", async () => {
  const { platform, placement, load, log, close } = await startScene();
  try {
    const { incarnation } = await platform.nodeRecord("dc1-b");
    await overwrite(placement, nodeKey("dc1-b"), broken);
    await until("b has its record again", async () => {
      const entry = await placement.get(nodeKey("dc1-b"));
      return entry !== undefined && decodeNodeRecord(entry.value)?.incarnation === incarnation;
    });
    await until("it is told", () => toldOf(log, nodeKey("dc1-b")).length > 0);
    await load.untilAnswered(users.length);
    assert.deepEqual(load.failures, []);
    await untilCounts(platform, { a: half, b: half });
    await load.stop();
    await load.untilShown();
  } finally {
    await close();
  }
});

test("a node's record of a newer version is not taken, not even by that node", async () => {
  const { platform, placement, load, log, close } = await startScene();
  try {
    const { pid } = platform.node("b");
    const keys = [nodeKey("dc1-b"), nodeKey("dc1-c")] as const;
    const ofB = await overwrite(placement, keys[0], newerNode);
    const ofC = await overwrite(placement, keys[1], newerNode);
    await assert.rejects(platform.startNode("c"), /ended with 1/);
    const refusal = /the record node\.dc1-c \(revision \d+\) is of a version/;
    await until("it says why", () => log.some((line) => refusal.test(line)));
    await untilCounts(platform, { a: shardCount });
    await forSomeLeases(placement, nodeKey("dc1-a"));
    await assertUntouched(placement, keys[0], ofB);
    await assertUntouched(placement, keys[1], ofC);
    await until("b says so", () => log.some((line) => line.includes("BAD_RECORD")));
    assert.deepEqual(await unreadableByCli(platform), keys);
    await load.untilAnswered(users.length);
    for (const key of keys) await deleteKey(placement, key);
    await untilCounts(platform, { a: half, b: half });
    assert.equal(platform.node("b").pid, pid, "it went on by itself");
    await load.stop();
    await load.untilShown();
  } finally {
    await close();
  }
});

// Whose record stands first when the cut heals: the one that was cut off may have it again.
test("of two processes of one name one gives up, and the other serves", async () => {
  const { platform, load, log, close } = await startScene();
  const proxy = await startTcpProxy(platform.nats.port);
  try {
    await platform.killNode("b");
    const first = await platform.startNode("b", { BELFRY_NATS_URL: proxy.url });
    await untilCounts(platform, { a: half, b: half });
    proxy.cut("both");
    const second = await platform.startNode("b");
    assert.equal(first.process.exitCode, null, "it lives, cut off");
    const endOf = async (loser: PlatformNode, winner: PlatformNode) => {
      const [code] = await once(loser.process, "exit");
      return { code, winner };
    };
    const ended = Promise.race([endOf(first, second), endOf(second, first)]);
    proxy.heal();
    const { code, winner } = await ended;
    assert.equal(code, 1);
    // Who is stopped at the end.
    platform.nodes.set("b", winner);
    await until("it says why", () => log.some((line) => /dc1-b is running already/.test(line)));
    await untilCounts(platform, { a: half, b: half });
    assert.equal((await platform.nodeRecord("dc1-b")).pid, winner.pid);
    await load.untilAnswered(users.length);
    await load.stop();
    await load.untilShown();
  } finally {
    proxy.heal();
    await close();
    await proxy[Symbol.asyncDispose]();
  }
});
