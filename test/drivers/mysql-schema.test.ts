/** The tables: made once by however many come, and a later release's are left alone. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { migrateMysql, schemaVersion } from "../../src/drivers/mysql-schema.js";
import { startMariadb } from "../support/mariadb-server.js";
import { makeDatabase, runSql } from "../support/mysql-database.js";
import type { ServerProcess } from "../support/server-process.js";
import { faultOf } from "./store-samples.js";

let mariadb: ServerProcess;
before(async () => {
  mariadb = await startMariadb();
});
after(() => mariadb[Symbol.asyncDispose]());

test("nodes that start at once make the tables once", async () => {
  const place = await makeDatabase(mariadb.port);
  const migrated = await Promise.all(Array.from({ length: 5 }, () => migrateMysql(place)));
  const froms = migrated.map(({ from }) => from).sort();
  assert.deepEqual(
    froms,
    [0, 1, 1, 1, 1].map((from) => from * schemaVersion),
  );
  assert.ok(migrated.every(({ to }) => to === schemaVersion));
  const [steps, shards] = await runSql(
    place,
    "SELECT version FROM schema_steps; SELECT COUNT(*), MAX(shard) FROM shards",
  );
  assert.equal(steps?.length, schemaVersion);
  assert.deepEqual(shards, [[4096, 4095]]);
});

test("a start that died in the middle is ended by the next one", async () => {
  const place = await makeDatabase(mariadb.port);
  await migrateMysql(place);
  await runSql(
    place,
    "DELETE FROM schema_steps; DROP TABLE due; DELETE FROM shards WHERE shard = 9",
  );
  await runSql(place, "UPDATE shards SET epoch = 3 WHERE shard = 8");
  assert.deepEqual(await migrateMysql(place), { from: 0, to: schemaVersion });
  const [rows] = await runSql(place, "SELECT COUNT(*), SUM(epoch) FROM shards");
  assert.deepEqual(
    rows?.map((row) => row.map(Number)),
    [[4096, 3]],
  );
});

test("tables of a later release that this one can work with are used as they are", async () => {
  const place = await makeDatabase(mariadb.port);
  await migrateMysql(place);
  const later = schemaVersion + 1;
  await runSql(place, `INSERT INTO schema_steps (version, least_schema) VALUES (${later}, 1)`);
  assert.deepEqual(await migrateMysql(place), { from: later, to: later });
});

test("tables that this release cannot work with are refused, and nothing is changed", async () => {
  const place = await makeDatabase(mariadb.port);
  await migrateMysql(place);
  const later = schemaVersion + 1;
  await runSql(
    place,
    `INSERT INTO schema_steps (version, least_schema) VALUES (${later}, ${later})`,
  );
  await runSql(place, "DROP TABLE due");
  const fault = await faultOf(migrateMysql(place));
  assert.equal(fault.code, "STORE_NEWER_SCHEMA");
  assert.equal(fault.outcome, "not-done");
  assert.match(fault.message, /later release.*nothing was changed/);
  const [tables] = await runSql(place, "SHOW TABLES LIKE 'due'");
  assert.deepEqual(tables, []);
});

test("a server that is not there is named", async () => {
  const place = { host: "127.0.0.1", port: 9, user: "belfry", database: "belfry" };
  const fault = await faultOf(migrateMysql(place));
  assert.equal(fault.code, "STORE_UNAVAILABLE");
  assert.match(fault.message, /127\.0\.0\.1:9/);
});

test("a wrong password is told, and not the password", async () => {
  const place = { ...(await makeDatabase(mariadb.port)), password: "not-this-one" };
  const fault = await faultOf(migrateMysql(place));
  assert.match(fault.message, /Access denied/);
  assert.doesNotMatch(fault.message, /not-this-one/);
});
