/** Redis forgetful, gone, slow, full or wrong: reads are right, and commits do not notice. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import type { MysqlPlace } from "../../src/drivers/mysql-connection.js";
import { RedisMysqlInbox } from "../../src/drivers/redis-mysql-inbox.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import type { Shard } from "../../src/protocol/shards.js";
import { entry, record, shardWrite } from "../contract/inbox-samples.js";
import { startMariadb } from "../support/mariadb-server.js";
import { makeStoreDatabase } from "../support/mysql-database.js";
import { freePorts } from "../support/nats-cluster.js";
import { sendRedis } from "../support/redis-command.js";
import { startRedis } from "../support/redis-server.js";
import type { ServerProcess } from "../support/server-process.js";
import { until } from "../support/until.js";
import { append, key, own, shard, storedSeqs, upTo } from "./store-samples.js";

let mariadb: ServerProcess;
let redis: ServerProcess;
let place: MysqlPlace;
const stores: RedisMysqlInbox[] = [];
before(async () => {
  mariadb = await startMariadb();
});
beforeEach(async () => {
  place = await makeStoreDatabase(mariadb.port);
  redis = await startRedis();
});
afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.close()));
  await redis[Symbol.asyncDispose]();
});
after(() => mariadb[Symbol.asyncDispose]());

/** A busy machine must not be taken for a Redis that does not answer. */
const patientMs = 10_000;

async function open(deadlineMs = patientMs): Promise<RedisMysqlInbox> {
  const at = { host: "127.0.0.1", port: redis.port, deadlineMs };
  const store = new RedisMysqlInbox({ place, redis: at });
  stores.push(store);
  await until("Redis is connected", () => store.client.isReady);
  return store;
}

/** Reads until one of them was served by Redis; each must be right. */
async function untilHit(store: RedisMysqlInbox, group: InboxGroup, seqs: number[]): Promise<void> {
  const { hits } = store.copy.counts;
  await until("Redis serves a read", async () => {
    assert.deepEqual(await storedSeqs(group), seqs);
    return store.copy.counts.hits > hits;
  });
}

const send = (command: string) => sendRedis(redis.port, command);
const versionKey = `belfry:{${shard}}:v`;
const sessionKey = `belfry:{${shard}}:s:${key}`;
const entriesKey = `belfry:{${shard}}:e:${key}`;

test("redis: what is committed is read at once, from Redis", async () => {
  const store = await open();
  const group = await own(store);
  await append(group, 1);
  await untilHit(store, group, [1]);
  const { hits, misses } = store.copy.counts;
  for (const seq of upTo(30).slice(1)) {
    await append(group, seq, seq % 3 === 0 ? { drop: [seq - 1], record: record(seq) } : {});
    const wanted = upTo(seq).filter((each) => each % 3 !== 2 || each === seq);
    assert.deepEqual(await storedSeqs(group), wanted);
  }
  assert.equal(store.copy.counts.misses, misses);
  assert.ok(store.copy.counts.hits >= hits + 29);
});

test("redis: FLUSHALL under writes loses nothing, and the copy is made again", async (context) => {
  const store = await open();
  const group = await own(store);
  for (const seq of upTo(200)) {
    if (seq % 40 === 0) await send("FLUSHALL");
    await append(group, seq);
    if (seq % 7 === 0) assert.deepEqual(await storedSeqs(group), upTo(seq));
  }
  await untilHit(store, group, upTo(200));
  await send("FLUSHALL");
  const startMs = performance.now();
  await untilHit(store, group, upTo(200));
  const tookMs = Math.round(performance.now() - startMs);
  context.diagnostic(`a session was served from Redis again after ${tookMs} ms`);
});

