import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { TimerWheel, WheelEntry } from "../../src/base/timer-wheel.js";

class Entry extends WheelEntry {
  constructor(
    readonly id: number,
    private readonly fired: (entry: Entry) => void,
  ) {
    super();
  }

  onDue(): void {
    this.fired(this);
  }
}

describe("a timer wheel", () => {
  it("fires what is due, in the order of ticks and then of scheduling, never early", () => {
    const quarters = (max: number) => fc.nat(max * 4).map((n) => n / 4);
    const delays = fc.oneof(quarters(100), quarters(10_000), quarters(50_000_000));
    const action = fc.oneof(
      fc.record({ type: fc.constant("schedule" as const), ms: delays }),
      fc.record({ type: fc.constant("advance" as const), ms: delays }),
      fc.record({ type: fc.constant("cancel" as const), ms: fc.nat(30) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const startMs = 123.5;
        const wheel = new TimerWheel(startMs);
        let nowMs = startMs;
        let fired: number[] = [];
        let model: { entry: Entry; dueMs: number }[] = [];
        let lastId = 0;
        for (const { type, ms } of actions) {
          if (type === "schedule") {
            const entry = new Entry(lastId++, ({ id }) => void fired.push(id));
            wheel.schedule(entry, nowMs + ms);
            const dueTick = Math.ceil(nowMs + ms - startMs);
            const nextTick = Math.floor(nowMs - startMs) + 1;
            model.push({ entry, dueMs: startMs + Math.max(dueTick, nextTick) });
          } else if (type === "cancel") {
            const [gone] = model.splice(ms, 1);
            if (gone !== undefined) assert.equal(wheel.cancel(gone.entry), true);
          } else {
            nowMs += ms;
            fired = [];
            wheel.advance(nowMs);
            const due = model.filter(({ dueMs }) => dueMs <= nowMs);
            due.sort((a, b) => a.dueMs - b.dueMs || a.entry.id - b.entry.id);
            assert.deepEqual(
              fired,
              due.map(({ entry }) => entry.id),
            );
            model = model.filter(({ dueMs }) => dueMs > nowMs);
          }
          assert.equal(wheel.size, model.length);
          const earliestMs = Math.min(...model.map(({ dueMs }) => dueMs));
          assert.ok((wheel.nextDueMs() ?? Infinity) <= earliestMs);
          assert.equal([...wheel.entries()].length, model.length);
        }
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  it("reaches an entry by waking at nextDueMs, a few times at most", () => {
    const wheel = new TimerWheel(0);
    let firedAtMs = 0;
    let nowMs = 0;
    wheel.schedule(
      new Entry(0, () => {
        firedAtMs = nowMs;
      }),
      86_400_123,
    );
    let wakes = 0;
    for (let due = wheel.nextDueMs(); due !== undefined; due = wheel.nextDueMs()) {
      nowMs = due;
      wheel.advance(nowMs);
      wakes++;
    }
    assert.equal(firedAtMs, 86_400_123);
    assert.ok(wakes <= 7, `${wakes} wakes`);
  });

  it("lets an entry cancel another that is due in the same tick, or set itself again", () => {
    const wheel = new TimerWheel(0);
    const fired: number[] = [];
    const second = new Entry(2, ({ id }) => void fired.push(id));
    const first: Entry = new Entry(1, ({ id }) => {
      fired.push(id);
      wheel.cancel(second);
      if (fired.length < 3) wheel.schedule(first, 0);
    });
    wheel.schedule(first, 5);
    wheel.schedule(second, 5);
    wheel.advance(5);
    assert.deepEqual(fired, [1]);
    wheel.advance(100);
    assert.deepEqual(fired, [1, 1, 1]);
    assert.equal(wheel.size, 0);
  });

  it("says whether there was something to cancel", () => {
    const wheel = new TimerWheel(0);
    const entry = new Entry(1, () => {});
    assert.equal(wheel.cancel(entry), false);
    wheel.schedule(entry, 5);
    assert.equal(entry.isScheduled, true);
    assert.throws(() => wheel.schedule(entry, 6), /once at a time/);
    assert.equal(wheel.cancel(entry), true);
    assert.equal(wheel.nextDueMs(), undefined);
  });
});
