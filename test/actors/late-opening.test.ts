/**
 * Groups whose store takes longer to open than they have, on virtual time: what opens
 * late is closed again, whoever waited for it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { InboxGroup, InboxStore } from "../../src/ports/inbox-store.js";
import { MoveBench, unitOf } from "../support/move-bench.js";

const unit = unitOf("u0");
/** Past the group's own deadline to end. */
const abandonedMs = 11_000;

type Step = "open" | "raise";

/** A store whose groups get stuck in one step until they are let go on. */
class StuckStore implements InboxStore {
  /** The groups that are open. */
  open = 0;
  raised = 0;
  goOn: () => void = () => undefined;
  closes: () => Promise<void> = async () => undefined;
  fails: Error | undefined = undefined;
  private readonly stuck = new Promise<void>((resolve) => {
    this.goOn = resolve;
  });

  constructor(
    private readonly inner: MemoryInbox,
    private readonly step: Step,
  ) {}

  get groupCount(): number {
    return this.inner.groupCount;
  }

  groupOf(shard: Parameters<InboxStore["groupOf"]>[0]): number {
    return this.inner.groupOf(shard);
  }

  async openGroup(group: number): Promise<InboxGroup> {
    if (this.step === "open") await this.stuck;
    const opened = Object.create(await this.inner.openGroup(group)) as InboxGroup;
    this.open++;
    const { raise } = opened;
    opened.raise = async (requests) => {
      this.raised++;
      if (this.step === "raise") await this.stuck;
      if (this.fails !== undefined) throw this.fails;
      return raise.call(opened, requests);
    };
    opened.close = async () => {
      await this.closes();
      this.open--;
    };
    return opened;
  }
}

/** A node whose one group is stuck in `step`. */
async function startStuck(step: Step) {
  const bench = new MoveBench();
  const store = new StuckStore(bench.store, step);
  bench.storeFor = (nodeId) => (nodeId === "dc1-a" ? store : bench.store);
  const [a, b] = [bench.addNode("a", 1, 5), bench.addNode("b", 1, 5)];
  bench.give(unit, a);
  await bench.clock.advanceAndSettle(100);
  const group = () => a.system.find(`shards/${unit}`);
  assert.ok(group() !== undefined);
  /** The table takes it away; the node keeps its lease. */
  const abandon = async () => {
    bench.give(unit, b);
    await bench.clock.advanceAndSettle(abandonedMs);
    assert.equal(group(), undefined);
  };
  return { bench, store, a, abandon };
}

// Its `stopping` had been given up with it: the store stayed open in this process for good,
// which had said that it is over, and could not open it again.
test("a group that was abandoned while its store opened closes it when it is open", async () => {
  const { bench, store, abandon } = await startStuck("open");
  await abandon();
  store.goOn();
  await bench.clock.advanceAndSettle(100);
  assert.deepEqual([store.open, store.raised], [0, 0]);
  assert.deepEqual(bench.crashes, []);
});

// As above, one step later.
test("a group that was abandoned while it raised its fences closes its store", async () => {
  for (const fails of [undefined, new Error("stalled")]) {
    const { bench, store, abandon } = await startStuck("raise");
    store.fails = fails;
    await abandon();
    assert.equal(store.open, 1);
    store.goOn();
    await bench.clock.advanceAndSettle(100);
    assert.equal(store.open, 0);
    assert.deepEqual(bench.crashes, []);
  }
});

// Nobody heard of it: only the next opening failed, until the taker killed the process.
test("a node gives up when an abandoned group's store does not close", async () => {
  const { bench, store, abandon } = await startStuck("open");
  store.closes = () => Promise.reject(new Error("broken"));
  await abandon();
  store.goOn();
  await bench.clock.advanceAndSettle(100);
  assert.deepEqual(bench.crashes, [`group ${unit}: Error: broken`]);
});

// It raised its fences in a store that it had no right to any more: a process that was
// stopped while it opened takes this up before anything tells it that its lease is over.
test("a group whose lease ended while its store opened closes it and raises no fence", async () => {
  const { bench, store, a } = await startStuck("open");
  a.view.leaseDeadlineMs = 0;
  store.goOn();
  await bench.clock.advanceAndSettle(0);
  assert.deepEqual([store.open, store.raised], [0, 0]);
  assert.deepEqual(bench.crashes, []);
});
