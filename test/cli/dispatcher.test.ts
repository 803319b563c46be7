/** `belfry dispatcher`: what it asks for, and what it shows of the answers. */
import { deepEqual, equal, match } from "node:assert/strict";
import { describe, test } from "node:test";
import { errorAnswer } from "../../src/protocol/errors.js";
import { FakeFleet } from "./fake-fleet.js";
import { runCli } from "./run-cli.js";

function answering(value: unknown): FakeFleet {
  const fleet = new FakeFleet();
  fleet.leaderAnswers = [{ ok: true, value }];
  return fleet;
}

const edge = (name: string, changes: object = {}) => ({
  ...{ nodeId: `dc1-${name}`, idc: "dc1", urls: [`ws://${name}/connect`], weight: 100 },
  ...{ drainPerSecond: null, isStopping: false, unwell: null, ...changes },
});

describe("dispatcher", () => {
  test("asks for what it is told to change", async () => {
    const wss = "wss://two/connect";
    const dispatcher = "https://two/edges";
    for (const [args, request] of [
      [["weigh", "dc1-a", "0"], { kind: "edge-weigh", node: "dc1-a", weight: 0 }],
      [["other", "dc2", "--edge", wss], { kind: "edges-other", idc: "dc2", edges: [wss] }],
      [
        ["other", "dc2", "--dispatcher", dispatcher],
        { kind: "edges-other", idc: "dc2", edges: [], dispatcher },
      ],
      [["forget", "dc2"], { kind: "edges-forget", idc: "dc2" }],
      [["away", "dc2"], { kind: "edges-away", idc: "dc2" }],
      [["back"], { kind: "edges-away" }],
    ] as const) {
      const fleet = answering({ changed: true });
      const run = await runCli(fleet, ["dispatcher", ...args]);
      equal(run.exitCode, 0, run.err);
      deepEqual(fleet.asked, [request]);
    }
  });

  test("refuses what makes no sense before it asks anybody", async () => {
    for (const args of [
      ["weigh", "dc1-a", "1001"],
      ["weigh", "DC1/a", "5"],
      ["away", "no idc"],
    ]) {
      const fleet = new FakeFleet();
      equal((await runCli(fleet, ["dispatcher", ...args])).exitCode, 2, args.join(" "));
      deepEqual(fleet.asked, []);
    }
  });

  test("ends with 1 and the node's word when it is refused", async () => {
    const fleet = new FakeFleet();
    fleet.leaderAnswers = [errorAnswer("NOT_FOUND", "nothing is known of a datacenter dc9")];
    const run = await runCli(fleet, ["dispatcher", "away", "dc9"]);
    deepEqual(
      [run.exitCode, run.err],
      [1, "belfry: NOT_FOUND: nothing is known of a datacenter dc9\n"],
    );
  });

  test("lists edges with their state, and what holds for all of them", async () => {
    const value = {
      ...{ idc: "dc1", letInPercent: 20, awayTo: "dc2", absentInDrain: ["dc1-gone"] },
      others: [{ idc: "dc2", dispatcher: "https://two/edges", edges: ["wss://two/c"] }],
      edges: [
        edge("a"),
        edge("b", { drainPerSecond: 500, weight: 50 }),
        edge("c", { isStopping: true }),
        edge("d", { unwell: "lags" }),
      ],
    };
    const { out } = await runCli(answering(value), ["dispatcher", "ls"]);
    match(out, /^dc1-a +open +100 +ws:\/\/a\/connect$/m);
    match(out, /^dc1-b +in drain, 500\/s +50 /m);
    match(out, /^dc1-c +stopping /m);
    match(out, /^dc1-d +unwell: lags /m);
    match(out, /^20 of 100 are let in$/m);
    match(out, /^clients are sent to dc2$/m);
    match(out, /^in drain and not there: dc1-gone$/m);
    match(out, /^dc2: wss:\/\/two\/c; dispatcher https:\/\/two\/edges$/m);
  });

  test("shows what a client is told", async () => {
    const fleet = answering({ edges: [{ url: "ws://a/c", idc: "dc1" }] });
    const { out } = await runCli(fleet, ["dispatcher", "told", "demo:alice", "--attempt", "4"]);
    match(out, /^ws:\/\/a\/c +dc1$/m);
    deepEqual(fleet.asked, [{ kind: "edges-told", key: "demo:alice", attempt: 4 }]);
    const none = await runCli(answering({ edges: [] }), ["dispatcher", "told", "k"]);
    equal(none.out, "no edge takes clients\n");
  });
});
