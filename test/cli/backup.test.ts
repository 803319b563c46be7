/** `belfry backup`: what it passes on, what it prints, and its exit codes. */
import { deepEqual, equal, match } from "node:assert/strict";
import { test } from "node:test";
import { accepted, Fault, refused } from "../../src/base/result.js";
import type { BackupReport, Backups, RestoreTarget } from "../../src/cli/backups.js";
import { FakeFleet } from "./fake-fleet.js";
import { nobodyListens, runCli } from "./run-cli.js";

const report: BackupReport = {
  folder: "/b",
  createdAt: "2026-11-22T03:00:00.000Z",
  store: "lmdb",
  volumes: 8,
  sessions: 2,
  entries: 1,
  bytes: 99,
  buckets: { apps: 3 },
};

function fakeBackups(changes: Partial<Backups> = {}): { backups: Backups; asked: unknown[] } {
  const asked: unknown[] = [];
  const plain = (target: { kind: string }) => {
    const { fleet: _fleet, ...rest } = target as { kind: string; fleet?: unknown };
    return rest;
  };
  const backups: Backups = {
    create: async (folder, source) => {
      asked.push(["create", folder, plain(source)]);
      return accepted(report);
    },
    verify: async (folder) => {
      asked.push(["verify", folder]);
      return accepted(report);
    },
    restore: async (folder, target: RestoreTarget) => {
      asked.push(["restore", folder, plain(target)]);
      return accepted({ folder, to: target.kind, restored: 8, kept: 0 });
    },
    ...changes,
  };
  return { backups, asked };
}

for (const [args, wanted] of [
  ["create /b", ["create", "/b", { kind: "fleet" }]],
  ["create /b --data /d", ["create", "/b", { kind: "data", folder: "/d" }]],
  ["verify /b", ["verify", "/b"]],
  ["restore /b --data /d", ["restore", "/b", { kind: "data", folder: "/d", overwrite: false }]],
  [
    "restore /b --data /d --overwrite",
    ["restore", "/b", { kind: "data", folder: "/d", overwrite: true }],
  ],
  ["restore /b --kv", ["restore", "/b", { kind: "kv", overwrite: false }]],
  ["restore /b --mysql", ["restore", "/b", { kind: "mysql" }]],
] as const) {
  test(`backup ${args}: does that, and prints one document with --json`, async () => {
    const { backups, asked } = fakeBackups();
    const call = ["backup", ...args.split(" ")];
    const text = await runCli(new FakeFleet(), call, { backups });
    equal(text.exitCode, 0, text.err);
    match(text.out, /8 volumes|marked as restored|8 records/);
    const json = await runCli(new FakeFleet(), [...call, "--json"], { backups });
    equal(json.document.folder, "/b");
    deepEqual(asked, [wanted, wanted]);
  });
}

for (const args of ["restore /b", "restore /b --kv --mysql", "restore", "create", "verify"]) {
  test(`backup ${args}: wrong usage ends with 2, and does nothing`, async () => {
    const { backups, asked } = fakeBackups();
    const run = await runCli(new FakeFleet(), ["backup", ...args.split(" ")], { backups });
    equal(run.exitCode, 2, run.err);
    deepEqual(asked, []);
  });
}

test("a damaged backup is refused: 1; nobody there: 3", async () => {
  const damaged = fakeBackups({ verify: async () => refused("BACKUP_DAMAGED", "x is cut off") });
  const run = await runCli(new FakeFleet(), ["backup", "verify", "/b", "--json"], damaged);
  deepEqual([run.exitCode, run.document.code], [1, "BACKUP_DAMAGED"]);
  const silent = fakeBackups({
    restore: async () => {
      throw new Fault("STORE_UNAVAILABLE", "not-done", "MySQL does not answer");
    },
  });
  const restore = ["backup", "restore", "/b", "--mysql"];
  equal((await runCli(new FakeFleet(), restore, silent)).exitCode, 3);
  const create = ["backup", "create", "/b"];
  const none = await runCli(new FakeFleet(), create, { ...fakeBackups(), open: nobodyListens });
  equal(none.exitCode, 3);
});