test("redis: a session that changes while it is copied again is copied all the same", async () => {
  const store = await open();
  const group = await own(store);
  await append(group, 1);
  await untilHit(store, group, [1]);
  for (let seq = 2; seq <= 20; seq++) {
    await send("FLUSHALL");
    await Promise.all([group.loadSession(shard, key), append(group, seq)]);
    // Nobody reads again: whoever attaches reads once, and writes at the same time.
    await until("it is copied", async () => (await send(`EXISTS ${sessionKey}`)) === ":1");
    assert.deepEqual(await storedSeqs(group), upTo(seq));
  }
});

test("redis: killed and started again", async () => {
  const store = await open();
  const group = await own(store);
  await append(group, 1);
  await untilHit(store, group, [1]);
  await redis.crash();
  for (const seq of [2, 3, 4]) {
    await append(group, seq);
    assert.deepEqual(await storedSeqs(group), upTo(seq));
  }
  await redis.restart();
  await untilHit(store, group, upTo(4));
});

test("redis: paused, the first reads wait for its deadline and the next do not", async () => {
  const store = await open(250);
  const group = await own(store);
  await append(group, 1);
  await untilHit(store, group, [1]);
  redis.signal("SIGSTOP");
  const { failures } = store.client;
  await append(group, 2);
  assert.equal(store.client.failures, failures, "a commit does not wait for Redis");
  await until("calls are no longer made", async () => {
    assert.deepEqual(await storedSeqs(group), [1, 2]);
    return store.client.refusals > 0;
  });
  redis.signal("SIGCONT");
  await untilHit(store, group, [1, 2]);
});

test("redis: a server that only reads", async () => {
  const store = await open();
  const group = await own(store);
  await append(group, 1);
  await untilHit(store, group, [1]);
  await send("REPLICAOF 127.0.0.1 1");
  for (const seq of [2, 3]) {
    await append(group, seq);
    assert.deepEqual(await storedSeqs(group), upTo(seq));
  }
  await send("REPLICAOF NO ONE");
  await untilHit(store, group, upTo(3));
});

test("redis: full", async () => {
  const store = await open();
  const group = await own(store);
  await append(group, 1);
  await untilHit(store, group, [1]);
  assert.equal(await send("CONFIG SET maxmemory 1"), "+OK");
  for (const seq of [2, 3]) {
    await append(group, seq);
    assert.deepEqual(await storedSeqs(group), upTo(seq));
  }
  await send("CONFIG SET maxmemory 0");
  await untilHit(store, group, upTo(3));
});

test("redis: an old state that came back is void", async () => {
  const store = await open();
  const group = await own(store);
  await append(group, 1);
  await untilHit(store, group, [1]);
  assert.equal(await send("SAVE"), "+OK");
  await append(group, 2, { drop: [1] });
  await redis.crash();
  await redis.restart();
  assert.match(await send(`EXISTS ${sessionKey}`), /:1/);
  await until("Redis is connected", () => store.client.isReady);
  assert.deepEqual(await storedSeqs(group), [2]);
  await untilHit(store, group, [2]);
});

test("redis: what is corrupt is read from MySQL, and made again", async () => {
  const store = await open();
  const group = await own(store);
  await append(group, 1, { record: record(1) });
  await untilHit(store, group, [1]);
  const harms = [
    `SET ${versionKey} junk`,
    `DEL ${versionKey}`,
    `DEL ${versionKey};LPUSH ${versionKey} junk`,
    `DEL ${entriesKey}`,
    `DEL ${sessionKey}`,
    `SET ${sessionKey} junk`,
    `SET ${entriesKey} junk`,
    `HSET ${sessionKey} r junk`,
    `HSET ${sessionKey} kjunk junk`,
    `ZADD ${entriesKey} 5 short`,
  ];
  for (const harm of harms) {
    for (const command of harm.split(";")) assert.doesNotMatch(await send(command), /^-/, harm);
    assert.deepEqual(await storedSeqs(group), [1], harm);
    const loaded = await group.loadSession(shard, key);
    assert.deepEqual(loaded?.record, record(1), harm);
    await untilHit(store, group, [1]);
  }
  // The same length and number of entries, but not what was stored.
  await send(`ZREMRANGEBYSCORE ${entriesKey} 1 1`);
  await send(`ZADD ${entriesKey} 1 short`);
  assert.deepEqual(await storedSeqs(group), [1]);
  assert.ok(store.copy.counts.corrupt > 0);
  await untilHit(store, group, [1]);
});

