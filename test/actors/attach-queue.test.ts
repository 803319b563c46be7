/** How an edge paces its connections' attaches, on virtual time. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AttachQueue } from "../../actors/attach-queue.js";
import { defaultLimits } from "../../actors/limits.js";
import { type ConnectionId, connectionId, slotOf } from "../../src/ports/edge-transport.js";
import type { Bus } from "../../src/runtime/ports.js";
import { SeededRandom } from "../sim/seeded-random.js";
import { VirtualClock } from "../support/virtual-clock.js";

const { attachesAtOnce, attachesPerTick } = defaultLimits;
const { attachRetryMs, attachRetryMsMax, connectionsMax } = defaultLimits;

class Bench {
  readonly clock = new VirtualClock();
  readonly sent: { readonly connection: ConnectionId; readonly atMs: number }[] = [];
  readonly bus = { isConnected: true };
  readonly tenants = new Map<number, ConnectionId>();
  isDeaf = false;
  readonly queue: AttachQueue;

  constructor(slots = connectionsMax) {
    const node = {
      clock: this.clock,
      random: new SeededRandom(1),
      bus: this.bus as unknown as Bus,
      limits: defaultLimits,
    };
    this.queue = new AttachQueue({
      node,
      slots,
      connectionAt: (slot) => this.tenants.get(slot),
      send: (connection) => {
        if (this.isDeaf) return false;
        this.sent.push({ connection, atMs: this.clock.monotonicMs() });
        return true;
      },
      startTick: (delayMs) => void this.clock.after(delayMs, () => this.queue.tick()),
    });
  }

  open(slot: number, generation = 1): ConnectionId {
    const connection = connectionId(slot, generation);
    this.tenants.set(slot, connection);
    return connection;
  }

  openAll(count: number): ConnectionId[] {
    return Array.from({ length: count }, (_, slot) => this.open(slot));
  }

  get sentTo(): ConnectionId[] {
    return this.sent.map(({ connection }) => connection);
  }
}

describe("an edge's attaches", () => {
  test("go a few at once, and then at the stated pace, in order, once each", () => {
    const bench = new Bench();
    const connections = bench.openAll(connectionsMax);
    for (const connection of connections) bench.queue.push(connection);
    for (const connection of connections) bench.queue.push(connection);
    assert.equal(bench.sent.length, attachesAtOnce);
    bench.clock.advance(2_000);
    // Those that went at once were due once more.
    const wanted = [...connections, ...connections.slice(0, attachesAtOnce)];
    assert.deepEqual(bench.sentTo, wanted);
    const startMs = bench.sent[0]?.atMs ?? 0;
    const tookMs = (bench.sent.at(-1)?.atMs ?? 0) - startMs;
    assert.equal(tookMs, 10 * Math.ceil((wanted.length - attachesAtOnce) / attachesPerTick));
    for (let atMs = 10; atMs <= tookMs; atMs += 10) {
      const inTick = bench.sent.filter((one) => one.atMs === startMs + atMs);
      assert.equal(inTick.length, attachesPerTick);
    }
    assert.equal(bench.queue.queued, 0);
    assert.equal(bench.clock.pendingTimers, 0, "an edge at rest has no timer");
  });

  test("that come one by one and fast leave together; after a pause nobody waits", () => {
    const bench = new Bench();
    const connections = bench.openAll(51);
    for (const connection of connections.slice(0, 50)) {
      bench.queue.push(connection);
      bench.clock.advance(0.5);
    }
    bench.clock.advance(10);
    assert.deepEqual(bench.sentTo, connections.slice(0, 50));
    // Each tick's first ones at once, what came behind them as one.
    const instants = new Set(bench.sent.map(({ atMs }) => atMs));
    assert.ok(instants.size <= 3 * (attachesAtOnce + 1), `${instants.size} instants`);
    bench.clock.advance(100);
    const last = connections[50] as ConnectionId;
    bench.queue.push(last);
    assert.equal(bench.sentTo.at(-1), last);
  });

  test("come later and later while nobody answers, apart from one another, up to a bound", () => {
    const bench = new Bench();
    const connections = bench.openAll(100);
    for (const connection of connections) {
      bench.queue.push(connection);
      bench.queue.retry(connection, true);
    }
    let seen = bench.sent.length;
    for (let round = 0; round < 600; round++) {
      bench.clock.advance(100);
      for (const { connection } of bench.sent.slice(seen)) bench.queue.retry(connection, true);
      seen = bench.sent.length;
    }
    const times = bench.sent
      .filter(({ connection }) => connection === connections[0])
      .map(({ atMs }) => atMs);
    const gaps = times.slice(1).map((atMs, at) => atMs - (times[at] ?? 0));
    assert.ok((gaps[0] ?? 0) <= attachRetryMs + 200, `first after ${gaps[0]}`);
    assert.ok(Math.min(...gaps.slice(5)) >= attachRetryMsMax / 2);
    assert.ok(Math.max(...gaps) <= attachRetryMsMax + 200);
    const instants = new Set(bench.sent.slice(100, 200).map(({ atMs }) => atMs));
    assert.ok(instants.size >= 3, `${instants.size} instants`);
  });

  test("are tried again until they are answered, and begin anew when an owner asks", () => {
    const bench = new Bench();
    const connection = bench.open(7);
    bench.queue.push(connection);
    bench.queue.retry(connection, true);
    assert.equal(bench.queue.unanswered, 1);
    bench.queue.settle(connection);
    assert.equal(bench.queue.unanswered, 0);
    bench.clock.advance(60_000);
    assert.equal(bench.sent.length, 1);
    bench.queue.push(connection);
    assert.equal(bench.sent.length, 2);
  });

  test("wait while the bus is gone, cost one timer for all, and go at their pace when it is back", () => {
    const bench = new Bench();
    bench.bus.isConnected = false;
    const connections = bench.openAll(1_000);
    for (const connection of connections) bench.queue.push(connection);
    bench.clock.advance(30_000);
    assert.equal(bench.sent.length, 0);
    assert.equal(bench.clock.pendingTimers, 1);
    bench.bus.isConnected = true;
    bench.clock.advance(200);
    assert.deepEqual(bench.sentTo, connections);
    assert.ok(new Set(bench.sent.map(({ atMs }) => atMs)).size >= 1_000 / attachesPerTick);
  });

  test("do not come later for an owner that is not known", () => {
    const bench = new Bench();
    const connection = bench.open(0);
    bench.queue.push(connection);
    for (let round = 0; round < 20; round++) {
      const before = bench.sent.length;
      bench.queue.retry(connection, false);
      bench.clock.advance(attachRetryMs + 200);
      assert.equal(bench.sent.length, before + 1);
    }
  });

  test("are for nobody else when a slot has a new tenant, and forgotten with the old one", () => {
    const bench = new Bench();
    bench.bus.isConnected = false;
    const first = bench.open(3);
    bench.queue.push(first);
    bench.queue.forget(first);
    const second = bench.open(3, 2);
    bench.queue.push(second);
    bench.bus.isConnected = true;
    bench.clock.advance(200);
    assert.deepEqual(bench.sentTo, [second]);
    bench.queue.retry(second, true);
    bench.tenants.delete(slotOf(second));
    bench.queue.forget(second);
    bench.clock.advance(60_000);
    assert.deepEqual(bench.sentTo, [second]);
    assert.equal(bench.clock.pendingTimers, 0);
  });

  test("keep nobody out whose slot was asked for in the name of one that had gone", () => {
    const bench = new Bench();
    const first = bench.open(3);
    bench.tenants.delete(3);
    bench.queue.forget(first);
    // Its actor has not heard yet that its socket is gone.
    bench.queue.push(first);
    bench.clock.advance(200);
    const second = bench.open(3, 2);
    bench.queue.push(second);
    bench.queue.retry(second, true);
    bench.queue.settle(first);
    bench.queue.retry(first, true);
    assert.equal(bench.queue.unanswered, 1);
    bench.clock.advance(attachRetryMs + 200);
    assert.deepEqual(bench.sentTo, [second, second]);
  });

  test("come again where a connection could not take its turn", () => {
    const bench = new Bench();
    const connection = bench.open(0);
    bench.isDeaf = true;
    bench.queue.push(connection);
    bench.isDeaf = false;
    bench.clock.advance(attachRetryMs + 200);
    assert.deepEqual(bench.sentTo, [connection]);
  });
});
