import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fixture, gate, run, type Script, Scripted, script } from "./fixture.js";

describe("stopping", () => {
  it("goes through the children in reverse order of spawning, then the parent", async () => {
    const { system, clock } = fixture();
    const order: unknown[] = [];
    const onStopping = async (self: Scripted): Promise<void> => {
      await Promise.resolve();
      order.push(self.key);
    };
    const leaf = script({}, { onStopping });
    const parent = script({}, { onStopping, children: () => new Scripted(leaf) });
    const ref = system.spawnRoot("p", () => new Scripted(parent));
    for (const key of ["one", "two", "three"]) ref.tell(run((self) => self.doSpawn(key)));
    clock.runSoon();
    ref.tell(run((self) => self.doStopSelf()));
    await clock.settle();
    assert.deepEqual(order, ["three", "two", "one", "p"]);
    assert.equal(system.find("p"), undefined);
  });

  it("keeps a child's place in that order when it restarts", async () => {
    const { system, clock } = fixture();
    const order: unknown[] = [];
    const leaf = script(
      { restart: "permanent" },
      { onStopping: (self, reason) => void (reason === "normal" && order.push(self.key)) },
    );
    const parent = script({}, { children: () => new Scripted(leaf) });
    const ref = system.spawnRoot("p", () => new Scripted(parent));
    for (const key of ["one", "two"]) ref.tell(run((self) => self.doSpawn(key)));
    const poison = run(() => {
      throw new Error("poison");
    });
    ref.tell(run((self) => void self.doTellChild("one", poison)));
    clock.advance(1_000);
    ref.tell(run((self) => self.doStopSelf()));
    clock.runSoon();
    assert.equal(leaf.instances, 3);
    assert.deepEqual(order, ["two", "one"]);
  });

  it("ends the turn first, and takes no further message", async () => {
    const { system, clock } = fixture();
    const s = script();
    const ref = system.spawnRoot("a", () => new Scripted(s));
    const door = gate();
    ref.tell(
      run(async (self) => {
        self.doStopSelf();
        await door.promise;
        s.log.push("turn ended");
      }),
    );
    ref.tell("never");
    await clock.settle();
    assert.deepEqual(s.log, []);
    door.open();
    await clock.settle();
    assert.deepEqual(s.log, ["turn ended"]);
    assert.equal(system.counters().deadLetters.stopped, 1);
  });

  it("gives up a turn that outlives the stop deadline", async () => {
    const { system, clock } = fixture();
    let stoppings = 0;
    const s = script({ stopDeadlineMs: 100 }, { onStopping: () => void stoppings++ });
    const ref = system.spawnRoot("a", () => new Scripted(s));
    const door = gate();
    const asked = system.ask(
      ref,
      run(() => door.promise),
      10_000,
    );
    clock.runSoon();
    const stopped = system.stop(1_000);
    await clock.advanceAndSettle(99);
    assert.notEqual(system.find("a"), undefined);
    await clock.advanceAndSettle(1);
    assert.equal(await stopped, true);
    assert.equal(system.counters().abandoned, 1);
    assert.equal(stoppings, 0);
    const result = await asked;
    assert.equal(result.ok ? "" : result.code, "STOPPED");
    door.open();
    await clock.settle();
  });

  it("refuses the asker of a turn that it gives up, and keeps the rest for the next", async () => {
    const { system, clock } = fixture();
    const s = script({ stopDeadlineMs: 100, restart: "permanent" });
    const ref = system.spawnRoot("a", () => new Scripted(s));
    const stuck = run((self) => {
      self.doStopSelf();
      return gate().promise;
    });
    const asked = system.ask(ref, stuck, 10_000);
    ref.tell("next");
    await clock.advanceAndSettle(99);
    assert.equal(system.counters().pendingAsks, 1);
    await clock.advanceAndSettle(100);
    const result = await asked;
    assert.equal(result.ok ? "" : result.code, "STOPPED");
    assert.deepEqual([s.instances, s.log], [2, ["next"]]);
  });

  it("asked for by the parent is the last, even when the turn before it fails", async () => {
    const { system, clock } = fixture();
    const leaf = script({ restart: "permanent" });
    const parent = script({}, { children: () => new Scripted(leaf) });
    const ref = system.spawnRoot("p", () => new Scripted(parent));
    const door = gate();
    ref.tell(run((self) => self.doSpawn("c")));
    ref.tell(
      run(
        (self) =>
          void self.doTellChild(
            "c",
            run(() => door.promise),
          ),
      ),
    );
    clock.runSoon();
    ref.tell(run((self) => self.doStopChild("c")));
    clock.runSoon();
    door.fail(new Error("poison"));
    await clock.advanceAndSettle(1_000);
    assert.equal(leaf.instances, 1);
    assert.equal(system.find("p/c"), undefined);
  });

  it("gives up a stopping that outlives the stop deadline", async () => {
    const { system, clock } = fixture();
    const s = script({ stopDeadlineMs: 100 }, { onStopping: () => gate().promise });
    const ref = system.spawnRoot("a", () => new Scripted(s));
    ref.tell(run((self) => self.doStopSelf()));
    await clock.advanceAndSettle(99);
    assert.notEqual(system.find("a"), undefined);
    await clock.advanceAndSettle(1);
    assert.equal(system.find("a"), undefined);
    assert.equal(system.counters().abandoned, 1);
  });

  it("reports a throw in stopping, and ends all the same", async () => {
    for (const onStopping of [
      () => Promise.reject(new Error("late")),
      () => {
        throw new Error("late");
      },
    ]) {
      const { system, clock, crashes } = fixture();
      const ref = system.spawnRoot("a", () => new Scripted(script({}, { onStopping })));
      ref.tell(run((self) => self.doStopSelf()));
      await clock.settle();
      assert.equal(system.find("a"), undefined);
      assert.equal(crashes[0]?.messageType, "stopping");
    }
  });

  it("owes no stopping to an instance that never started", async () => {
    const { system, clock } = fixture();
    let stoppings = 0;
    const leaf = script({}, { onStopping: () => void stoppings++ });
    const s = script({}, { children: () => new Scripted(leaf) });
    system
      .spawnRoot("a", () => new Scripted(s))
      .tell(
        run((self) => {
          self.doSpawn("c");
          self.doStopChild("c");
        }),
      );
    await clock.settle();
    assert.equal(stoppings, 0);
    assert.equal(system.find("a/c"), undefined);
  });

  it("holds messages back until started is done", async () => {
    const { system, clock } = fixture();
    const door = gate();
    const s = script({}, { onStarted: () => door.promise });
    const ref = system.spawnRoot("a", () => new Scripted(s));
    ref.tell("early");
    await clock.settle();
    assert.deepEqual(s.log, []);
    door.open();
    await clock.settle();
    assert.deepEqual(s.log, ["early"]);
  });
});

