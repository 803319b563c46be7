/** What an operator may ask of a node's drain, and what of it changes nothing. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decideDrain, decideEdgeDrain } from "../../topology/drain.js";
import { plainPolicy } from "../../topology/edge-policy.js";
import { drainingMax, PlacementTable } from "../../topology/placement-table.js";

const [a, b] = ["dc1-a", "dc1-b"].map((nodeId) => ({ nodeId, incarnation: "i" }));
const members = [a, b].flatMap((member) => member ?? []);
const empty = PlacementTable.empty();

function codeOf(decided: ReturnType<typeof decideDrain>): string {
  return decided.ok ? "ok" : decided.code;
}

describe("decideDrain", () => {
  test("puts a node into drain and takes it out", () => {
    const into = decideDrain(empty, members, "dc1-a", true);
    assert.ok(into.ok);
    assert.deepEqual(into.value.draining, ["dc1-a"]);
    const out = decideDrain(into.value, members, "dc1-a", false);
    assert.ok(out.ok);
    assert.deepEqual(out.value.draining, []);
  });

  test("gives the very same table back when there is nothing to change", () => {
    const into = empty.withDrain("dc1-a", true);
    for (const [table, isDraining] of [
      [into, true],
      [empty, false],
    ] as const) {
      const decided = decideDrain(table, members, "dc1-a", isDraining);
      assert.equal(decided.ok && decided.value, table);
    }
  });

  test("refuses a node that nobody knows, either way", () => {
    for (const isDraining of [true, false]) {
      assert.equal(codeOf(decideDrain(empty, members, "dc1-q", isDraining)), "NOT_FOUND");
    }
  });

  test("refuses the last node that is not in drain, dead ones not counted", () => {
    assert.equal(codeOf(decideDrain(empty, members.slice(0, 1), "dc1-a", true)), "LAST_NODE");
    const one = empty.withDrain("dc1-a", true);
    assert.equal(codeOf(decideDrain(one, members, "dc1-b", true)), "LAST_NODE");
  });

  test("takes a node out of drain that is gone for good", () => {
    const table = empty.withDrain("dc1-gone", true);
    const out = decideDrain(table, members, "dc1-gone", false);
    assert.deepEqual(out.ok && out.value.draining, []);
  });

  test("keeps the list bounded", () => {
    const full = Array.from({ length: drainingMax }, (_, index) => `dc1-x${index}`).reduce(
      (table, nodeId) => table.withDrain(nodeId, true),
      empty,
    );
    assert.equal(codeOf(decideDrain(full, members, "dc1-a", true)), "BAD_COMMAND");
  });
});

describe("decideEdgeDrain", () => {
  const [isA, isB] = [{ nodeId: "dc1-a" }, { nodeId: "dc1-b" }];

  function into(nodeId: string) {
    const decided = decideEdgeDrain(plainPolicy, [isA, isB], nodeId, 500);
    assert.ok(decided.ok);
    return decided.value;
  }

  test("puts an edge into drain, changes its rate, and takes it out", () => {
    const policy = into("dc1-a");
    assert.deepEqual([...policy.draining], [["dc1-a", 500]]);
    const faster = decideEdgeDrain(policy, [isA, isB], "dc1-a", 900);
    assert.deepEqual(faster.ok && [...faster.value.draining], [["dc1-a", 900]]);
    const out = decideEdgeDrain(policy, [isA, isB], "dc1-a", undefined);
    assert.deepEqual(out.ok && [...out.value.draining], []);
  });

  test("gives the very same policy back when there is nothing to change", () => {
    const policy = into("dc1-a");
    const again = decideEdgeDrain(policy, [isA, isB], "dc1-a", 500);
    assert.equal(again.ok && again.value, policy);
    const out = decideEdgeDrain(plainPolicy, [isA, isB], "dc1-a", undefined);
    assert.equal(out.ok && out.value, plainPolicy);
  });

  test("refuses the last edge that takes clients: those in drain and stopping do not", () => {
    const code = (policy = plainPolicy, members: Parameters<typeof decideEdgeDrain>[1]) => {
      const decided = decideEdgeDrain(policy, members, "dc1-b", 500);
      return decided.ok ? "ok" : decided.code;
    };
    assert.equal(code(plainPolicy, [isA, isB]), "ok");
    assert.equal(code(plainPolicy, [isB]), "LAST_NODE");
    assert.equal(code(into("dc1-a"), [isA, isB]), "LAST_NODE");
    assert.equal(code(plainPolicy, [{ ...isA, isEdgeClosed: true }, isB]), "LAST_NODE");
  });

  test("refuses an edge that nobody knows, and takes one out that is gone for good", () => {
    const decided = decideEdgeDrain(plainPolicy, [isA], "dc1-q", undefined);
    assert.equal(!decided.ok && decided.code, "NOT_FOUND");
    const out = decideEdgeDrain(into("dc1-a"), [isB], "dc1-a", undefined);
    assert.deepEqual(out.ok && [...out.value.draining], []);
  });
});
