/** The chaos tests' judges: each fault in a history is found, and nothing else is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { faultsOf, type Push, RecordedHistory, type Shown } from "./recorded-history.js";

const publisher = "p";

function sent(number: number, more: Partial<Push> = {}): Push {
  const push = { publisher, uid: "alice", number, sentMs: number } as const;
  return { ...push, kind: "request", endedMs: number, outcome: "ok", id: `id-${number}`, ...more };
}

function seen(number: number, more: Partial<Shown> = {}): Shown {
  return { publisher, number, id: `id-${number}`, atMs: number, ...more };
}

function historyOf(pushes: readonly Push[], shown: readonly Shown[]): RecordedHistory {
  const history = new RecordedHistory();
  for (const push of pushes) history.notePush(push);
  history.addDevice("alice", "phone");
  for (const each of shown) history.noteShown("alice", "phone", each);
  return history;
}

const unanswered: Push = {
  publisher,
  uid: "alice",
  number: 2,
  kind: "request",
  sentMs: 2,
  outcome: "unknown",
};
const { outcome: _outcome, ...running } = unanswered;

test("finds nothing wrong with what was shown once and in order", () => {
  const plain: Push = { publisher: "q", uid: "alice", number: 1, kind: "plain", sentMs: 0 };
  const pushes = [sent(1), unanswered, sent(3), plain];
  const shown = [seen(1), seen(3), seen(3), seen(2, { id: "late" })];
  assert.deepEqual(faultsOf(historyOf(pushes, shown)), [], "a repeat of one MsgID is no second");
});

const faulty: readonly (readonly [string, readonly Push[], readonly Shown[], RegExp])[] = [
  ["a request without an end", [running], [], /p#2 to alice was never answered/],
  ["a refusal", [sent(1, { outcome: "refused", why: "BAD" })], [], /refused: BAD/],
  ["a lost push", [sent(1), sent(2)], [seen(2)], /p#1 .* never showed it/],
  ["a double", [sent(1)], [seen(1), seen(1, { id: "x" })], /p#1 twice, as id-1 and as x/],
  ["a double of an unknown fate", [unanswered], [seen(2), seen(2, { id: "x" })], /p#2 twice/],
  ["a push of nobody", [sent(1)], [seen(1), seen(9)], /p#9 .* nobody sent/],
  ["another MsgID than answered", [sent(1)], [seen(1, { id: "x" })], /p#1 as x, .* id-1/],
  ["another order", [sent(1), sent(2)], [seen(2), seen(1)], /p#1 after #2/],
];

for (const [what, pushes, shown, fault] of faulty) {
  test(`finds ${what}`, () => assert.match(faultsOf(historyOf(pushes, shown)).join(), fault));
}

test("finds a push that another device of the user never showed", () => {
  const history = historyOf([sent(1)], [seen(1)]);
  history.addDevice("alice", "tablet");
  assert.match(faultsOf(history).join(), /tablet never showed it/);
});