describe("a child that stops", () => {
  const parentOf = (leaf: Script): Script => script({}, { children: () => new Scripted(leaf) });

  it("leaves in a turn of its parent, and its key is free in onChildStopped", async () => {
    const { system, clock } = fixture();
    const leaf = script();
    const parent = parentOf(leaf);
    const seen: unknown[] = [];
    parent.onChildStopped = (self, key, reason) => {
      seen.push([key, reason, self.doHasChild(key)]);
      if (leaf.instances === 1) self.doSpawn(key);
    };
    const ref = system.spawnRoot("p", () => new Scripted(parent));
    ref.tell(run((self) => self.doSpawn("c")));
    clock.runSoon();
    const door = gate();
    ref.tell(
      run(async (self) => {
        self.doStopChild("c");
        await door.promise;
        seen.push(["in the turn", self.doHasChild("c"), self.doTellChild("c", 1)]);
      }),
    );
    await clock.settle();
    assert.deepEqual(seen, []);
    door.open();
    await clock.settle();
    assert.deepEqual(seen, [
      ["in the turn", true, false],
      ["c", "normal", false],
    ]);
    assert.equal(leaf.instances, 2);
    assert.notEqual(system.find("p/c"), undefined);
  });

  it("is not announced to a parent that stops itself", () => {
    const { system, clock } = fixture();
    const parent = parentOf(script());
    let announced = 0;
    parent.onChildStopped = () => void announced++;
    const ref = system.spawnRoot("p", () => new Scripted(parent));
    ref.tell(run((self) => self.doSpawn("c")));
    ref.tell(run((self) => self.doStopSelf()));
    clock.runSoon();
    assert.equal(announced, 0);
  });

  it("crashes a parent whose onChildStopped throws", () => {
    const { system, clock, crashes } = fixture();
    const parent = parentOf(script());
    parent.onChildStopped = () => {
      throw new Error("no");
    };
    const ref = system.spawnRoot("p", () => new Scripted(parent));
    ref.tell(run((self) => self.doSpawn("c")));
    ref.tell(run((self) => self.doStopChild("c")));
    clock.advance(1_000);
    assert.equal(crashes[0]?.messageType, "onChildStopped");
    assert.equal(parent.instances, 2);
  });
});

describe("the system's stop", () => {
  it("stops all roots, the last first, and says that it is complete", async () => {
    const { system, clock } = fixture();
    const order: unknown[] = [];
    const s = script({}, { onStopping: (self) => void order.push(self.key) });
    for (const key of ["a", "b", "c"]) system.spawnRoot(key, () => new Scripted(s));
    clock.runSoon();
    const stopped = system.stop(1_000);
    await clock.settle();
    assert.equal(await stopped, true);
    assert.deepEqual(order, ["c", "b", "a"]);
    assert.equal(clock.pendingTimers, 0);
  });

  it("is over at its deadline, and says that it is not complete", async () => {
    const { system, clock } = fixture();
    const s = script({}, { onStopping: () => gate().promise });
    system.spawnRoot("a", () => new Scripted(s));
    clock.runSoon();
    const stopped = system.stop(50);
    await clock.advanceAndSettle(50);
    assert.equal(await stopped, false);
  });

  it("takes a large family in parts, so that the loop goes on", async () => {
    const { system, clock } = fixture();
    const parent = script({}, { children: () => new Scripted(script()) });
    const ref = system.spawnRoot("p", () => new Scripted(parent));
    ref.tell(run((self) => self.doSpawnAll(2_000)));
    clock.runSoon();
    const stopped = system.stop(1_000);
    clock.runSoon();
    assert.equal(system.counters().stopped, 512);
    await clock.advanceAndSettle(10);
    assert.equal(await stopped, true);
    assert.equal(system.counters().stopped, 2_002);
  });
});
