import { deepEqual, equal, match } from "node:assert/strict";
import { describe, test } from "node:test";
import { Fault } from "../../src/base/result.js";
import { errorAnswer } from "../../src/protocol/errors.js";
import { FakeFleet } from "./fake-fleet.js";
import { runCli } from "./run-cli.js";

const high = {
  ...{ lane: "high", app: null, weight: 8, workers: 2_048 },
  ...{ messages: 3, bytes: 400, oldestAtMs: 0, deadLetters: 1 },
};
const letter = (number: number) => ({
  ...{ number, diedAtMs: 0, app: "demo", uid: "al\u001bice", bytes: 20, sequence: 4 },
  ...{ storedAtMs: 0, code: "BAD_COMMAND", message: "body is missing", attempts: 1 },
});

function answering(...values: unknown[]): FakeFleet {
  const fleet = new FakeFleet();
  fleet.leaderAnswers = values.map((value) => ({ ok: true, value }));
  return fleet;
}

describe("lane", () => {
  test("lists the lanes, and shows one", async () => {
    const listed = await runCli(answering({ lanes: [high] }), ["lane", "ls"]);
    match(listed.out, /^high +all +8 +2048 +3 +400 +1970-01-01T00:00:00\.000Z +1$/m);
    const shown = await runCli(answering({ lanes: [high] }), ["lane", "show", "high", "--json"]);
    deepEqual([shown.exitCode, shown.document], [0, high]);
    const none = await runCli(answering({ lanes: [high] }), ["lane", "show", "low", "--json"]);
    deepEqual([none.exitCode, none.document.code], [1, "NOT_FOUND"]);
  });

  test("asks for what it is told to change", async () => {
    for (const [args, request] of [
      [["set", "low", "--workers", "0"], { kind: "lane-set", lane: "low", workers: 0 }],
      [
        ["set", "low", "--workers", "9", "--weight", "2"],
        { kind: "lane-set", lane: "low", workers: 9, weight: 2 },
      ],
      [["create", "vip", "--app", "shop"], { kind: "lane-create", lane: "vip", app: "shop" }],
      [["drop", "vip", "--discard"], { kind: "lane-drop", lane: "vip", discard: true }],
      [["replay", "high", "4", "7"], { kind: "lane-replay", lane: "high", numbers: [4, 7] }],
    ] as const) {
      const fleet = answering({ replayed: [4, 7], missing: [] });
      const run = await runCli(fleet, ["lane", ...args]);
      equal(run.exitCode, 0, run.err);
      deepEqual(fleet.asked, [request]);
    }
  });

  test("shows dead letters, and replays all that are there", async () => {
    const dead = { lane: "high", total: 150, letters: [letter(4)] };
    const { out } = await runCli(answering(dead), ["lane", "dead", "high", "--limit", "1"]);
    match(out, /^4 +demo +al\ufffdice +BAD_COMMAND +1 +1970\S+ +body is missing$/m);
    match(out, /1 of 150$/m);
    const letters = Array.from({ length: 150 }, (_, at) => letter(at + 1));
    const numbers = letters.map(({ number }) => number);
    const [first, second] = [numbers.slice(0, 100), numbers.slice(100)];
    const fleet = answering(
      { lane: "high", total: 150, letters },
      { replayed: first, missing: [] },
      { replayed: second.slice(1), missing: [101] },
    );
    const run = await runCli(fleet, ["lane", "replay", "high", "--all", "--json"]);
    equal(run.exitCode, 0);
    deepEqual(
      fleet.asked.map(({ kind }) => kind),
      ["lane-dead", "lane-replay", "lane-replay"],
    );
    deepEqual([run.document.replayed.length, run.document.missing], [149, [101]]);
    const none = await runCli(answering({ replayed: [], missing: [4] }), [
      ...["lane", "replay", "high", "4", "--json"],
    ]);
    deepEqual([none.exitCode, none.document.code], [1, "NOT_FOUND"]);
  });

  test("ends with 1 where it is refused, 2 where it is used wrongly, 3 where nobody answers", async () => {
    const fleet = new FakeFleet();
    fleet.leaderAnswers = [errorAnswer("BAD_COMMAND", "3 messages wait in it")];
    equal((await runCli(fleet, ["lane", "drop", "vip"])).exitCode, 1);
    for (const args of [
      ["set", "low"],
      ["set", "low", "--workers", "x"],
      ["set", "DEAD", "--workers", "1"],
      ["replay", "high"],
      ["replay", "high", "1", "--all"],
      ["create", "vip"],
    ]) {
      equal((await runCli(new FakeFleet(), ["lane", ...args])).exitCode, 2, args.join(" "));
    }
    const silent = new FakeFleet();
    silent.leaderAnswers = [new Fault("TIMEOUT", "unknown", "no answer in time")];
    silent.silent.add("dc1-a");
    equal((await runCli(silent, ["lane", "ls", "--timeout", "1"])).exitCode, 3);
  });
});
