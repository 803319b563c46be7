/** Tables into which a dump was loaded: nothing of the lost timeline counts there. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { markMysqlRestored } from "../../src/drivers/mysql-restored.js";
import { RedisMysqlInbox } from "../../src/drivers/redis-mysql-inbox.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import { type Shard, sessionKey } from "../../src/protocol/shards.js";
import { startMariadb } from "../support/mariadb-server.js";
import { makeStoreDatabase, runSql } from "../support/mysql-database.js";
import { startRedis } from "../support/redis-server.js";
import type { ServerProcess } from "../support/server-process.js";

const shard = 3 as Shard;
const key = sessionKey("demo", "alice");
const floor = 20_000_000;

let mariadb: ServerProcess;
let redis: ServerProcess;
before(async () => {
  mariadb = await startMariadb();
  redis = await startRedis();
});
after(async () => {
  await redis[Symbol.asyncDispose]();
  await mariadb[Symbol.asyncDispose]();
});

test("a marked copy gives no epoch, no MsgID time and no generation of before", async () => {
  const place = await makeStoreDatabase(mariadb.port);
  const store = new RedisMysqlInbox({ place, redis: { host: "127.0.0.1", port: redis.port } });
  const lost = await store.openGroup(0);
  assert.equal(lost.generationFloor, 0);
  await write(lost, 5, 10);
  // The dump is of now; what comes after it is lost in MySQL, and Redis has a copy of it.
  const tables = ["shards", "sessions"];
  for (const name of tables)
    await runSql(place, `CREATE TABLE dump_${name} AS SELECT * FROM ${name}`);
  await write(lost, 5, 50);
  assert.equal((await lost.loadSession(shard, key))?.record.lastSeq, 50);
  await lost.close();
  for (const name of tables) {
    await runSql(place, `DELETE FROM ${name}`);
    await runSql(place, `INSERT INTO ${name} SELECT * FROM dump_${name}`);
  }
  const mark = { generationFloor: floor, epoch: floor, reserveUntilMs: 90_000 };
  await markMysqlRestored(place, mark);

  const restored = await store.openGroup(0);
  assert.equal(restored.generationFloor, floor);
  assert.equal((await raise(restored, 6))?.ok, false);
  assert.equal((await raise(restored, floor))?.ok, false, "the mark's own epoch is nobody's");
  const high = await raise(restored, floor + 1);
  assert.ok(high?.ok);
  assert.equal(high.value.previousReservedUntilMs, 90_000);
  assert.equal((await restored.loadSession(shard, key))?.record.lastSeq, 10, "not Redis's");
  await restored.close();

  await markMysqlRestored(place, { ...mark, generationFloor: 1, epoch: 1 });
  const again = await store.openGroup(0);
  assert.equal(again.generationFloor, floor, "a later mark lowers nothing");
  assert.equal((await raise(again, floor + 1))?.ok, false);
  await again.close();
  await store.close();
});

async function raise(group: InboxGroup, epoch: number) {
  const [answer] = await group.raise([{ shard, epoch, holder: "dc1-a.one", reserveUntilMs: 1 }]);
  return answer;
}

async function write(group: InboxGroup, epoch: number, lastSeq: number): Promise<void> {
  assert.ok((await raise(group, epoch))?.ok);
  const record = { generation: 7, lastSeq, devices: [] };
  const [answer] = await group.commit([{ shard, epoch, sessions: [{ key, record, changes: [] }] }]);
  assert.ok(answer?.ok);
}
