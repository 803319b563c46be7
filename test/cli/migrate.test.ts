/** `belfry migrate`: what it prints and its exit codes, whatever the store says. */
import { deepEqual, equal, match } from "node:assert/strict";
import { test } from "node:test";
import { Fault } from "../../src/base/result.js";
import type { MigrateStore } from "../../src/cli/migration.js";
import { migrateFrom } from "../../src/main/migrate-from.js";
import { FakeFleet } from "./fake-fleet.js";
import { runCli } from "./run-cli.js";

const run = (migrateStore: MigrateStore, ...more: string[]) =>
  runCli(new FakeFleet(), ["migrate", ...more], { migrateStore });
const failing = (code: string) => async () => {
  throw new Fault(code, "not-done", "what it says");
};

test("tells from where to where, and ends with 0", async () => {
  const migrated = { store: "redis-mysql", from: 0, to: 1 };
  const text = await run(async () => migrated);
  deepEqual([text.exitCode, text.out], [0, "schema 0 → 1\n"]);
  deepEqual((await run(async () => migrated, "--json")).document, migrated);
  equal((await run(async () => ({ ...migrated, from: 1 }))).out, "schema 1 already\n");
});

test("a later release's tables and wrong settings are refused: 1", async () => {
  for (const code of ["STORE_NEWER_SCHEMA", "BAD_SETTINGS"]) {
    const refusal = await run(failing(code), "--json");
    equal(refusal.exitCode, 1);
    equal(refusal.document.code, code);
  }
});

test("a store that does not answer is silence: 3", async () => {
  const silent = await run(failing("STORE_UNAVAILABLE"), "--json");
  equal(silent.exitCode, 3);
  equal(silent.document.code, "STORE_UNAVAILABLE");
});

test("the store comes from the environment, and a wrong one is named", async () => {
  deepEqual(await migrateFrom({}), { store: "lmdb", from: 0, to: 0 });
  const store = { BELFRY_STORE: "redis-mysql" };
  const wrong: readonly [Record<string, string>, RegExp][] = [
    [{ BELFRY_STORE: "paper" }, /BELFRY_STORE/],
    [store, /mysqlUrl/],
    [{ ...store, BELFRY_MYSQL_URL: "host:1" }, /mysqlUrl: is mysql:/],
    [{ ...store, BELFRY_MYSQL_URL: "mysql://u@h/" }, /mysql:\/\/user@host/],
    [
      { ...store, BELFRY_MYSQL_URL: "mysql://u@127.0.0.1/d", BELFRY_MYSQL_TLS: "true" },
      /host's name/,
    ],
    [{ ...store, BELFRY_MYSQL_URL: "mysql://u:secret@h/d" }, /password belongs in a file/],
  ];
  for (const [environment, said] of wrong) {
    const fault = await migrateFrom(environment).catch((error: Fault) => error);
    match((fault as Fault).message, said);
    equal((fault as Fault).code, "BAD_SETTINGS");
  }
});