test("redis: a new owner goes on with the copy, and the old one cannot harm it", async () => {
  const first = await open();
  const old = await own(first, 1);
  await append(old, 1);
  await untilHit(first, old, [1]);
  const second = await open();
  const next = await own(second, 2, "b");
  assert.deepEqual(await storedSeqs(next), [1]);
  assert.deepEqual(second.copy.counts, { hits: 2, misses: 0, voids: 0, fills: 0, corrupt: 0 });
  await append(next, 2, {}, 2);
  await assert.rejects(append(old, 9));
  // Its reads find the copy at another version, and may not take it over.
  await storedSeqs(old);
  await storedSeqs(old);
  assert.deepEqual(await storedSeqs(next), [1, 2]);
  assert.equal(second.copy.counts.misses, 0);
});

test("redis: a session that is too large is not held", async () => {
  const store = await open();
  const group = await own(store);
  await append(group, 1);
  await untilHit(store, group, [1]);
  const large = upTo(6).map((seq) => ({
    ...{ seq: seq + 1, id: "0".repeat(16), expiresAtMs: 1, record: new Uint8Array(60_000) },
  }));
  await append(group, 2, { append: large as never });
  assert.deepEqual(await storedSeqs(group), upTo(7));
  assert.match(await send(`EXISTS ${sessionKey}`), /:0/);
});

test("redis: everything but the versions expires", async () => {
  const store = await open();
  const group = await own(store);
  await append(group, 1);
  await untilHit(store, group, [1]);
  for (const held of [sessionKey, entriesKey]) {
    const ttlMs = Number((await send(`PTTL ${held}`)).slice(1));
    assert.ok(ttlMs > 0 && ttlMs <= 3_600_000, `${held} expires in ${ttlMs} ms`);
  }
  assert.equal(await send("DBSIZE"), ":3");
});

test("redis: a Cluster is told of one slot at a time", async () => {
  await redis[Symbol.asyncDispose]();
  // One node that has met no other does not know its own address.
  const announced = ["--cluster-announce-ip", "127.0.0.1"];
  // By itself it takes its port plus 10,000 for other nodes, which may be anybody's.
  const busPort = ["--cluster-port", String((await freePorts(1))[0])];
  redis = await startRedis(["--cluster-enabled", "yes", ...busPort, ...announced]);
  assert.equal(await send("CLUSTER ADDSLOTSRANGE 0 16383"), "+OK");
  await until("all slots are served", async () =>
    /cluster_state:ok/.test(await send("CLUSTER INFO")),
  );
  const at = { host: "127.0.0.1", port: redis.port, isCluster: true, deadlineMs: patientMs };
  const store = new RedisMysqlInbox({ place, redis: at });
  stores.push(store);
  await until("Redis is connected", () => store.client.isReady);
  const group = await own(store);
  const shards = upTo(3).map((each) => (shard + 64 * each) as Shard);
  const requests = shards.map((each) => ({
    shard: each,
    epoch: 1,
    holder: "a",
    reserveUntilMs: 0,
  }));
  await group.raise(requests);
  const load = () => Promise.all(shards.map((each) => group.loadSession(each, key)));
  const commit = (seq: number) =>
    group.commit(
      shards.map((each) => shardWrite({ append: [entry(seq)] }, { shard: each, epoch: 1 })),
    );
  await commit(1);
  await until("Redis serves them", async () => {
    await load();
    return store.copy.counts.hits >= shards.length;
  });
  const { misses, voids } = store.copy.counts;
  await commit(2);
  for (const session of await load()) assert.equal(session?.record.lastSeq, 2);
  assert.deepEqual([store.copy.counts.misses, store.copy.counts.voids], [misses, voids]);
  assert.equal(store.client.failures, 0);
});
