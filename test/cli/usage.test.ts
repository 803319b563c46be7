/** What every command has in common: words, exit codes, one JSON document. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import { Fault, refused } from "../../src/base/result.js";
import { FakeFleet, fleetWithDemo } from "./fake-fleet.js";
import { nobodyListens, runCli } from "./run-cli.js";

/** One right call of every command. */
const calls: readonly string[] = [
  "push demo alice hi",
  "status",
  "topology",
  "actor dc1-a/edge",
  "user demo alice",
  "message 01ARZ3NDEKTSV4RR",
  "app reach demo --within 15m",
  "shards",
  "app create shop",
  "app show demo",
  "app list",
  "app rotate-secret demo",
  "token demo alice",
  "nodes",
  "placement",
  "drain dc1-b --no-wait",
  "undrain dc1-b",
  "rebalance plan",
  "rebalance commit n0-2",
  "edges",
  "edges let-in 20",
];

const words = (call: string) => call.split(" ").filter((word) => word !== "");

describe("every command", () => {
  for (const call of calls) {
    test(`${call}: prints one JSON document with --json, before or after it`, async () => {
      for (const args of [
        [...words(call), "--json"],
        ["--json", ...words(call)],
      ]) {
        const fleet = await fleetWithDemo();
        const run = await runCli(fleet, args);
        equal(run.exitCode, 0, run.out + run.err);
        equal(typeof run.document, "object");
        equal(run.err, "");
        ok(fleet.isClosed, "the fleet is closed");
      }
    });

    test(`${call}: prints text to stdout without it, and no colours into a pipe`, async () => {
      const run = await runCli(await fleetWithDemo(), words(call));
      equal(run.exitCode, 0);
      equal(run.err, "");
      ok(run.out.endsWith("\n") && run.out.length > 1);
      ok(!run.out.includes("\u001b"), run.out);
    });

    test(`${call}: ends with 3 and one sentence when nobody listens`, async () => {
      const text = await runCli(new FakeFleet(), words(call), { open: nobodyListens });
      equal(text.exitCode, 3);
      equal(text.out, "");
      equal(text.err, "belfry: nobody answers: is it running? make run\n");
      const json = await runCli(new FakeFleet(), [...words(call), "--json"], {
        open: nobodyListens,
      });
      equal(json.exitCode, 3);
      equal(json.document.code, "NOT_RUNNING");
    });

    test(`${call}: refuses an argument too many and an unknown option with 2`, async () => {
      for (const more of ["surplus", "--surplus"]) {
        const run = await runCli(await fleetWithDemo(), [...words(call), more, "--json"]);
        equal(run.exitCode, 2);
        deepEqual([run.document.ok, run.document.code], [false, "USAGE"]);
        equal(run.settings, undefined, "wrong usage asks nobody");
      }
    });

    test(`${call}: has a help text with an example`, async () => {
      const command = words(call).slice(0, call.startsWith("app ") ? 2 : 1);
      const run = await runCli(new FakeFleet(), [...command, "--help"]);
      equal(run.exitCode, 0);
      match(run.out, new RegExp(`Example:\n  belfry ${command.join(" ")}`));
      match(run.out, /--json/);
    });
  }
});

describe("wrong usage", () => {
  const wrong: readonly string[] = [
    "",
    "nonsense",
    "app",
    "app nonsense",
    "app create",
    "app create a.b",
    `app create ${"a".repeat(65)}`,
    "app create node",
    "app create shop --delivery never",
    "push",
    "push demo alice",
    "push demo alice hi --qos 2",
    "push demo alice hi --ttl 0",
    "push demo alice hi --ttl 1e3",
    "push demo alice hi --kind loud",
    "push demo alice hi --priority urgent",
    `push demo alice hi --id ${"x".repeat(65)}`,
    "user demo",
    "actor nowhere",
    "actor /edge",
    "actor dc1-a/",
    "shards --shard 4096",
    "shards --shard x",
    "topology --depth 9",
    "topology --depth 0",
    "topology --children -1",
    "token demo",
    "token demo alice --ttl x",
    "status --timeout 0",
    "status --timeout soon",
    "drain",
    "drain dc1-a --wait x",
    "drain dc1_a",
    "undrain DC1",
    "rebalance",
    "rebalance commit",
    "rebalance commit a/b",
  ];
  for (const call of wrong) {
    test(`belfry ${call.slice(0, 60)}: ends with 2`, async () => {
      const text = await runCli(await fleetWithDemo(), words(call));
      equal(text.exitCode, 2, text.out);
      equal(text.out, "");
      match(text.err, /belfry/);
      const json = await runCli(await fleetWithDemo(), [...words(call), "--json"]);
      equal(json.exitCode, 2);
      equal(json.document.code, "USAGE");
      equal(json.err, "");
    });
  }

  test("is what settings are that make no sense", async () => {
    const open = async () => refused("USAGE", "the password file is not readable");
    const run = await runCli(new FakeFleet(), ["status"], { open });
    equal(run.exitCode, 2);
  });
});

describe("the command", () => {
  test("prints its version", async () => {
    equal((await runCli(new FakeFleet(), ["--version"])).out, "9.8.7\n");
    const json = await runCli(new FakeFleet(), ["--version", "--json"]);
    deepEqual([json.exitCode, json.document], [0, { version: "9.8.7" }]);
  });

  test("prints its help", async () => {
    const run = await runCli(new FakeFleet(), ["--help"]);
    equal(run.exitCode, 0);
    match(run.out, /Exit codes: 0 done, 1 refused, 2 wrong usage, 3 nobody answered/);
    const json = await runCli(new FakeFleet(), ["--help", "--json"]);
    match(json.document.help, /push/);
  });

  test("hands its connection settings on", async () => {
    const flags = ["--nats-url", "nats://n:1", "--user", "u", "--password-file", "f"];
    const run = await runCli(new FakeFleet(), ["status", ...flags, "--timeout", "0.5"]);
    deepEqual(run.settings, {
      natsUrl: "nats://n:1",
      user: "u",
      passwordFile: "f",
      timeoutMs: 500,
    });
    deepEqual((await runCli(new FakeFleet(), ["status"])).settings, { timeoutMs: 5_000 });
  });

  test("ends with 1 when the server does not let it in", async () => {
    const open = async () => refused("UNAUTHORIZED", "not let in");
    const run = await runCli(new FakeFleet(), ["status"], { open });
    deepEqual([run.exitCode, run.err], [1, "belfry: UNAUTHORIZED: not let in\n"]);
  });

  test("closes the fleet also when nobody answered", async () => {
    const fleet = await fleetWithDemo();
    fleet.pushAnswer = new Fault("TIMEOUT", "unknown", "no answer in time");
    equal((await runCli(fleet, ["push", "demo", "alice", "hi"])).exitCode, 3);
    ok(fleet.isClosed);
  });

  test("takes --json after -- for a word like any other", async () => {
    const fleet = await fleetWithDemo();
    const run = await runCli(fleet, ["push", "demo", "alice", "--", "--json"]);
    equal(run.exitCode, 0);
    deepEqual(fleet.pushed[0]?.command, { body: "--json" });
    match(run.out, /stored as seq 4/);
  });
});
