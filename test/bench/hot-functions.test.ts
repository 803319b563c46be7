/** Reading a CPU profile: time is told by function, and by whose work it was. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type CpuProfile, hotFunctions, partShares } from "../../bench/harness/hot-functions.js";

function node(id: number, functionName: string, url: string, children: number[] = []) {
  return { id, callFrame: { functionName, url, lineNumber: 9 }, children };
}

// The session calls the codec for 2 ms, a connection for 1 ms; 5 ms are idle.
const profile: CpuProfile = {
  nodes: [
    node(1, "(root)", "", [2, 4, 6]),
    node(2, "receive", "file:///x/dist/actors/session.js", [3]),
    node(3, "pack", "file:///x/node_modules/msgpackr/pack.js"),
    node(4, "receive", "file:///x/dist/actors/connection.js", [5]),
    node(5, "pack", "file:///x/node_modules/msgpackr/pack.js"),
    node(6, "(idle)", ""),
  ],
  samples: [3, 3, 5, 2, 6],
  timeDeltas: [1_000, 1_000, 1_000, 1_000, 5_000],
};

test("counts shared code for whoever called it, and leaves idle time out", () => {
  assert.deepEqual(partShares(profile), [
    { name: "owner", percent: 75 },
    { name: "edge", percent: 25 },
  ]);
});

test("names the functions of one part, the hottest first", () => {
  assert.deepEqual(hotFunctions(profile, 10, "owner"), [
    { name: "pack msgpackr/pack.js:10", percent: 50 },
    { name: "receive actors/session.js:10", percent: 25 },
  ]);
});
