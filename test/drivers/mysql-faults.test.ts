/** MySQL slow, gone, in the way or wrong: each answer is the truth, and nothing is lost. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import type { Fault } from "../../src/base/result.js";
import type { MysqlPlace } from "../../src/drivers/mysql-connection.js";
import { MysqlInbox, type MysqlInboxOptions } from "../../src/drivers/mysql-inbox.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import type { Shard } from "../../src/protocol/shards.js";
import { entry, shardWrite, stored } from "../contract/inbox-samples.js";
import { mariadbAdmin, startMariadb } from "../support/mariadb-server.js";
import { makeStoreDatabase, runSql } from "../support/mysql-database.js";
import type { ServerProcess } from "../support/server-process.js";
import { StallingProxy } from "../support/stalling-proxy.js";
import { until } from "../support/until.js";
import { append, faultOf, key, own, shard, storedSeqs, upTo } from "./store-samples.js";

let mariadb: ServerProcess;
let place: MysqlPlace;
const stores: MysqlInbox[] = [];
before(async () => {
  // Small packets, so that a transaction of a few megabytes is several.
  mariadb = await startMariadb(["--max-allowed-packet=1M"]);
});
beforeEach(async () => {
  place = await makeStoreDatabase(mariadb.port);
});
afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.close()));
});
after(() => mariadb[Symbol.asyncDispose]());

function open(options: Partial<MysqlInboxOptions> = {}): MysqlInbox {
  const store = new MysqlInbox({ place, ...options });
  stores.push(store);
  return store;
}

function assertNotDone({ code, outcome }: Fault, wanted = "STORE_UNAVAILABLE"): void {
  assert.deepEqual({ code, outcome }, { code: wanted, outcome: "not-done" });
}

async function connectionCount(where = "db = DATABASE()"): Promise<number> {
  const [rows] = await runSql(
    place,
    `SELECT COUNT(*) FROM information_schema.processlist WHERE ${where}`,
  );
  return Number(rows?.[0]?.[0]);
}

/** Until a statement of this test has taken its locks and waits with them. */
function untilAsleep(): Promise<boolean> {
  const asleep = "db = DATABASE() AND state = 'User sleep'";
  return until("the row is locked", async () => (await connectionCount(asleep)) > 0);
}

describe("mysql: gone", () => {
  test("what kill -9 left is what was answered", async (context) => {
    const answers = { ok: 0, notDone: 0, unknown: 0 };
    for (const epoch of [10, 20, 30]) {
      const group = await own(open(), epoch);
      const outcomes = await writeUntilKilled(group, epoch);
      await mariadb.restart();
      const seqs = new Set(await storedSeqs(await own(open(), epoch + 5), keyOf(epoch)));
      for (const [seq, outcome] of outcomes) {
        if (outcome === "ok") assert.ok(seqs.has(seq), `${seq} was answered and is there`);
        if (outcome === "not-done") assert.ok(!seqs.has(seq), `${seq} was not done and is not`);
      }
      const count = (wanted: string) =>
        [...outcomes.values()].filter((outcome) => outcome === wanted).length;
      answers.ok += count("ok");
      answers.notDone += count("not-done");
      answers.unknown += count("unknown");
      assert.ok(count("unknown") <= 1, "one transaction was in flight");
    }
    context.diagnostic(JSON.stringify(answers));
    assert.ok(answers.ok > 100 && answers.notDone > 0);
  });

  test("a group that is opened while it is gone is not had, and later is", async () => {
    await mariadb.crash();
    assertNotDone(await faultOf(own(open())));
    await mariadb.restart();
    await append(await own(open()), 1);
  });

  test("an idle connection that the server ended is made again", async () => {
    const group = await own(open());
    await append(group, 1);
    await mariadb.restart();
    await append(group, 2);
    assert.deepEqual(await storedSeqs(group), [1, 2]);
  });
});

function keyOf(epoch: number) {
  return `${key}-${epoch}` as typeof key;
}

