import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Address } from "../../src/runtime/address.js";
import type { TimerHandle } from "../../src/runtime/cell.js";
import { fixture, gate, run, Scripted, script } from "./fixture.js";

const crash = run(() => {
  throw new Error("poison");
});

function pair(restart: "permanent" | "transient" | "temporary" = "transient") {
  const f = fixture();
  const target = script({ restart });
  const watcher = script();
  const to = f.system.spawnRoot("target", () => new Scripted(target));
  const ref = f.system.spawnRoot("watcher", () => new Scripted(watcher));
  f.clock.runSoon();
  return { ...f, target, to, log: watcher.log, ref };
}

const address = "dc1-a.k3f9/target";

describe("watch", () => {
  it("tells once, by ref or by address, when the actor is gone", () => {
    const { clock, to, ref, log, system } = pair();
    ref.tell(run((self) => self.doWatch(to)));
    ref.tell(run((self) => self.doWatch(address as Address)));
    to.tell(run((self) => self.doStopSelf()));
    clock.runSoon();
    assert.deepEqual(log, [{ kind: "Terminated", address, reason: "normal" }]);
    assert.equal(system.counters().watches, 0);
  });

  it("does not take a restart for an end", () => {
    const { clock, to, ref, log } = pair("permanent");
    ref.tell(run((self) => self.doWatch(to)));
    to.tell(crash);
    clock.advance(1_000);
    assert.deepEqual(log, []);
    for (let at = 0; at < 5; at++) {
      to.tell(crash);
      clock.advance(1_000);
    }
    assert.deepEqual(log, [{ kind: "Terminated", address, reason: "gave-up" }]);
  });

  it("says so when a temporary actor crashed", () => {
    const { clock, to, ref, log } = pair("temporary");
    ref.tell(run((self) => self.doWatch(to)));
    clock.runSoon();
    to.tell(crash);
    clock.runSoon();
    assert.deepEqual(log, [{ kind: "Terminated", address, reason: "crashed" }]);
  });

  it("answers at once when there is no such actor", () => {
    const { clock, ref, log, to } = pair();
    to.tell(run((self) => self.doStopSelf()));
    clock.runSoon();
    ref.tell(run((self) => self.doWatch(to)));
    ref.tell(run((self) => self.doWatch("dc1-a.k3f9/nobody" as Address)));
    clock.runSoon();
    assert.deepEqual(log, [
      { kind: "Terminated", address, reason: "no-such-actor" },
      { kind: "Terminated", address: "dc1-a.k3f9/nobody", reason: "no-such-actor" },
    ]);
  });

  it("ends with unwatch, and with the watching instance", () => {
    const { clock, to, ref, log, system } = pair();
    ref.tell(run((self) => self.doWatch(to)));
    ref.tell(run((self) => self.doUnwatch(to)));
    ref.tell(run((self) => self.doWatch(to)));
    ref.tell(crash);
    clock.advance(1_000);
    assert.equal(system.counters().watches, 0);
    to.tell(run((self) => self.doStopSelf()));
    clock.runSoon();
    assert.deepEqual(log, []);
  });

  it("comes ahead of ordinary messages", async () => {
    const { clock, to, ref, log } = pair();
    const door = gate();
    ref.tell(run((self) => self.doWatch(to)));
    ref.tell(run(() => door.promise));
    ref.tell("ordinary");
    clock.runSoon();
    to.tell(run((self) => self.doStopSelf()));
    clock.runSoon();
    door.open();
    await clock.settle();
    assert.deepEqual(log, [{ kind: "Terminated", address, reason: "normal" }, "ordinary"]);
  });
});

describe("a timer", () => {
  const one = () => {
    const f = fixture();
    const s = script({ restart: "permanent" });
    return { ...f, s, ref: f.system.spawnRoot("a", () => new Scripted(s)) };
  };

  it("brings an own message after its delay, never before", () => {
    const { clock, s, ref } = one();
    ref.tell(run((self) => void self.doTimer(100, "tick")));
    clock.runSoon();
    clock.advance(99);
    assert.deepEqual(s.log, []);
    clock.advance(1);
    assert.deepEqual(s.log, ["tick"]);
    assert.equal(clock.pendingTimers, 0);
  });

  it("can be cancelled, even when it has fired and its message waits", async () => {
    const { clock, s, ref } = one();
    let early: TimerHandle | undefined;
    let late: TimerHandle | undefined;
    ref.tell(
      run((self) => {
        early = self.doTimer(10, "early");
      }),
    );
    ref.tell(
      run((self) => {
        late = self.doTimer(20, "late");
      }),
    );
    clock.advance(9);
    early?.cancel();
    const door = gate();
    ref.tell(run(() => door.promise));
    clock.advance(100);
    late?.cancel();
    door.open();
    await clock.settle();
    assert.deepEqual(s.log, []);
  });

  it("dies with its actor", () => {
    const { clock, s, ref, system } = one();
    ref.tell(run((self) => void self.doTimer(100, "tick")));
    clock.runSoon();
    assert.equal(system.counters().timers, 1);
    ref.tell(crash);
    clock.runSoon();
    // What is left is the wait before the restart.
    assert.equal(system.counters().timers, 1);
    clock.advance(10_000);
    assert.equal(s.instances, 2);
    assert.deepEqual(s.log, []);
    assert.equal(system.counters().timers, 0);
  });

  it("dies with its actor even when it has fired and its message waits", async () => {
    const { clock, s, ref } = one();
    const door = gate();
    ref.tell(run((self) => void self.doTimer(100, "tick")));
    ref.tell(run(() => door.promise));
    clock.advance(200);
    door.fail(new Error("poison"));
    await clock.advanceAndSettle(1_000);
    assert.equal(s.instances, 2);
    assert.deepEqual(s.log, []);
  });

  it("is inert when its actor is already stopping", async () => {
    const { clock, s, ref, system } = one();
    s.onStopping = (self) => void self.doTimer(1_000_000, "tick");
    ref.tell(crash);
    await clock.advanceAndSettle(1_000);
    assert.deepEqual(s.log, []);
    assert.equal(system.counters().timers, 0);
  });

  it("is one of a bounded number", () => {
    const f = fixture({ limits: { timersPerActorMax: 2 } });
    const ref = f.system.spawnRoot("a", () => new Scripted(script()));
    for (let at = 0; at < 3; at++) ref.tell(run((self) => void self.doTimer(100, "tick")));
    f.clock.runSoon();
    assert.equal(f.crashes[0]?.errorClass, "bug");
  });
});
