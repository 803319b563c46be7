/** Who comes in between while siblings are being restarted together. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  abc,
  abcKeys,
  backoff,
  type Family,
  failing,
  family,
  instances,
  poison,
  trio,
} from "./family.js";
import { gate, run } from "./fixture.js";

const crash = run(poison);

describe("a parent that stops in the middle", () => {
  const phases: Record<string, (home: Family) => Promise<void>> = {
    "while the first one stops": async (home) => {
      home.onStopping.set("b", () => gate().promise);
      home.tell("b", crash);
    },
    "while another stops": async (home) => {
      home.onStopping.set("c", () => gate().promise);
      home.tell("b", crash);
    },
    "while another ends its turn": async (home) => {
      home.tell(
        "c",
        run(() => gate().promise),
      );
      home.tell("b", crash);
    },
    "in the backoff": async (home) => home.tell("b", crash),
    "while they start": async (home) => {
      home.onStarted.set(
        "b",
        failing(2, () => gate().promise),
      );
      home.tell("b", crash);
      await home.f.clock.advanceAndSettle(50);
    },
  };
  for (const [phase, arrange] of Object.entries(phases)) {
    it(`${phase} ends all of them for good`, async () => {
      const home = trio({ child: { stopDeadlineMs: 200 } });
      await arrange(home);
      await home.f.clock.settle();
      const before = instances(home);
      home.parent.children = () => assert.fail("made again");
      // A permanent parent: it comes back, without children.
      home.ref.tell(run((self) => self.doStopSelf()));
      await home.f.clock.advanceAndSettle(5_000);
      assert.deepEqual(instances(home), before);
      assert.equal(home.parent.instances, 2);
      assert.deepEqual(home.watched.map((event) => event[0]).sort(), abcKeys);
      assert.deepEqual(home.f.system.inspectTree(2, 9).childCounts, { parent: 1, scripted: 1 });
      assert.equal(home.f.system.counters().timers, 0);
    });
  }
});

describe("a group whose parent stops", () => {
  it("goes no further, though its backoff ends: all wait their turn, the last one first", async () => {
    const home = trio({ parent: { restart: "transient" } });
    home.tell("b", crash);
    home.inParent((self) => self.doSpawn("late"));
    const door = gate();
    home.onStopping.set("late", () => door.promise);
    home.takeTrace();
    home.inParent((self) => self.doStopSelf());
    await home.f.clock.advanceAndSettle(100);
    assert.equal(home.takeTrace(), "late-normal");
    assert.deepEqual(home.watched, []);
    door.open();
    await home.f.clock.settle();
    assert.deepEqual(home.watched, ["c~normal", "b~crashed", "a~normal"]);
    assert.equal(home.f.system.find("p"), undefined);
    assert.equal(home.f.system.counters().timers, 0);
  });
});

describe("a member that its parent stops in the middle", () => {
  it("is gone for good, and the others go on without it", async () => {
    const home = trio();
    home.tell("b", crash);
    home.takeTrace();
    home.inParent((self) => self.doStopChild("b"));
    assert.equal(home.takeTrace(), "b~crashed");
    await home.f.clock.advanceAndSettle(100);
    assert.equal(home.takeTrace(), "a+ c+");
  });

  it("while it stops holds up the others no longer than that", async () => {
    const home = trio();
    const door = gate();
    home.onStopping.set("c", () => door.promise);
    home.tell("b", crash);
    home.inParent((self) => self.doStopChild("c"));
    assert.equal(home.takeTrace(), "b-crashed c-normal");
    door.open();
    await home.f.clock.advanceAndSettle(100);
    assert.equal(home.takeTrace(), "c~normal a-normal a+ b+");
  });

  it("when it is the last of them ends the group", () => {
    const home = trio();
    home.tell("b", crash);
    home.inParent((self) => abcKeys.forEach((key) => void self.doStopChild(key)));
    assert.equal(home.f.system.counters().timers, 0);
    assert.deepEqual(home.watched, ["a~normal", "b~crashed", "c~normal"]);
  });
});

describe("a child outside the group", () => {
  it("is one that was spawned later, even under a key that the group set free", () => {
    const home = family(
      { a: "permanent", t: "temporary" },
      { parent: { strategy: "one-for-all" } },
    );
    home.parent.onChildStopped = (self, key) => self.doSpawn(key);
    home.takeTrace();
    home.tell("a", crash);
    home.inParent((self) => self.doSpawn("late"));
    home.f.clock.advance(1_000);
    assert.equal(home.takeTrace(), "a-crashed t-normal t+ late+ a+");
  });

  it("that crashes meanwhile is counted, and widens it", () => {
    const home = trio({ parent: { intensity: { restarts: 2, withinMs: 10_000 } } });
    home.tell("b", crash);
    home.inParent((self) => self.doSpawn("late"));
    home.tell("late", crash);
    assert.equal(home.takeTrace(), "b-crashed c-normal a-normal late+ late-crashed");
    home.f.clock.advance(1_000);
    assert.equal(home.takeTrace(), "a+ b+ c+ late+");
    home.tell("a", crash);
    home.f.clock.advance(1_000);
    assert.equal(home.parent.instances, 2);
  });

  it("puts the start off when it widens it, and keeps who waited already", () => {
    const home = trio({ parent: { strategy: "rest-for-one" } });
    home.tell("b", crash);
    home.f.clock.advance(40);
    home.inParent((self) => self.doSpawn("late"));
    home.tell("late", crash);
    home.takeTrace();
    home.f.clock.advance(49);
    assert.equal(home.takeTrace(), "");
    home.f.clock.advance(1);
    assert.equal(home.takeTrace(), "b+ c+ late+");
  });

  it("that was spawned before it widens it by those in between", async () => {
    const policies = { z: "permanent", ...abc, t: "temporary" } as const;
    const home = family(policies, { parent: { strategy: "rest-for-one", backoff } });
    home.takeTrace();
    home.tell("c", crash);
    assert.equal(home.takeTrace(), "c-crashed t-normal t~normal");
    home.tell("a", crash);
    assert.equal(home.takeTrace(), "a-crashed b-normal");
    await home.f.clock.advanceAndSettle(1_000);
    assert.equal(home.takeTrace(), "a+ b+ c+");
    assert.equal(home.child("z").instances, 1);
  });
});

describe("a sibling that was on its way out by itself", () => {
  it("leaves when it is transient, and comes back when it is permanent", async () => {
    for (const restart of ["transient", "permanent"] as const) {
      const home = family({ a: "permanent", x: restart }, { parent: { strategy: "one-for-all" } });
      home.takeTrace();
      const door = gate();
      home.tell(
        "x",
        run((self) => {
          self.doStopSelf();
          return door.promise;
        }),
      );
      home.tell("a", crash);
      door.open();
      await home.f.clock.advanceAndSettle(1_000);
      const expected = { transient: "x~normal a+", permanent: "a+ x+" }[restart];
      assert.equal(home.takeTrace(), `a-crashed x-normal ${expected}`);
    }
  });

  it("as idle comes back with its group when a message reached it, else is gone", async () => {
    for (const message of [undefined, "wake up"]) {
      const home = trio({ child: { passivateAfterMs: 1_000 } });
      const door = gate();
      home.onStopping.set(
        "c",
        failing(1, () => door.promise),
      );
      await home.f.clock.advanceAndSettle(900);
      for (const key of ["a", "b"]) home.tell(key, "busy");
      await home.f.clock.advanceAndSettle(200);
      for (const key of ["a", "b"]) home.tell(key, "busy");
      await home.f.clock.advanceAndSettle(900);
      assert.equal(home.takeTrace(), "c-normal");
      home.tell("b", crash);
      if (message !== undefined) home.tell("c", message);
      assert.equal(home.takeTrace(), "b-crashed");
      door.open();
      await home.f.clock.settle();
      assert.equal(home.takeTrace(), message === undefined ? "c~normal a-normal" : "a-normal");
      await home.f.clock.advanceAndSettle(50);
      assert.equal(home.takeTrace(), message === undefined ? "a+ b+" : "a+ b+ c+");
    }
  });

  it("as idle, awaited by a message and its parent's turn, still waits for its group", async () => {
    const home = trio({ child: { passivateAfterMs: 1_000 } });
    const [closing, turn, ending] = [gate(), gate(), gate()];
    home.onStopping.set(
      "c",
      failing(1, () => closing.promise),
    );
    home.onStopping.set("b", () => ending.promise);
    await home.f.clock.advanceAndSettle(500);
    for (const key of ["a", "b"]) home.tell(key, "busy");
    await home.f.clock.advanceAndSettle(500);
    for (const key of ["a", "b"]) home.tell(key, "busy");
    await home.f.clock.advanceAndSettle(1_000);
    assert.equal(home.takeTrace(), "c-normal");
    home.inParent(() => turn.promise);
    home.tell("c", "wake up");
    closing.open();
    await home.f.clock.settle();
    home.tell("b", crash);
    turn.open();
    await home.f.clock.settle();
    assert.equal(home.takeTrace(), "b-crashed");
    ending.open();
    await home.f.clock.advanceAndSettle(100);
    assert.equal(home.takeTrace(), "a-normal a+ b+ c+");
    assert.equal(home.child("c").instances, 2);
  });
});
