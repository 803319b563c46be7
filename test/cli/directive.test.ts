/** `belfry directive` and `belfry edges heartbeat`: what they ask, and what they say of it. */
import { deepEqual, equal, match } from "node:assert/strict";
import { describe, test } from "node:test";
import { errorAnswer } from "../../src/protocol/errors.js";
import { fleetWithDemo } from "./fake-fleet.js";
import { runCli } from "./run-cli.js";

const alice = { kind: "directive", app: "demo", uid: "alice" };

describe("belfry directive", () => {
  const orders: readonly (readonly [readonly string[], object])[] = [
    [
      ["kick", "demo", "alice", "--reason", "signed out"],
      { ...alice, directive: { do: "kick", reason: "signed out" } },
    ],
    [
      ["kick", "demo", "alice", "--reason", "r", "--device", "phone"],
      { ...alice, device: "phone", directive: { do: "kick", reason: "r" } },
    ],
    [["reconnect", "demo", "alice"], { ...alice, directive: { do: "reconnect", edges: [] } }],
    [
      ["reconnect", "demo", "alice", "--edge", "wss://b/c", "wss://c/c", "--spread", "500"],
      {
        ...alice,
        directive: {
          do: "reconnect",
          edges: [{ url: "wss://b/c" }, { url: "wss://c/c" }],
          spreadMs: 500,
        },
      },
    ],
    [
      ["heartbeat", "demo", "a.b", "60000"],
      { ...alice, uid: "a%2Eb", directive: { do: "heartbeat", heartbeatMs: 60_000 } },
    ],
    [
      ["config", "demo", "alice", '{"document":"theme"}'],
      { ...alice, directive: { do: "config", config: { document: "theme" } } },
    ],
    [["config", "demo", "alice", "null"], { ...alice, directive: { do: "config", config: null } }],
  ];
  for (const [words, request] of orders) {
    test(`asks the owner: ${words.join(" ")}`, async () => {
      const fleet = await fleetWithDemo();
      const run = await runCli(fleet, ["directive", ...words]);
      deepEqual([run.exitCode, run.out], [0, "2 connections told\n"]);
      deepEqual(fleet.asked, [request]);
    });
  }

  const nonsense: readonly (readonly string[])[] = [
    ["kick", "demo", "alice"],
    ["kick", "demo", "alice", "--reason", ""],
    ["kick", "demo", "alice", "--reason", "r".repeat(257)],
    ["heartbeat", "demo", "alice", "999"],
    ["heartbeat", "demo", "alice", "3600001"],
    ["config", "demo", "alice", "{"],
    ["config", "demo", "alice", JSON.stringify("c".repeat(4_096))],
    ["reconnect", "demo", "alice", "--spread", "-1"],
    ["reconnect", "demo", "alice", "--edge", "a", "b", "c", "d", "e"],
    ["dance", "demo", "alice"],
  ];
  for (const words of nonsense) {
    test(`asks nobody: ${words.join(" ").slice(0, 60)}`, async () => {
      const fleet = await fleetWithDemo();
      equal((await runCli(fleet, ["directive", ...words])).exitCode, 2);
      deepEqual(fleet.asked, []);
    });
  }

  const words = ["directive", "kick", "demo", "alice", "--reason", "r"];

  test("tells how many were told, and ends with 1 where not all were", async () => {
    const fleet = await fleetWithDemo();
    const value = { connections: 3, told: 1 };
    fleet.directiveAnswer = [{ ok: true, value }];
    const run = await runCli(fleet, [...words, "--json"]);
    equal(run.exitCode, 1);
    const directive = { do: "kick", reason: "r" };
    deepEqual(run.document, { app: "demo", uid: "alice", directive, ...value });
    fleet.directiveAnswer = [{ ok: true, value: { connections: 0, told: 0 } }];
    const nobody = await runCli(fleet, words);
    deepEqual([nobody.exitCode, nobody.out], [0, "nobody is connected as alice of demo\n"]);
  });

  test("reads the table again when the shard has moved, and says what a node refuses", async () => {
    const fleet = await fleetWithDemo();
    fleet.directiveAnswer.unshift(errorAnswer("WRONG_SHARD"));
    equal((await runCli(fleet, words)).exitCode, 0);
    equal(fleet.placementsRead, 2);
    fleet.directiveAnswer = [errorAnswer("NOT_READY")];
    const refused = await runCli(fleet, [...words, "--json"]);
    deepEqual([refused.exitCode, refused.document.code], [1, "NOT_READY"]);
    const unknown = await runCli(fleet, [
      "directive",
      "kick",
      "no",
      "alice",
      "--reason",
      "r",
      "--json",
    ]);
    deepEqual([unknown.exitCode, unknown.document.code], [1, "UNKNOWN_APP"]);
  });
});

describe("belfry edges heartbeat", () => {
  for (const [words, bounds] of [
    [["--min", "60000"], { minMs: 60_000 }],
    [["--min", "60000", "--max", "120000"], { minMs: 60_000, maxMs: 120_000 }],
    [[], {}],
  ] as const) {
    test(`asks for ${JSON.stringify(bounds)}`, async () => {
      const fleet = await fleetWithDemo();
      fleet.leaderAnswers = [{ ok: true, value: { changed: true } }];
      const run = await runCli(fleet, ["edges", "heartbeat", ...words, "--json"]);
      deepEqual(run.document, { minMs: null, maxMs: null, ...bounds });
      deepEqual(fleet.asked.at(-1), { kind: "edges-heartbeat", ...bounds });
    });
  }

  test("takes no interval out of range", async () => {
    const fleet = await fleetWithDemo();
    equal((await runCli(fleet, ["edges", "heartbeat", "--max", "10"])).exitCode, 2);
    deepEqual(fleet.asked, []);
  });
});

test("belfry user shows whether somebody looks at the app, and what was told", async () => {
  const fleet = await fleetWithDemo();
  const devices = [{ id: "phone", platform: "web", app: "background" }];
  const session = {
    presence: "connected",
    appState: "background",
    announced: "foreground",
    devices,
  };
  fleet.userAnswer = [{ ok: true, value: { shard: 1, epoch: 1, ...session } }];
  const { out } = await runCli(fleet, ["user", "demo", "alice"]);
  match(out, /user +alice of demo/);
  match(out, /presence +connected, app in the background \(told: foreground\)/);
  match(out, /phone +web .*background/);
});
