/** The judges of the loss test: each fault is found, and what may be missing is not one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { accountOf, expectedInbox, faultsSoFar, finalFaults } from "./loss-judge.js";
import { LossLedger, type LossPush, type LossShown, LossUser, nameOf } from "./loss-ledger.js";

const publisher = "p";

function ok(number: number, more: Partial<LossPush> = {}): LossPush {
  const times = { sentMs: number, sentWallMs: 1_000 * number, endedWallMs: 1_000 * number + 100 };
  const outcome = { kind: "ok", id: `id-${number}`, seq: number } as const;
  return { publisher, number, isKeyed: true, ...times, outcome, ...more };
}

function shown(number: number, more: Partial<LossShown> = {}): LossShown {
  const wallMs = 1_000 * number + 50;
  return { publisher, number, id: `id-${number}`, seq: number, wallMs, ...more };
}

function userOf(pushes: readonly LossPush[], taken: readonly LossShown[]): LossUser {
  const user = new LossUser("alice");
  user.pushes.push(...pushes);
  user.devices.set("phone", [...taken]);
  return user;
}

const later = 1_000_000;

function allFaults(user: LossUser): string {
  return [...faultsSoFar(user), ...finalFaults(user, later)].join("; ");
}

test("finds nothing where all that was accepted was shown once and in order", () => {
  assert.equal(allFaults(userOf([ok(1), ok(2)], [shown(1), shown(2)])), "");
});

test("finds a push that was passed over as soon as a later one is shown", () => {
  const user = userOf([ok(1), ok(2), ok(3)], [shown(1), shown(3)]);
  assert.match(faultsSoFar(user).join(), /^SKIPPED: alice\/phone went past p#2/);
});

test("finds the last one that was never shown only at the end", () => {
  const user = userOf([ok(1), ok(2)], [shown(1)]);
  assert.deepEqual(faultsSoFar(user), []);
  assert.match(allFaults(user), /^LOST: p#2/);
});

test("lets a push go that one with its key came behind, not one before it or of another key", () => {
  const key = { collapse: "k" };
  assert.equal(allFaults(userOf([ok(1, key), ok(2, key)], [shown(2)])), "");
  assert.match(allFaults(userOf([ok(1, key), ok(2, key)], [shown(1)])), /LOST: p#2/);
  const other = userOf([ok(1, key), ok(2, { collapse: "other" })], [shown(2)]);
  assert.match(allFaults(other), /SKIPPED/);
});

test("lets a push go while what may replace it is not answered yet, and not afterwards", () => {
  const { outcome: _none, ...unanswered } = ok(3, { collapse: "k" });
  const pending: LossPush = unanswered;
  const user = userOf([ok(1, { collapse: "k" }), ok(2), pending], [shown(2)]);
  assert.deepEqual(faultsSoFar(user), []);
  pending.outcome = { kind: "unknown", why: "TIMEOUT" };
  assert.match(faultsSoFar(user).join(), /SKIPPED/);
});

test("lets an expired push go, and none that was good when a later one was shown", () => {
  const pushes = [ok(1, { ttlSeconds: 2 }), ok(2), ok(3)];
  assert.equal(allFaults(userOf(pushes, [shown(2, { wallMs: 3_001 }), shown(3)])), "");
  const early = userOf(pushes, [shown(2, { wallMs: 2_999 }), shown(3)]);
  assert.match(allFaults(early), /SKIPPED/);
});

test("lets a push go that was set aside for this device, and for no other", () => {
  const user = userOf([ok(1), ok(2), ok(3)], [shown(1), shown(3)]);
  user.setAside.set("phone", new Set(["id-2"]));
  assert.equal(allFaults(user), "");
  assert.equal(accountOf([user], later).setAside, 1);
  user.devices.set("tablet", [shown(1), shown(3)]);
  assert.match(allFaults(user), /SKIPPED: alice\/tablet went past p#2/);
});

test("lets as many of a lane go as were set aside, whatever their ids", () => {
  const user = userOf([ok(1), ok(2), ok(3)], [shown(1)]);
  user.way = "lane";
  user.setAside.set("phone", new Set(["06H03ZS6ZSFV2000"]));
  assert.match(finalFaults(user, later).join("; "), /^LOST: p#3[^;]*$/);
});

test("counts a push as missing until its time has passed for sure", () => {
  const user = userOf([ok(1, { ttlSeconds: 2 })], []);
  assert.match(finalFaults(user, 3_100).join(), /LOST/);
  assert.deepEqual(finalFaults(user, 3_101), []);
  assert.equal(expectedInbox(user, 3_100), 1);
  assert.equal(expectedInbox(user, 3_101), 0);
});

test("finds what was shown twice, out of order, never sent, refused or answered otherwise", () => {
  const twice = userOf([ok(1)], [shown(1), shown(1, { id: "id-9", seq: 9 })]);
  assert.match(allFaults(twice), /TWICE: alice\/phone showed p#1 as id-1 and as id-9/);
  assert.match(allFaults(userOf([ok(1), ok(2)], [shown(2), shown(1)])), /ORDER/);
  assert.match(allFaults(userOf([], [shown(1)])), /STRANGE.*nobody sent it/);
  const refused = ok(1, { isKeyed: false, outcome: { kind: "refused", why: "OVERLOADED" } });
  assert.match(allFaults(userOf([refused], [shown(1)])), /STRANGE.*refused: OVERLOADED/);
  assert.match(allFaults(userOf([ok(1)], [shown(1, { id: "id-7" })])), /STRANGE.*answered as id-1/);
});

test("finds a place that was given twice, and one publisher's pushes in another order", () => {
  const again = { outcome: { kind: "ok", id: "id-2", seq: 1 } as const };
  assert.match(allFaults(userOf([ok(1), ok(2, again)], [])), /GIVEN TWICE: p#2/);
  const first = { outcome: { kind: "ok", id: "id-1", seq: 5 } as const };
  assert.match(allFaults(userOf([ok(1, first), ok(2)], [])), /ORDER: p#2/);
});

test("holds keyed pushes to an answer, and lets others end unknown, shown or not", () => {
  const unknown = { outcome: { kind: "unknown", why: "TIMEOUT" } } as const;
  assert.match(allFaults(userOf([ok(1, unknown)], [])), /UNANSWERED/);
  assert.equal(allFaults(userOf([ok(1, { ...unknown, isKeyed: false })], [])), "");
  assert.equal(allFaults(userOf([ok(1, { ...unknown, isKeyed: false })], [shown(1)])), "");
  const { outcome: _none, ...pending } = ok(1);
  assert.match(allFaults(userOf([pending], [])), /never answered/);
});

test("accounts for each accepted push on each device", () => {
  const pushes = [ok(1, { collapse: "k" }), ok(2, { collapse: "k" }), ok(3, { ttlSeconds: 1 })];
  const user = userOf(pushes, [shown(2)]);
  user.devices.set("tablet", [shown(1), shown(2), shown(3)]);
  const { accepted, owed, shown: count, collapsed, expired, missing } = accountOf([user], later);
  assert.deepEqual([accepted, owed, count, collapsed, expired, missing], [3, 6, 4, 1, 1, 0]);
});

test("judges what came by a lane by its numbers, and not by seqs that nobody was told", () => {
  const faultsOf = (...numbers: readonly number[]) => {
    const ledger = new LossLedger();
    ledger.user("bob").way = "lane";
    ledger.addDevice("bob", "phone");
    for (const number of [1, 2, 3]) {
      const outcome = { kind: "ok", id: nameOf({ publisher, number }), seq: number } as const;
      ledger.notePush("bob", ok(number, { outcome }));
    }
    for (const [at, number] of numbers.entries()) {
      ledger.noteShown("bob", "phone", shown(number, { id: `01-${at}`, seq: 70 + at }));
    }
    return allFaults(ledger.user("bob"));
  };
  assert.equal(faultsOf(1, 2, 3), "");
  assert.match(faultsOf(1, 3), /SKIPPED/);
  assert.match(faultsOf(1, 2), /LOST: p#3/);
  assert.match(faultsOf(1, 2, 2, 3), /TWICE/);
  assert.match(faultsOf(2, 1, 3), /ORDER/);
});
