/** The leader on virtual time, with a view that the test writes as membership would. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { Placement } from "../../actors/placement.js";
import { PlacementView } from "../../actors/placement-view.js";
import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import { MemoryKeyValue } from "../../src/drivers/memory-key-value.js";
import type { Shard } from "../../src/protocol/shards.js";
import { ActorSystem } from "../../src/runtime/system.js";
import {
  encodeNodeRecord,
  type NodeRecord,
  nodeKey,
  nodeRecordVersion,
} from "../../topology/node-record.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { VirtualClock } from "../support/virtual-clock.js";

const own = { nodeId: "dc1-a", incarnation: "i" };
const other = { nodeId: "dc1-b", incarnation: "i" };

function recordOf(member: typeof own): NodeRecord {
  const process = { pid: 1, processStart: "", version: "test", edgeUrl: "" };
  const times = { leaseMs: defaultLimits.leaseMs, startedAtMs: 0 };
  return { v: nodeRecordVersion, ...member, idc: "dc1", ...process, ...times };
}

async function start() {
  const clock = new VirtualClock();
  const keyValue = new MemoryKeyValue(clock);
  const view = new PlacementView();
  view.isLoaded = true;
  view.leaseDeadlineMs = Number.POSITIVE_INFINITY;
  view.nodes.set(own.nodeId, recordOf(own));
  const bus = new MemoryBus(clock);
  const random = { next: () => 0.5 };
  const system = new ActorSystem({
    ...own,
    clock,
    random,
    bus,
    onCrash: ({ error }) => assert.fail(error),
  });
  const store = new MemoryInbox(8);
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  const processes = { own: { pid: 1, processStart: "" }, isGone: async () => false };
  const parts = { ...own, clock, random, bus, store, view, log, processes };
  // Nobody reports a load here: numbers are evened out without waiting for it.
  const limits = { ...defaultLimits, loadGraceMs: 0 };
  const context = { ...parts, placement: keyValue, limits };
  system.spawnRoot("placement", () => new Placement(context as unknown as NodeContext));
  /** The other node writes its record, and the watch tells of it. */
  const claim = async () => {
    const made = await keyValue.create(nodeKey(other.nodeId), encodeNodeRecord(recordOf(other)));
    assert.ok(made.ok);
    view.nodes.set(other.nodeId, recordOf(other));
    const sighting = { revision: made.value, sinceMs: clock.monotonicMs() };
    view.sightings.set(nodeKey(other.nodeId), sighting);
  };
  const unitsOfOther = async () => {
    const entry = await keyValue.get("table");
    const table = entry && PlacementTable.decode(entry.value);
    if (!table?.ok) return 0;
    const firsts = Array.from({ length: 8 }, (_, unit) => unit as Shard);
    return firsts.filter((shard) => table.value.isOwnedBy(shard, other)).length;
  };
  return { clock, keyValue, claim, unitsOfOther };
}

// Its name stayed on the list of those given up, and it got nothing for as long as this one led.
test("a node that was given up and claims its record again gets shards again", async () => {
  const { clock, keyValue, claim, unitsOfOther } = await start();
  await claim();
  await clock.advanceAndSettle(2_000);
  assert.equal(await unitsOfOther(), 4);
  await clock.advanceAndSettle(5_000);
  assert.equal(await keyValue.get(nodeKey(other.nodeId)), undefined, "it was given up");
  assert.equal(await unitsOfOther(), 0);
  await claim();
  await clock.advanceAndSettle(1_000);
  assert.ok((await unitsOfOther()) > 0, "it is a member again");
});
