/** What operators read from the delivery journal: one message's path, an app's reach. */
import { deepEqual, equal, match } from "node:assert/strict";
import { describe, test } from "node:test";
import { errorAnswer } from "../../src/protocol/errors.js";
import { fleetWithDemo, messagePath, reachCounts } from "./fake-fleet.js";
import { runCli } from "./run-cli.js";

describe("message", () => {
  test("prints the path as the node read it, and asks for ten minutes", async () => {
    const fleet = await fleetWithDemo();
    const { document, exitCode } = await runCli(fleet, ["message", messagePath.id, "--json"]);
    equal(exitCode, 0);
    deepEqual(document, JSON.parse(JSON.stringify(messagePath)));
    const bounds = { withinMs: 600_000, deadlineMs: 4_000 };
    deepEqual(fleet.asked, [{ kind: "message", id: messagePath.id, ...bounds }]);
  });

  test("shows each step with its time since the first, and where steps are missing", async () => {
    const { out } = await runCli(await fleetWithDemo(), ["message", messagePath.id]);
    match(out, /^user +alice of demo$/m);
    match(out, /^2026-01-01T00:00:00\.000Z +\+0 ms +stored +- +- +own +dc1-a +3$/m);
    match(out, /\+2 ms +written +phone\ufffd\[31m +dc1-b\.incb\/edge\/7 +own +dc1-b +3$/m);
    match(out, /\+60 ms +let-go +acked +- +own +dc1-a +3$/m);
    match(out, /gap: dc1-b lost 12 steps of these users before 2026-01-01T00:00:00\.005Z/);
  });

  test("asks the next node when one is silent, and stops at a refusal", async () => {
    const fleet = await fleetWithDemo();
    fleet.silent.add("dc1-a");
    equal((await runCli(fleet, ["message", messagePath.id])).exitCode, 0);
    equal(fleet.asked.length, 2);
    fleet.silent.add("dc1-b");
    equal((await runCli(fleet, ["message", messagePath.id])).exitCode, 3);
    const other = await fleetWithDemo();
    other.journalAnswers.message = errorAnswer("NOT_FOUND", "no step of it");
    const { exitCode, err } = await runCli(other, ["message", messagePath.id]);
    deepEqual([exitCode, err], [1, "belfry: NOT_FOUND: no step of it\n"]);
  });

  for (const [what, args] of [
    ["an id that is none", ["message", "hello"]],
    ["a span without a unit", ["message", messagePath.id, "--within", "10"]],
    ["a span longer than the journal", ["message", messagePath.id, "--within", "73h"]],
    ["no span at all", ["app", "reach", "demo", "--within", "0m"]],
  ] as const) {
    test(`refuses ${what} as wrong usage`, async () => {
      const fleet = await fleetWithDemo();
      equal((await runCli(fleet, args)).exitCode, 2);
      deepEqual(fleet.asked, []);
    });
  }

  test("looks through all that is kept where it is told so", async () => {
    const fleet = await fleetWithDemo();
    await runCli(fleet, ["message", messagePath.id, "--within", "all"]);
    equal(fleet.asked[0]?.kind === "message" && fleet.asked[0].withinMs, 72 * 3_600_000);
  });
});

describe("app reach", () => {
  test("prints counts and shares, and what is still open", async () => {
    const { document } = await runCli(await fleetWithDemo(), ["app", "reach", "demo", "--json"]);
    equal(document.open, 2);
    deepEqual(document.shares, { acked: 0.625, expired: 0.125, open: 0.25 });
    const { out } = await runCli(await fleetWithDemo(), ["app", "reach", "demo"]);
    match(out, /^acked +5 +62\.5 %$/m);
    match(out, /^open +2 +25\.0 %$/m);
    match(out, /at most once: 3, of which 2 found a device connected/);
    equal(out.includes("sample"), false);
  });

  test("says that it is a sample, and of what", async () => {
    const fleet = await fleetWithDemo();
    const some = { blocksRead: 5, blocks: 64, isCut: false };
    fleet.journalAnswers.reach = { ok: true, value: { ...reachCounts, sample: some } };
    const { out } = await runCli(fleet, ["app", "reach", "demo"]);
    match(out, /a sample: 5 of 64 blocks/);
  });

  test("has no shares where nothing was accepted", async () => {
    const fleet = await fleetWithDemo();
    const none = { ...reachCounts, accepted: 0, letGo: {}, passed: 0 };
    fleet.journalAnswers.reach = { ok: true, value: none };
    const { document } = await runCli(fleet, ["app", "reach", "demo", "--json"]);
    deepEqual(document.shares, { open: null });
  });

  test("is of an app that is registered", async () => {
    const { exitCode } = await runCli(await fleetWithDemo(), ["app", "reach", "other"]);
    equal(exitCode, 1);
  });
});
