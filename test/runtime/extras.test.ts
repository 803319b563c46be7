/** What an actor was lent for a while it gives back, so that an idle one costs what a fresh one does. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cellOf } from "../../src/runtime/actor.js";
import type { Extras } from "../../src/runtime/cell.js";
import { fixture, run, type Script, Scripted, script } from "./fixture.js";

/** An actor, and a way to run something in its turn. */
function one(s: Script = script()) {
  const f = fixture();
  let actor: Scripted | undefined;
  const ref = f.system.spawnRoot("a", () => {
    actor = new Scripted(s);
    return actor;
  });
  const inTurn = (body: (self: Scripted) => unknown): void => {
    ref.tell(run((self) => void body(self)));
    f.clock.runSoon();
  };
  inTurn(() => {});
  const extras = (): Extras | undefined =>
    actor === undefined ? undefined : cellOf(actor)._extras;
  return { ...f, s, ref, inTurn, extras };
}

describe("the extras of an actor", () => {
  it("are given back when its last timer has fired", () => {
    const { clock, inTurn, extras, s } = one();
    inTurn((self) => {
      for (const delayMs of [10, 30, 20]) self.doTimer(delayMs, delayMs);
    });
    clock.advance(20);
    assert.equal(extras()?.timerCount, 1);
    clock.advance(10);
    assert.deepEqual(s.log, [10, 20, 30]);
    assert.equal(extras(), undefined);
  });

  it("are given back when its last timer is cancelled, in whatever order", () => {
    for (const order of ["012", "021", "102", "120", "201", "210"]) {
      const { clock, inTurn, extras, s, system } = one();
      inTurn((self) => {
        const timers = [0, 1, 2].map((n) => self.doTimer(10, n));
        for (const at of order) {
          assert.notEqual(extras(), undefined);
          timers[Number(at)]?.cancel();
          timers[Number(at)]?.cancel();
        }
      });
      assert.equal(extras(), undefined);
      assert.equal(system.counters().timers, 0);
      clock.advance(10);
      assert.deepEqual(s.log, []);
    }
  });

  it("are untouched by a timer of an earlier instance that is cancelled late", () => {
    const { clock, inTurn, extras, s } = one();
    let cancel = (): void => {};
    inTurn((self) => {
      const timer = self.doTimer(1_000, "early");
      cancel = () => timer.cancel();
      throw new Error("poison");
    });
    clock.advance(100);
    inTurn((self) => self.doTimer(10, "late"));
    cancel();
    assert.equal(extras()?.timerCount, 1);
    clock.advance(1_000);
    assert.deepEqual(s.log, ["late"]);
    assert.equal(extras()?.history?.restarts, 1);
  });

  it("are given back when its last child has gone, and lent again for the next", () => {
    const leaf = script({ passivateAfterMs: 100 });
    const { clock, inTurn, extras, system } = one(
      script({}, { children: () => new Scripted(leaf) }),
    );
    for (const count of [2, 1]) {
      inTurn((self) => self.doSpawnAll(count));
      assert.equal(extras()?.children?.size, count);
      clock.advance(1_000);
      assert.equal(extras(), undefined);
      assert.equal(system.counters().timers, 0);
    }
    assert.equal(system.counters().passivated, 3);
  });

  it("are given back in the turn in which the last child leaves, where no sweep waits", () => {
    const { inTurn, extras } = one(script({}, { children: () => new Scripted(script()) }));
    inTurn((self) => self.doSpawnAll(2));
    inTurn((self) => self.doStopChild(0));
    assert.equal(extras()?.children?.size, 1);
    inTurn((self) => self.doStopChild(1));
    assert.equal(extras(), undefined);
  });

  it("are not lent to a parent that could make no child", () => {
    const { inTurn, extras } = one();
    inTurn((self) => assert.throws(() => self.doSpawn("x")));
    assert.equal(extras(), undefined);
  });
});
