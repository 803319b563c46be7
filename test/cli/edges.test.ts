/** `belfry edges`: what it shows, and what it asks to be changed. */
import { deepEqual, equal, match } from "node:assert/strict";
import { describe, test } from "node:test";
import { fleetWithDemo } from "./fake-fleet.js";
import { runCli } from "./run-cli.js";

describe("belfry edges", () => {
  test("shows whom each edge refused and closed, by reason", async () => {
    const fleet = await fleetWithDemo();
    const { document } = await runCli(fleet, ["edges", "--json"]);
    const [edge] = (document as { edges: Record<string, unknown>[] }).edges;
    deepEqual(edge?.["refused"], { full: 0, letIn: 4, origin: 1 });
    deepEqual(edge?.["closed"], { HEARTBEAT_LOST: 2 });
    deepEqual([edge?.["furtherSessions"], edge?.["passingDropped"]], [2, 7]);
    deepEqual([edge?.["connections"], edge?.["connectionsMax"]], [5, 18_000]);
    const { out } = await runCli(await fleetWithDemo(), ["edges"]);
    match(out, /20 % +3 ms +7 +4 letIn, 1 origin +2 HEARTBEAT_LOST/);
  });

  test("ends with 3 when no edge answers, and shows which are silent", async () => {
    const fleet = await fleetWithDemo();
    for (const { nodeId } of fleet.nodes) fleet.silent.add(nodeId);
    const { exitCode, out } = await runCli(fleet, ["edges"]);
    equal(exitCode, 3);
    match(out, /silent/);
  });

  for (const [word, percent] of [
    ["0", 0],
    ["12.5", 12.5],
    ["100", 100],
  ] as const) {
    test(`lets in ${word} %`, async () => {
      const fleet = await fleetWithDemo();
      equal((await runCli(fleet, ["edges", "let-in", word])).exitCode, 0);
      deepEqual(fleet.asked.at(-1), { kind: "let-in", percent });
    });
  }

  for (const word of ["-1", "101", "half", "", "NaN"]) {
    test(`does not let in "${word}" %`, async () => {
      const fleet = await fleetWithDemo();
      equal((await runCli(fleet, ["edges", "let-in", "--", word])).exitCode, 2);
      deepEqual(fleet.asked, []);
    });
  }
});
