/**
 * A node is cut off from NATS in every way that a network knows: who is cut off for
 * longer than its lease serves nothing, is replaced, and comes back by itself; a shorter
 * cut changes nothing.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Shard, shardCount, shardOf } from "../../src/protocol/shards.js";
import { ownersOf, readTable } from "../support/placement-state.js";
import { app, type Platform, startPlatform } from "../support/platform.js";
import { PushLoad } from "../support/push-load.js";
import { Starvation } from "../support/starvation.js";
import { type Direction, startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";
import { until } from "../support/until.js";

const leaseMs = 6_000;
/** Of the tests in which nobody may lose it, however busy the machine is. */
const longLeaseMs = 10_000;
/** What is asked of a node that is cut off has failed then, well within the long lease. */
const answerWithinMs = 1_000;
const users = Array.from({ length: 16 }, (_, index) => `user-${index}`);

interface Scene {
  readonly platform: Platform;
  /** Between node b and NATS; node a leads, and has its own way. */
  readonly proxy: TcpProxy;
  readonly load: PushLoad;
  readonly log: readonly string[];
  /** A user whose shard b serves. */
  readonly user: string;
  close(): Promise<void>;
}

async function startScene(ofLeaseMs = leaseMs): Promise<Scene> {
  const log: string[] = [];
  const platform = await startPlatform({
    nodes: ["a"],
    environment: { BELFRY_LOG_LEVEL: "info", BELFRY_LEASE_MS: String(ofLeaseMs) },
    onLog: (_, line) => void log.push(line),
  });
  const proxy = await startTcpProxy(platform.nats.port);
  await platform.startNode("b", { BELFRY_NATS_URL: proxy.url });
  await until("b serves its half", async () => {
    return (await platform.shardCounts()).get("dc1-b") === shardCount / 2;
  });
  const table = await readTable(platform);
  const user = users.find((each) => table.ownerOf(shardOf(app, each))?.nodeId === "dc1-b");
  assert.ok(user !== undefined);
  const vias = [{ name: "test", connection: platform.operator }];
  const load = new PushLoad(platform, users, vias, answerWithinMs);
  await load.untilAnswered(users.length * 2);
  const close = async () => {
    await load.stop();
    proxy.heal();
    await platform[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
  };
  return { platform, proxy, load, log, user, close };
}

function hasLost(log: readonly string[], nodeId: string): boolean {
  return log.some((line) => /lease lost/.test(line) && line.includes(`"${nodeId}"`));
}

const cuts: readonly (readonly [what: string, direction: Direction])[] = [
  ["cut off without a word", "both"],
  ["hears and cannot speak", "out"],
  ["speaks and cannot hear", "in"],
];

for (const [what, direction] of cuts) {
  test(`a node that ${what} is replaced, shows nothing, and comes back`, async (context) => {
    const { platform, proxy, load, log, user, close } = await startScene();
    try {
      const before = await readTable(platform);
      const { pid } = platform.node("b");
      const starvation = new Starvation(platform);
      const cutMs = performance.now();
      proxy.cut(direction);
      await until("it has stopped its shards", () => hasLost(log, "dc1-b"));
      const stoppedMs = performance.now() - cutMs;
      await until("a serves all", async () => {
        return (await platform.shardCounts()).get("dc1-a") === shardCount;
      });
      await until(
        "its user is served",
        async () => (await platform.tryPush(user, { body: 0, qos: 0 }))?.ok,
      );
      const servedMs = performance.now() - cutMs;
      const servedMsMax = leaseMs + 5_000 + starvation.ms();
      assert.ok(servedMs < servedMsMax, `served again after ${servedMs} of ${servedMsMax} ms`);
      await load.untilAnswered(users.length * 3);
      const during = await readTable(platform);
      for (let shard = 0; shard < shardCount; shard++) {
        assert.ok(during.epochOf(shard as Shard) >= before.epochOf(shard as Shard));
        assert.equal(during.ownerOf(shard as Shard)?.nodeId, "dc1-a");
      }
      proxy.heal();
      await until("b has its half again", async () => {
        return (await platform.shardCounts()).get("dc1-b") === shardCount / 2;
      });
      await load.untilAnswered(users.length * 2);
      await load.stop();
      await load.untilShown();
      assert.equal(platform.node("b").pid, pid, "the holder left by itself and was not killed");
      assert.equal(hasLost(log, "dc1-a"), false);
      context.diagnostic(
        `stopped ${Math.round(stoppedMs)} ms after the cut, served elsewhere after ` +
          `${Math.round(servedMs)} ms; ${load.answered} answered, ${load.failures.length} failed`,
      );
    } finally {
      await close();
    }
  });
}

test("a cut that is shorter than the lease changes nothing", async (context) => {
  const { platform, proxy, load, log, close } = await startScene(longLeaseMs);
  try {
    const before = ownersOf(await readTable(platform));
    for (const direction of ["both", "out", "in"] as const) {
      const failed = load.failures.length;
      proxy.cut(direction);
      // Requests to b's users run out after a second: by two of them the cut is seen.
      await until("requests have failed", () => load.failures.length >= failed + 2);
      proxy.heal();
      await load.untilAnswered(users.length * 10);
    }
    await load.stop();
    await load.untilShown();
    assert.deepEqual(ownersOf(await readTable(platform)), before);
    assert.equal(hasLost(log, "dc1-a") || hasLost(log, "dc1-b"), false);
    context.diagnostic(`${load.answered} answered, ${load.failures.length} failed`);
  } finally {
    await close();
  }
});

test("a connection that is reset again and again, or slow, costs no lease and no push", async (context) => {
  const { platform, proxy, load, log, close } = await startScene(longLeaseMs);
  try {
    const before = ownersOf(await readTable(platform));
    for (let round = 0; round < 5; round++) {
      const taken = proxy.taken;
      proxy.reset();
      await until("b is back", () => proxy.taken > taken);
      await load.untilAnswered(users.length * 3);
    }
    proxy.slow(100);
    await load.untilAnswered(users.length * 10);
    proxy.slow(0);
    await load.stop();
    await load.untilShown();
    assert.deepEqual(ownersOf(await readTable(platform)), before);
    assert.equal(hasLost(log, "dc1-a") || hasLost(log, "dc1-b"), false);
    context.diagnostic(
      `${load.answered} answered, ${load.failures.length} failed; slowest ${Math.round(load.slowestMs)} ms`,
    );
  } finally {
    await close();
  }
});