/** Outcome by seq, of commits one after the other, the server killed in one of them. */
async function writeUntilKilled(group: InboxGroup, epoch: number): Promise<Map<number, string>> {
  const outcomes = new Map<number, string>();
  let killing: Promise<void> | undefined;
  for (let seq = 1; outcomes.size < 10_000; seq++) {
    const commit = append(group, seq, { key: keyOf(epoch) }, epoch);
    if (seq === 6 * epoch) killing = mariadb.crash();
    const outcome = await commit.then(
      () => "ok",
      (error: Fault) => error.outcome,
    );
    outcomes.set(seq, outcome);
    if (killing !== undefined && outcome === "not-done") break;
  }
  await killing;
  return outcomes;
}

/** Open in this process, half open ones too. */
function socketCount(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === "TCPSocketWrap").length;
}

describe("mysql: silent", () => {
  test("a commit and a read end by their deadline, and the loop goes on", async () => {
    const deadlineMs = 3_000;
    const store = open({ deadlineMs });
    const group = await own(store);
    await append(group, 1);
    await group.loadSession(shard, key);
    const sockets = socketCount();
    mariadb.signal("SIGSTOP");
    try {
      const startMs = performance.now();
      let ticks = 0;
      const ticking = setInterval(() => ticks++, 5);
      const write = faultOf(append(group, 2));
      const reads = upTo(20).map(() => faultOf(group.loadSession(shard, key)));
      assert.equal((await write).outcome, "unknown");
      for (const fault of await Promise.all(reads)) assert.equal(fault.outcome, "not-done");
      const tookMs = performance.now() - startMs;
      clearInterval(ticking);
      // A read may wait for a connection before it waits for its answer.
      assert.ok(tookMs < 3 * deadlineMs, `it took ${tookMs} ms`);
      assert.ok(ticks > 10, `${ticks} ticks`);
      await until("no socket waits for the server", () => socketCount() < sockets);
      // Its fate is unknown, so the group is of no more use; nothing new is sent.
      assertNotDone(await faultOf(append(group, 3)));
      await group.close();
    } finally {
      mariadb.signal("SIGCONT");
    }
    const again = await own(open(), 1);
    const seqs = await storedSeqs(again);
    assert.ok(seqs.length <= 2 && seqs[0] === 1, `${seqs}`);
    await append(again, 9);
    assert.deepEqual(await storedSeqs(again), [...seqs, 9]);
  });

  test("a packet that arrives after its shard was raised again changes nothing", async () => {
    await using proxy = await StallingProxy.start(mariadb.port);
    const slow = open({ place: { ...place, port: proxy.port }, deadlineMs: 3_000 });
    const group = await own(slow, 5);
    await append(group, 1, {}, 5);
    proxy.holdAfter(0);
    // Without a change record, whose number would be taken and refused for that alone.
    const late = append(group, 2, { changes: [] }, 5);
    assert.equal((await faultOf(late)).outcome, "unknown");
    // The same owner under the same epoch: only the version tells the late packet.
    const next = await own(open(), 5);
    await append(next, 10, {}, 5);
    const before = await next.readChanges(shard, 0, 10);
    const connections = await connectionCount();
    proxy.release();
    await append(next, 11, {}, 5);
    await until("it has arrived", async () => (await connectionCount()) < connections);
    assert.deepEqual(await storedSeqs(next), [1, 10, 11]);
    assert.deepEqual((await next.readChanges(shard, 0, 10)).slice(0, 2), before);
  });
});

