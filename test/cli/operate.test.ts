/** What operators ask of the leader: nodes, placement, drain, rebalance. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import { Fault } from "../../src/base/result.js";
import { errorAnswer } from "../../src/protocol/errors.js";
import {
  type FakeFleet,
  fleetWithDemo,
  leaderReport,
  nodeA,
  nodeB,
  rebalancePlan,
} from "./fake-fleet.js";
import { runCli } from "./run-cli.js";

const kindsAsked = (fleet: FakeFleet) => fleet.asked.map(({ kind }) => kind);

describe("nodes", () => {
  test("shows each node's part in the placement and what it carries", async () => {
    const fleet = await fleetWithDemo();
    fleet.draining = ["dc1-b", "dc1-gone"];
    fleet.shards = fleet.shards.map((place) =>
      place.shard === 4095 ? { ...place, state: "moving", owner: nodeA, from: nodeB } : place,
    );
    const { document, exitCode } = await runCli(fleet, ["nodes", "--json"]);
    equal(exitCode, 0);
    deepEqual(document.absentInDrain, ["dc1-gone"]);
    const [a, b] = document.nodes;
    deepEqual(a, {
      nodeId: "dc1-a",
      incarnation: "inca",
      version: "0.1.0",
      state: "up",
      unwell: null,
      cannotServe: [],
      isLeaseHeld: true,
      isLeader: true,
      isDraining: false,
      shards: { serving: 2048, arriving: 1, leaving: 0 },
      messagesPerSecond: 1_120,
      sessions: 40,
      weight: 11,
      connections: 5,
      refused: { RATE_LIMITED: 2, OVERLOADED: 1 },
      lagMs: null,
    });
    deepEqual([b.isLeader, b.isDraining], [false, true]);
    deepEqual(b.shards, { serving: 2047, arriving: 0, leaving: 1 });
    const { out } = await runCli(fleet, ["nodes"]);
    match(out, /^dc1-b\.incb +up +in drain +2047 +0 +1 +128 +30 +4\.8 +5 +3 +0\.1\.0$/m);
    match(out, /in drain and not there: dc1-gone\n$/);
  });

  test("says who is unwell and why, and who cannot serve some groups", async () => {
    const fleet = await fleetWithDemo();
    const [a, b] = fleet.nodes;
    fleet.nodes = [
      { ...a, unwell: "the event loop lags" },
      { ...b, cannotServe: [3, 5] },
    ] as typeof fleet.nodes;
    const { out } = await runCli(fleet, ["nodes"]);
    match(out, /^dc1-a\.inca +unwell: the event loop lags +leads /m);
    match(out, /^dc1-b\.incb +up, cannot serve groups 3, 5 /m);
  });

  test("shows a silent node, and no load where the leader does not answer", async () => {
    const fleet = await fleetWithDemo();
    fleet.silent.add("dc1-a");
    const { document } = await runCli(fleet, ["nodes", "--json"]);
    const [a, b] = document.nodes;
    deepEqual([a.state, a.reason, a.messagesPerSecond], ["silent", "no answer in time", null]);
    deepEqual([b.state, b.weight, b.shards.serving], ["up", null, 2048]);
    fleet.silent.add("dc1-b");
    equal((await runCli(fleet, ["nodes"])).exitCode, 3);
  });
});

describe("placement", () => {
  test("prints what the leader says, as it is and for people", async () => {
    const fleet = await fleetWithDemo();
    const { document } = await runCli(fleet, ["placement", "--json"]);
    deepEqual(document, leaderReport);
    const { out } = await runCli(fleet, ["placement"]);
    match(out, /leader +dc1-a\.inca, epoch 3, for 1m15s/);
    match(out, /table +revision 17, nonce n0, epoch 3/);
    match(out, /load +1280 messages\/s; moves for load from 1000 on\n/);
    match(out, /in drain +dc1-b\n/);
    match(out, /avoided +dc1-b \(did not start a unit\)/);
    match(out, /plan +n0-1: 1 of 3 moves done, 1 dropped/);
    match(out, /^5 +dc1-b\.incb +dc1-a\.inca +9 +1\.2s$/m);
    match(out, /^2026-01-01T00:00:00\.000Z +moves unit 5: drain$/m);
  });

  test("follows the leader when it changes, within its time", async () => {
    const fleet = await fleetWithDemo();
    fleet.leaderAnswers = [errorAnswer("NOT_LEADER"), new Fault("NO_RESPONDERS", "not-done", "?")];
    const run = await runCli(fleet, ["placement", "--json"]);
    equal(run.exitCode, 0);
    equal(fleet.asked.length, 3);
    equal(fleet.placementsRead, 3);
  });

  test("waits for somebody to lead, and ends with 3 when nobody does in time", async () => {
    const fleet = await fleetWithDemo();
    const { leader } = fleet;
    fleet.leader = undefined;
    fleet.onPlacementRead = () => {
      if (fleet.placementsRead === 3) fleet.leader = leader;
    };
    equal((await runCli(fleet, ["placement"])).exitCode, 0);
    fleet.leader = undefined;
    const run = await runCli(fleet, ["placement", "--json", "--timeout", "2"]);
    deepEqual([run.exitCode, run.document.code], [3, "NOT_LEADER"]);
  });

  test("survives a report of another version", async () => {
    const fleet = await fleetWithDemo();
    fleet.leaderAnswers = [{ ok: true, value: { decisions: [7], nodes: "what" } }];
    equal((await runCli(fleet, ["placement"])).exitCode, 0);
  });
});

describe("drain", () => {
  test("waits until the node holds nothing, and tells how it goes", async () => {
    const fleet = await fleetWithDemo();
    fleet.onPlacementRead = () => {
      // Once it is in drain it gives a quarter of all with each look, the last one in two.
      if (!fleet.draining.includes("dc1-b")) return;
      const left = Math.max(4, 8 - 2 * (fleet.placementsRead - 4));
      fleet.shards = fleet.shards.map((place) => {
        if (place.shard % 8 < left) return place;
        const isLast = place.shard === 4 && fleet.placementsRead === 6;
        return { ...place, owner: nodeA, ...(isLast ? { from: nodeB } : { from: nodeA }) };
      });
    };
    const run = await runCli(fleet, ["drain", "dc1-b"]);
    equal(run.exitCode, 0);
    match(run.out, /^dc1-b is in drain and holds nothing \(\d+\.\d s\)\n$/);
    equal(run.err, "dc1-b holds 2048 shards\ndc1-b holds 1024 shards\ndc1-b holds 1 shard\n");
    deepEqual(kindsAsked(fleet).slice(0, 3), ["drain", "edge-drain", "actor"]);
  });

  test("waits until its clients have left, too, told at the rate that is wanted", async () => {
    const fleet = await fleetWithDemo();
    fleet.shards = fleet.shards.map((place) => ({ ...place, owner: nodeA }));
    fleet.connections = 20;
    fleet.connectionsLeaving = 19;
    const run = await runCli(fleet, ["drain", "dc1-b", "--rate", "40"]);
    deepEqual([run.exitCode, run.err], [0, "dc1-b holds 20 clients\ndc1-b holds 1 client\n"]);
    match(run.out, /^dc1-b is in drain and holds nothing/);
    deepEqual([...fleet.drainingEdges], [["dc1-b", 40]]);
  });

  test("tells how many were told, and how many were closed for staying", async () => {
    const fleet = await fleetWithDemo();
    fleet.shards = fleet.shards.map((place) => ({ ...place, owner: nodeA }));
    fleet.connections = 20;
    fleet.connectionsLeaving = 19;
    fleet.edgeDrain = { perSecond: 200, isHeld: false, told: 20, leaving: 1, overdue: 1 };
    const run = await runCli(fleet, ["drain", "dc1-b"]);
    deepEqual(run.err.split("\n").slice(0, 2), [
      "dc1-b holds 20 clients; 20 told to move, 1 closed for staying",
      "dc1-b holds 1 client; 20 told to move, 1 closed for staying",
    ]);
    match(
      run.out,
      /^dc1-b is in drain and holds nothing \(\d\.\d s, 1 client closed for staying\)\n$/,
    );
  });

  test("waits as long as telling all takes, unless it is told how long", async () => {
    for (const [args, leastMs, mostMs] of [
      [[], 160_000, 161_000],
      [["--wait", "5"], 5_000, 6_000],
    ] as const) {
      const fleet = await fleetWithDemo();
      fleet.shards = fleet.shards.map((place) => ({ ...place, owner: nodeA }));
      fleet.connections = 5_000;
      fleet.edgeDrain = { perSecond: 50, isHeld: false, told: 0, leaving: 0, overdue: 0 };
      const { exitCode, document } = await runCli(fleet, ["drain", "dc1-b", ...args, "--json"]);
      deepEqual([exitCode, document.done, document.connections], [1, false, 5_000]);
      ok(document.tookMs >= leastMs && document.tookMs < mostMs, `it waits ${document.tookMs} ms`);
    }
  });

  test("says that no other edge takes the clients of the last one", async () => {
    const fleet = await fleetWithDemo();
    fleet.shards = fleet.shards.map((place) => ({ ...place, owner: nodeA }));
    fleet.connections = 20;
    fleet.edgeDrain = { perSecond: 200, isHeld: true, told: 0, leaving: 0, overdue: 0 };
    const run = await runCli(fleet, ["drain", "dc1-b", "--wait", "2"]);
    deepEqual(
      [run.exitCode, run.err],
      [1, "dc1-b holds 20 clients: no other edge takes clients\n"],
    );
    match(run.out, /still holds 20 clients; no other edge takes its clients\n$/);
  });

  test("still waits for a node's clients while it does not answer", async () => {
    const fleet = await fleetWithDemo();
    fleet.shards = fleet.shards.map((place) => ({ ...place, owner: nodeA }));
    fleet.silent.add("dc1-b");
    const run = await runCli(fleet, ["drain", "dc1-b", "--wait", "2"]);
    deepEqual([run.exitCode, run.err], [1, "dc1-b holds clients it does not tell of\n"]);
  });

  test("takes its shards alone with --keep-clients", async () => {
    const fleet = await fleetWithDemo();
    fleet.shards = fleet.shards.map((place) => ({ ...place, owner: nodeA }));
    fleet.connections = 20;
    equal((await runCli(fleet, ["drain", "dc1-b", "--keep-clients"])).exitCode, 0);
    deepEqual(kindsAsked(fleet), ["drain"]);
  });

  test("says nothing but its end with --json, and that it was in drain before", async () => {
    const fleet = await fleetWithDemo();
    fleet.draining = ["dc1-b"];
    fleet.drainingEdges.set("dc1-b", undefined);
    const run = await runCli(fleet, ["drain", "dc1-b", "--no-wait", "--json"]);
    deepEqual(run.document, {
      ...{ node: "dc1-b", changed: false, done: false, held: 2048, connections: 0 },
      ...{ told: null, overdue: null, perSecond: null, nowhereToGo: false, tookMs: 0 },
    });
    deepEqual([run.exitCode, run.err], [0, ""]);
  });

  test("ends with 1 when the node still holds something after --wait", async () => {
    const fleet = await fleetWithDemo();
    const run = await runCli(fleet, ["drain", "dc1-b", "--wait", "2", "--json"]);
    deepEqual([run.exitCode, run.document.held, run.document.changed], [1, 2048, true]);
    ok(run.document.tookMs >= 2_000);
  });

  test("ends with 1 when somebody takes the node out of drain meanwhile", async () => {
    const fleet = await fleetWithDemo();
    fleet.onPlacementRead = () => {
      if (fleet.placementsRead === 5) fleet.draining = [];
    };
    const run = await runCli(fleet, ["drain", "dc1-b", "--json"]);
    deepEqual([run.exitCode, run.document.code], [1, "CONFLICT"]);
  });

  test("is refused with the leader's word, and an incarnation that is over by itself", async () => {
    const fleet = await fleetWithDemo();
    for (const [name, code] of [
      ["dc1-q", "NOT_FOUND"],
      ["dc1-b.old", "NOT_FOUND"],
    ]) {
      const run = await runCli(fleet, ["drain", name ?? "", "--json"]);
      deepEqual([run.exitCode, run.document.code], [1, code]);
    }
    deepEqual(kindsAsked(fleet), ["drain"]);
    fleet.leaderAnswers = [errorAnswer("LAST_NODE")];
    const run = await runCli(fleet, ["drain", "dc1-b", "--json"]);
    deepEqual([run.exitCode, run.document.code], [1, "LAST_NODE"]);
    deepEqual(fleet.draining, []);
  });

  test("is asked again when its fate is unknown: twice is as good as once", async () => {
    const fleet = await fleetWithDemo();
    fleet.leaderAnswers = [new Fault("TIMEOUT", "unknown", "no answer in time")];
    equal((await runCli(fleet, ["drain", "dc1-b", "--no-wait"])).exitCode, 0);
    deepEqual(fleet.draining, ["dc1-b"]);
  });

  test("undrain takes it out again, once", async () => {
    const fleet = await fleetWithDemo();
    fleet.draining = ["dc1-b"];
    fleet.drainingEdges.set("dc1-b", undefined);
    const run = await runCli(fleet, ["undrain", "dc1-b", "--json"]);
    deepEqual([fleet.draining, fleet.drainingEdges.size], [[], 0]);
    deepEqual(run.document, { node: "dc1-b", changed: true });
    const again = await runCli(fleet, ["undrain", "dc1-b"]);
    deepEqual([again.exitCode, again.out], [0, "dc1-b was not in drain\n"]);
  });
});

describe("rebalance", () => {
  test("plan prints the moves, the weights before and after, and how to commit them", async () => {
    const fleet = await fleetWithDemo();
    const { document } = await runCli(fleet, ["rebalance", "plan", "--json"]);
    deepEqual(document, rebalancePlan);
    const { out } = await runCli(fleet, ["rebalance", "plan"]);
    match(out, /^1 +dc1-a +dc1-b +load: 11\.0 and 4\.8$/m);
    match(out, /^dc1-a +4 +11\.0 +3 +10\.0$/m);
    match(out, /belfry rebalance commit n0-2\n$/);
  });

  test("plan says when there is nothing to do", async () => {
    const fleet = await fleetWithDemo();
    fleet.leaderAnswers = [{ ok: true, value: { ...rebalancePlan, plan: null, moves: [] } }];
    const { out, exitCode } = await runCli(fleet, ["rebalance", "plan"]);
    equal(exitCode, 0);
    match(out, /nothing to do/);
    ok(!out.includes("commit"));
  });

  test("commit carries a plan out, and is refused for one that is unknown or outdated", async () => {
    const fleet = await fleetWithDemo();
    const run = await runCli(fleet, ["rebalance", "commit", "n0-2"]);
    deepEqual([run.exitCode, run.out], [0, "plan n0-2 is carried out: 1 move\n"]);
    const unknown = await runCli(fleet, ["rebalance", "commit", "n0-9", "--json"]);
    deepEqual([unknown.exitCode, unknown.document.code], [1, "PLAN_UNKNOWN"]);
    for (const code of ["PLAN_OUTDATED", "CONFLICT"] as const) {
      fleet.leaderAnswers = [errorAnswer(code)];
      const refused = await runCli(fleet, ["rebalance", "commit", "n0-2", "--json"]);
      deepEqual([refused.exitCode, refused.document.code], [1, code]);
    }
  });

  test("commit is not repeated when it may have been heard, and is when it was not", async () => {
    const fleet = await fleetWithDemo();
    fleet.leaderAnswers = [new Fault("TIMEOUT", "unknown", "no answer in time")];
    const run = await runCli(fleet, ["rebalance", "commit", "n0-2", "--json"]);
    deepEqual([run.exitCode, run.document.code, fleet.asked.length], [3, "TIMEOUT", 1]);
    fleet.leaderAnswers = [new Fault("NO_RESPONDERS", "not-done", "nobody")];
    equal((await runCli(fleet, ["rebalance", "commit", "n0-2"])).exitCode, 0);
  });
});
