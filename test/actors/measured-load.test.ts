/** How load is measured on a node, and what the leader makes of the reports. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LoadMeter, loadWindowMs } from "../../actors/load-meter.js";
import { MeasuredLoad } from "../../actors/measured-load.js";
import type { GroupLoad } from "../../src/protocol/messages.js";
import type { Shard } from "../../src/protocol/shards.js";
import { type Member, PlacementTable } from "../../topology/placement-table.js";

const members = [
  { nodeId: "dc1-a", incarnation: "i" },
  { nodeId: "dc1-b", incarnation: "i" },
] as const;
const [a, b] = members;

/** Samples once a second; `handled` says how many messages there were by then. */
function measure(seconds: number, handled: (second: number) => number): GroupLoad {
  const meter = new LoadMeter();
  let last: GroupLoad | undefined;
  for (let second = 0; second <= seconds; second++) {
    [last] = meter.sample(
      new Map([[3, { handled: handled(second), sessions: 7 }]]),
      second * 1_000,
    );
  }
  assert.ok(last !== undefined);
  return last;
}

describe("LoadMeter", () => {
  test("tells a steady load from the second sample on", () => {
    assert.deepEqual(
      measure(0, () => 0),
      { group: 3, perSecond: 0, sessions: 7, ageMs: 0 },
    );
    assert.equal(measure(1, (second) => second * 40).perSecond, 40);
    assert.ok(Math.abs(measure(60, (second) => second * 40).perSecond - 40) < 1e-9);
  });

  test("does not take a burst of a second for a load, and forgets it within some windows", () => {
    const burst = (second: number) => (second >= 30 ? 1_000 : 0);
    assert.ok(measure(30, burst).perSecond < 100);
    assert.ok(measure(30, burst).perSecond > 50);
    assert.ok(measure(30 + (5 * loadWindowMs) / 1_000, burst).perSecond < 1);
  });

  test("begins anew with a group that crashed or went away", () => {
    const crashed = measure(31, (second) => (second < 30 ? second * 100 : (second - 30) * 10));
    assert.deepEqual([crashed.perSecond, crashed.ageMs], [10, 1_000]);
    const meter = new LoadMeter();
    const one = new Map([[3, { handled: 5, sessions: 0 }]]);
    meter.sample(one, 0);
    meter.sample(new Map(), 1_000);
    assert.equal(meter.sample(one, 2_000)[0]?.ageMs, 0);
  });
});

describe("MeasuredLoad", () => {
  const report = (member: Member, ...groups: Partial<GroupLoad>[]) => ({
    kind: "LoadReported" as const,
    ...member,
    groups: groups.map((group) => ({
      group: 0,
      perSecond: 0,
      sessions: 0,
      ageMs: loadWindowMs,
      ...group,
    })),
  });

  test("keeps what was known of a unit until its new owner has measured it long enough", () => {
    const load = new MeasuredLoad(8);
    load.take(report(a, { group: 2, perSecond: 900 }), 0);
    load.take(report(b, { group: 2, perSecond: 3, ageMs: 1_000 }), 1_000);
    assert.equal(load.of(2)?.perSecond, 900);
    assert.equal(load.of(2)?.nodeId, "dc1-b");
    load.take(report(b, { group: 2, perSecond: 700 }), 12_000);
    assert.equal(load.of(2)?.perSecond, 700);
  });

  test("is complete when every unit that is served was reported by its owner, whoever lives", () => {
    const shards = (unit: number) => [unit, unit + 8] as Shard[];
    const table = PlacementTable.empty().withOwner(shards(0), a).withOwner(shards(1), b);
    const load = new MeasuredLoad(8);
    const both = [a, b];
    assert.equal(load.isComplete(PlacementTable.empty(), both), true);
    assert.equal(load.isComplete(table, both), false);
    load.take(report(a, {}), 0);
    assert.equal(load.isComplete(table, both), false);
    assert.equal(load.isComplete(table, [a]), true, "b is gone");
    load.take(report(b, { group: 1 }), 0);
    assert.equal(load.isComplete(table, both), true);
    const moved = table.withOwner(shards(1), a);
    assert.equal(load.isComplete(moved, both), false, "its new owner has not reported it");
    load.take(report(a, { group: 1 }), 0);
    assert.equal(load.isComplete(moved, both), true);
    const again = { ...a, incarnation: "next" };
    assert.equal(load.isComplete(table.withOwner(shards(0), again), [again, b]), false);
  });

  test("forgets a unit that nobody reports, and takes no figure that is none", () => {
    const load = new MeasuredLoad(8);
    load.take(report(a, { group: 1, perSecond: 5 }), 0);
    load.take(report(a, { group: 8 }, { group: -1 }, { group: 0.5 }), 0);
    load.take(report(a, { group: 2, perSecond: Number.NaN }), 0);
    load.take(report(a, { group: 3, perSecond: -1 }), 0);
    assert.deepEqual([...load.loads(1_000)], [[1, 5]]);
    assert.deepEqual([...load.loads(120_000)], []);
  });
});
