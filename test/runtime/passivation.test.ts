import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fixture, gate, run, Scripted, script } from "./fixture.js";

function family(count: number) {
  const f = fixture();
  const leaf = script({ passivateAfterMs: 100, restart: "permanent" });
  const gone: unknown[] = [];
  const parent = script(
    {},
    {
      children: () => new Scripted(leaf),
      onChildStopped: (_s, key, why) => void gone.push([key, why]),
    },
  );
  const ref = f.system.spawnRoot("p", () => new Scripted(parent));
  ref.tell(run((self) => self.doSpawnAll(count)));
  f.clock.runSoon();
  const tell = (key: number, message: unknown): void => {
    ref.tell(run((self) => void self.doTellChild(key, message)));
    f.clock.runSoon();
  };
  const spawn = (key: number): void => ref.tell(run((self) => self.doSpawn(key)));
  return { ...f, leaf, gone, tell, spawn, ref };
}

describe("passivation", () => {
  it("stops an actor after one to two periods of idleness, whatever its restart policy", () => {
    const { clock, gone } = family(1);
    clock.advance(199);
    assert.deepEqual(gone, []);
    clock.advance(1);
    assert.deepEqual(gone, [[0, "normal"]]);
  });

  it("spares those that are spoken to", () => {
    const { clock, gone, tell, system } = family(3);
    for (let at = 0; at < 10; at++) {
      tell(1, "hello");
      clock.advance(100);
    }
    assert.deepEqual(gone, [
      [0, "normal"],
      [2, "normal"],
    ]);
    assert.equal(system.counters().passivated, 2);
  });

  it("spares an actor that objects, has a timer, or is in a turn", () => {
    const { clock, gone, tell, leaf } = family(3);
    tell(
      0,
      run((self) => void self.doTimer(10_000, "tick")),
    );
    tell(
      1,
      run(() => gate().promise),
    );
    leaf.mayPassivate = () => false;
    clock.advance(1_000);
    assert.deepEqual(gone, []);
    delete leaf.mayPassivate;
    clock.advance(1_000);
    assert.deepEqual(gone, [[2, "normal"]]);
  });

  it("loses no message: who is spoken to while stopping comes back", async () => {
    const { clock, gone, tell, leaf, system } = family(1);
    const door = gate();
    leaf.onStopping = () => door.promise;
    await clock.advanceAndSettle(200);
    tell(0, "just in time");
    door.open();
    await clock.settle();
    assert.deepEqual([leaf.log, leaf.instances, gone], [["just in time"], 2, []]);
    assert.equal(system.counters().restarts, 0);
  });

  it("needs no timer of an actor, and none at all once no child is left", () => {
    const { clock, gone, system, spawn } = family(5_000);
    assert.equal(system.counters().timers, 1);
    clock.advance(220);
    assert.equal(gone.length, 5_000);
    clock.advance(200);
    assert.equal(clock.pendingTimers, 0);
    spawn(1);
    clock.advance(300);
    assert.equal(gone.length, 5_001);
  });

  it("sweeps no longer when the parent stops", () => {
    const { clock, ref, system } = family(3);
    ref.tell(run((self) => self.doStopSelf()));
    clock.runSoon();
    assert.equal(system.counters().timers, 0);
  });
});
