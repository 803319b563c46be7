/** The private servers of `make up`: nobody is let in without what their folders hold. */
import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { MysqlConnection } from "../../src/drivers/mysql-connection.js";
import { startStore } from "../../src/main/local-store.js";
import { planMariadb } from "../../src/main/setup/private-mariadb.js";
import { findProgram, PrivateServer } from "../../src/main/setup/private-server.js";
import { RunLedger } from "../../src/main/setup/run-ledger.js";
import { sendRedis } from "../support/redis-command.js";
import { Scratch } from "../support/scratch.js";

const store = { kind: "redis-mysql", mysql: "private", redis: "private" } as const;

async function isLetIn(port: number, user: string): Promise<boolean> {
  const place = { host: "127.0.0.1", port, user, password: "", database: "mysql" };
  try {
    const connection = await MysqlConnection.open(place, 5_000);
    await connection.end(1_000);
    return true;
  } catch {
    return false;
  }
}

test("root of the private MariaDB, and the private Redis, have a password", async () => {
  await using scratch = await Scratch.create("private-store");
  const ledger = await RunLedger.claim(join(scratch.folder, "run.json"));
  // As an earlier release has left it.
  const program = await findProgram("ensure-mariadb.mjs", true);
  const folder = join(scratch.folder, "mariadb");
  const password = "0123456789abcdef";
  const first = [
    "create database belfry",
    `create user belfry@'%' identified by '${password}'`,
    "grant all on belfry.* to belfry@'%'",
  ];
  const before = await PrivateServer.start(planMariadb(program, first), { folder });
  const wasOpen = await isLetIn(before.port, "root");
  await before.stop();
  assert.ok(wasOpen, "there is something to lock");
  await writeFile(join(folder, "password"), password, { mode: 0o600 });

  const servers = new Map<string, PrivateServer>();
  try {
    const environment = await startStore(store, scratch.folder, ledger, servers);
    const mariadb = servers.get("mariadb")?.port ?? 0;
    const redis = servers.get("redis")?.port ?? 0;
    for (const user of ["root", "", "belfry"]) {
      assert.equal(await isLetIn(mariadb, user), false, `${user} without a password`);
    }
    assert.match(await sendRedis(redis, "PING"), /NOAUTH/);
    const redisPassword = await readFile(environment["BELFRY_REDIS_PASSWORD_FILE"] ?? "", "utf8");
    const said = await sendRedis(redis, `AUTH ${redisPassword.trim()}`);
    assert.equal(said, "+OK");
    const secrets = [
      "mariadb/root-password",
      "mariadb/root.sql",
      "redis/password",
      "redis/redis.conf",
    ];
    for (const secret of secrets) {
      const { mode } = await stat(join(scratch.folder, secret));
      assert.equal(mode & 0o777, 0o600, secret);
    }
  } finally {
    for (const server of servers.values()) await server.stop();
  }
});
