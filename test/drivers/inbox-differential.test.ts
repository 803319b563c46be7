/**
 * Every store answers as the memory store does, and has the same in it, whatever it is
 * asked. A failure prints its seed: `BELFRY_SEED=<seed>` runs it again.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { LmdbInbox } from "../../src/drivers/lmdb-inbox.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import { MysqlInbox } from "../../src/drivers/mysql-inbox.js";
import { RedisMysqlInbox } from "../../src/drivers/redis-mysql-inbox.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import type { InboxStore } from "../../src/ports/inbox-store.js";
import { partitionCount, type Shard, shardCount } from "../../src/protocol/shards.js";
import { startMariadb } from "../support/mariadb-server.js";
import { makeStoreDatabase } from "../support/mysql-database.js";
import { sendRedis } from "../support/redis-command.js";
import { startRedis } from "../support/redis-server.js";
import { until } from "../support/until.js";
import { operations, Subject } from "./inbox-operations.js";

const runsMax = 100;
const runsMin = 3;
const timeMs = 12_000;

test("lmdb does as memory does", async (context) => {
  const dataFolder = await mkdtemp(join(tmpdir(), "belfry-lmdb-"));
  context.after(() => rm(dataFolder, { recursive: true, force: true }));
  const options = { dataFolder, nodeId: "test", incarnation: "1", clock: systemClock };
  await compare(context, new LmdbInbox(options));
});

test("mysql does as memory does", async (context) => {
  await using mariadb = await startMariadb();
  const store = new MysqlInbox({ place: await makeStoreDatabase(mariadb.port) });
  await compare(context, store);
  await store.close();
});

test("redis-mysql does as memory does, also when Redis forgets", async (context) => {
  await using mariadb = await startMariadb();
  await using redis = await startRedis();
  const place = await makeStoreDatabase(mariadb.port);
  const store = new RedisMysqlInbox({
    place,
    redis: { host: "127.0.0.1", port: redis.port, deadlineMs: 10_000 },
  });
  await until("Redis is connected", () => store.client.isReady);
  await compare(context, store, () => sendRedis(redis.port, "FLUSHALL"));
  const { hits, misses, corrupt } = store.copy.counts;
  context.diagnostic(`read from Redis ${hits}, from MySQL ${misses}`);
  assert.ok(hits > misses / 10, "the copy was read, too");
  assert.equal(corrupt, 0);
  await store.close();
});

async function compare(
  context: TestContext,
  store: InboxStore,
  loseCaches?: () => Promise<unknown>,
): Promise<void> {
  const seed = Number(process.env["BELFRY_SEED"] ?? Math.trunc(Math.random() * 2 ** 31));
  const memory = new MemoryInbox(store.groupCount);
  // Shards of its own for each run, also for those that shrink a failure.
  let next = 0;
  let runs = 0;
  const endMs = performance.now() + timeMs;
  const property = fc.asyncProperty(operations, async (sequence) => {
    // A few in any case, however slow the disk is.
    if (runs >= runsMin && performance.now() > endMs) return;
    const run = next++;
    const shard = ((2 * run - (run % partitionCount)) % shardCount) as Shard;
    runs++;
    const expected = await Subject.open(memory, shard);
    const actual = await Subject.open(store, shard, loseCaches);
    try {
      for (const [at, operation] of [...sequence, { kind: "look" } as const].entries()) {
        const wanted = await expected.carryOut(operation);
        assert.deepEqual(await actual.carryOut(operation), wanted, `step ${at}`);
      }
    } finally {
      await actual.close();
    }
  });
  context.diagnostic(`seed ${seed}`);
  await fc.assert(property, {
    ...{ seed, numRuns: runsMax, includeErrorInReport: true },
  });
  context.diagnostic(`${runs} sequences`);
}