describe("mysql: two owners", () => {
  test("who was succeeded elsewhere is fenced by the tables, and changes nothing", async () => {
    const old = await own(open(), 1);
    await append(old, 1);
    const next = await own(open(), 2, "b");
    await append(next, 2, { drop: [1] }, 2);
    const other = (shard + 64) as Shard;
    const answers = await old.commit([
      shardWrite({ key, append: [entry(9)], changes: [stored(9)] }, { shard, epoch: 1 }),
      shardWrite({ key, append: [entry(9)], changes: [stored(9)] }, { shard: other, epoch: 1 }),
    ]);
    assert.deepEqual(
      answers.map(({ ok, epoch }) => [ok, epoch]),
      [
        [false, 2],
        [true, 0],
      ],
    );
    assert.deepEqual(await storedSeqs(next), [2]);
    assert.equal((await next.readChanges(shard, 0, 10)).length, 2);
    // Without a change record as well, whose number alone would refuse it.
    const plain = shardWrite({ key, append: [entry(9)] }, { shard, epoch: 1 });
    const again = await (await open().openGroup(open().groupOf(shard))).commit([plain]);
    assert.equal(again[0]?.ok, false);
  });

  test("one epoch given to two is the first one's alone, from whichever process", async () => {
    await own(open(), 3, "a");
    const store = open();
    const group = await store.openGroup(store.groupOf(shard));
    const [answer] = await group.raise([{ shard, epoch: 3, holder: "b", reserveUntilMs: 0 }]);
    assert.deepEqual([answer?.ok, answer?.epoch], [false, 3]);
    await own(open(), 3, "a");
  });

  test("a write that knows an old version alone is judged anew, and done", async () => {
    const first = await own(open(), 1);
    await append(first, 1, { changes: [] });
    const second = await own(open(), 1);
    await append(second, 2, { changes: [] });
    await append(first, 3, { changes: [] });
    assert.deepEqual(await storedSeqs(second), [1, 2, 3]);
  });
});

describe("mysql: in the way", () => {
  test("a writer that was paused in a transaction is ended by the next raise", async () => {
    await using proxy = await StallingProxy.start(mariadb.port);
    const pausedMs = 60_000;
    const slow = open({ place: { ...place, port: proxy.port }, deadlineMs: pausedMs });
    const group = await own(slow, 1);
    const big = upTo(12).map((seq) => entry(seq, { record: new Uint8Array(128 * 1024) }));
    proxy.holdAfter(1_200_000);
    const paused = faultOf(append(group, 1, { append: big, changes: [] }));
    await until("it is paused", () => proxy.isHolding);
    const store = open();
    const startMs = performance.now();
    const next = await own(store, 2, "b");
    const tookMs = performance.now() - startMs;
    assert.ok(tookMs > 900 && tookMs < pausedMs / 2, `it took ${tookMs} ms`);
    assert.equal(store.laneOf(shard)?.killedWriters, 1);
    assert.equal((await paused).outcome, "not-done");
    assert.deepEqual(await storedSeqs(next), []);
    await append(next, 1, {}, 2);
  });

  test("the victim of a deadlock tries again and is done once", async () => {
    const group = await own(open());
    await append(group, 1);
    // Heavier than the group's transaction, so that the server gives that one up.
    const rows = upTo(500).map((number) => `(4000, ${number}, 1, '')`);
    const lock = `SET innodb_lock_wait_timeout = 10; START TRANSACTION;
      INSERT INTO changes VALUES ${rows}; SELECT seq FROM entries WHERE shard = ${shard} FOR UPDATE;
      SELECT SLEEP(0.4); SELECT shard FROM shards WHERE shard = ${shard} FOR UPDATE; ROLLBACK`;
    const locking = runSql(place, lock);
    await untilAsleep();
    await append(group, 2, { drop: [1] });
    await locking;
    assert.deepEqual(await storedSeqs(group), [2]);
    assert.equal((await group.readChanges(shard, 0, 10)).length, 2);
  });

  test("a row that somebody else locks is waited for a second, then it is not done", async () => {
    const group = await own(open());
    const locking = runSql(
      place,
      `START TRANSACTION; SELECT * FROM shards WHERE shard = ${shard} FOR UPDATE; SELECT SLEEP(10)`,
    );
    await untilAsleep();
    assertNotDone(await faultOf(append(group, 1)));
    await locking;
    await append(group, 1);
    assert.deepEqual(await storedSeqs(group), [1]);
  });
});

