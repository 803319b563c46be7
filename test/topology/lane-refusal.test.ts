/** What becomes of a refused push of a lane, and how wide its partition is meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ErrorCode, errorAnswer, errorTable } from "../../src/protocol/errors.js";
import { afterRefusal, type LaneRetryRules } from "../../topology/lane-refusal.js";
import { isWindowCrowded, nextWindow } from "../../topology/lane-window.js";

const rules: LaneRetryRules = {
  retryMs: 100,
  retryMsMax: 10_000,
  holdMs: { INBOX_FULL: 120_000, UNKNOWN_APP: 60_000 },
  holdMsMax: 1_000_000,
};
const fresh = {
  attempts: 1,
  waitedMs: 0,
  sameCodeMs: 0,
  isCrowded: false,
  isOwnLane: false,
};

function after(code: ErrorCode, changes: Partial<typeof fresh> = {}, chance = 0) {
  return afterRefusal({ refusal: errorAnswer(code), ...fresh, ...changes }, rules, chance);
}

test("what is refused for good is given up at once, but for an app whose record may come", () => {
  for (const [code, { retryable }] of Object.entries(errorTable)) {
    const isTriedAgain = after(code as ErrorCode).kind === "retry";
    assert.equal(isTriedAgain, retryable || code === "UNKNOWN_APP", code);
  }
  assert.equal(after("UNKNOWN_APP", { sameCodeMs: 59_999 }).kind, "retry");
  assert.equal(after("UNKNOWN_APP", { sameCodeMs: 60_000 }).kind, "bury");
});

test("pauses double up to their bound, and are never shorter than a refusal asks for", () => {
  const delayOf = (attempts: number, chance = 0, retryAfterMs?: number) => {
    const refusal = errorAnswer("RATE_LIMITED", undefined, retryAfterMs);
    const next = afterRefusal({ ...fresh, refusal, attempts }, rules, chance);
    return next.kind === "retry" ? next.delayMs : undefined;
  };
  assert.deepEqual(
    [1, 2, 3, 8, 5_000].map((attempts) => delayOf(attempts)),
    [50, 100, 200, 5_000, 5_000],
  );
  assert.equal(delayOf(8, 0.5), 7_500);
  assert.deepEqual([delayOf(1, 0, 30_000), delayOf(8, 0, 20)], [30_000, 5_000]);
});

test("it is given up after its code's time, or after the longest, whatever the codes", () => {
  assert.equal(after("INBOX_FULL", { waitedMs: 900_000, sameCodeMs: 119_999 }).kind, "retry");
  assert.equal(after("INBOX_FULL", { sameCodeMs: 120_000 }).kind, "bury");
  assert.equal(after("STORE_UNAVAILABLE", { sameCodeMs: 999_999 }).kind, "retry");
  assert.equal(after("INBOX_FULL", { waitedMs: 1_000_000 }).kind, "bury");
});

test("a refusal of one's own sets apart, and in a crowd is the last; the platform's is neither", () => {
  const ofTheUser = ["INBOX_FULL", "KEYS_FULL", "USER_UNREADABLE"];
  const apart = [...ofTheUser, "QUOTA_EXCEEDED", "RATE_LIMITED", "UNKNOWN_APP"];
  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    const next = after(code);
    if (next.kind === "retry") assert.equal(next.isApart, apart.includes(code), code);
    if (next.kind === "bury") continue;
    assert.equal(after(code, { isCrowded: true }).kind === "bury", apart.includes(code), code);
  }
  const inOwnLane = (code: ErrorCode) => after(code, { isCrowded: true, isOwnLane: true }).kind;
  assert.deepEqual([inOwnLane("RATE_LIMITED"), inOwnLane("INBOX_FULL")], ["retry", "bury"]);
});

test("a window leaves room beside what is set apart, up to its bound, and comes back", () => {
  const window = { min: 64, max: 2_048 };
  const followed: number[] = [];
  let current = 64;
  for (const apart of [10, 40, 250, 1_000, 1_990, 2_040, 900, 60, 1, 0]) {
    current = nextWindow(current, apart, window);
    followed.push(current);
  }
  assert.deepEqual(followed, [64, 256, 1_024, 2_048, 2_048, 2_048, 2_048, 256, 256, 64]);
  assert.deepEqual([isWindowCrowded(1_536, window), isWindowCrowded(1_537, window)], [false, true]);
});