describe("mysql: wrong", () => {
  test("a body that no packet can carry is not done, and the group goes on", async () => {
    const group = await own(open());
    const huge = entry(1, { record: new Uint8Array(800 * 1024) });
    const fault = await faultOf(append(group, 1, { append: [huge] }));
    assertNotDone(fault);
    assert.match(fault.message, /max_allowed_packet/);
    await append(group, 1);
    assert.deepEqual(await storedSeqs(group), [1]);
  });

  test("a row that stands where a change should go is not written over", async () => {
    const group = await own(open());
    await append(group, 1);
    await runSql(place, `INSERT INTO changes VALUES (${shard}, 2, 1, 'x')`);
    const fault = await faultOf(append(group, 2, { drop: [1] }));
    assertNotDone(fault);
    assert.match(fault.message, /1062/);
    assert.deepEqual(await storedSeqs(group), [1]);
    await runSql(place, `DELETE FROM changes WHERE shard = ${shard} AND last_number = 2`);
    await append(group, 2, { drop: [1] });
    assert.deepEqual(await storedSeqs(group), [2]);
  });

  test("a corrupt row is a fault of its session alone", async () => {
    const group = await own(open());
    await append(group, 1);
    await append(group, 1, { key: keyOf(2) });
    await runSql(place, `UPDATE entries SET head = 'junk' WHERE session_key = '${key}'`);
    const fault = await faultOf(group.loadSession(shard, key));
    assertNotDone(fault, "STORE_CORRUPT");
    assert.deepEqual(await group.namesOf(shard, key), { seqs: [1], keys: [] });
    assert.deepEqual(await storedSeqs(group, keyOf(2)), [1]);
    await runSql(place, "UPDATE changes SET packed = X'01ff'");
    const log = await faultOf(group.readChanges(shard, 0, 10));
    assert.equal(log.code, "STORE_CORRUPT");
  });

  test("a shard without a row is a fault, and not a shard without a fence", async () => {
    const group = await own(open());
    await runSql(place, `DELETE FROM shards WHERE shard = ${shard}`);
    const fault = await faultOf(own(open(), 2));
    assert.equal(fault.code, "STORE_CORRUPT");
    await group.close();
  });

  test("a server that only reads refuses commits as not done, and is read", async () => {
    const group = await own(open());
    await append(group, 1);
    await runSql({ ...place, user: mariadbAdmin }, "SET GLOBAL read_only = 1");
    try {
      assertNotDone(await faultOf(append(group, 2)));
      assert.deepEqual(await storedSeqs(group), [1]);
    } finally {
      await runSql({ ...place, user: mariadbAdmin }, "SET GLOBAL read_only = 0");
    }
    await append(group, 2);
    assert.deepEqual(await storedSeqs(group), [1, 2]);
  });
});

test("mysql: all groups open at once, on a few connections", async () => {
  const store = open();
  const groups = await Promise.all(upTo(store.groupCount).map((at) => store.openGroup(at - 1)));
  const answers = await Promise.all(
    groups.map((group, at) => {
      const first = at as Shard;
      return group.raise([{ shard: first, epoch: 1, holder: "a", reserveUntilMs: 0 }]);
    }),
  );
  assert.ok(answers.flat().every(({ ok }) => ok));
  const commits = groups.map((group, at) => {
    const first = at as Shard;
    const session = { key, changes: [stored(1)], append: [entry(1)] };
    return group.commit([{ shard: first, epoch: 1, sessions: [session] }]);
  });
  assert.ok((await Promise.all(commits)).flat().every(({ ok }) => ok));
  // Two lanes, at most eight readers, and the one that counts.
  const connections = await connectionCount();
  assert.ok(connections <= 2 + 8 + 1, `${connections} connections`);
  await Promise.all(groups.map((group) => group.close()));
});
