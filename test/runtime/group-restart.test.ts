/** Siblings restarted together: what is kept, counted and waited for, and who fails on the way. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { abcKeys, failing, instances, poison, trio } from "./family.js";
import { gate, run } from "./fixture.js";

const crash = run(poison);

describe("a group that is restarted", () => {
  it("counts once against the intensity, and its next restart once more", () => {
    const home = trio({ parent: { intensity: { restarts: 2, withinMs: 10_000 } } });
    for (const key of ["a", "b"]) {
      home.tell(key, crash);
      home.f.clock.advance(100);
    }
    assert.deepEqual([home.child("c").instances, home.parent.instances], [3, 1]);
    home.tell("c", crash);
    home.f.clock.advance(100);
    assert.equal(home.parent.instances, 2);
    assert.match(home.f.crashes.at(-1)?.error ?? "", /RestartIntensityExceeded/);
  });

  it("starts together, a backoff after the last has stopped, longer with each in a row", async () => {
    const home = trio();
    const door = gate();
    home.onStopping.set("a", () => door.promise);
    home.tell("b", crash);
    await home.f.clock.advanceAndSettle(500);
    door.open();
    await home.f.clock.advanceAndSettle(49);
    assert.equal(home.takeTrace(), "b-crashed c-normal a-normal");
    await home.f.clock.advanceAndSettle(1);
    assert.equal(home.takeTrace(), "a+ b+ c+");
    // Another member's crash is the group's second in a row.
    home.tell("c", crash);
    await home.f.clock.advanceAndSettle(99);
    assert.equal(home.takeTrace(), "c-crashed b-normal a-normal");
    await home.f.clock.advanceAndSettle(1);
    assert.equal(home.takeTrace(), "a+ b+ c+");
  });

  it("waits for the one that ended first before it stops another", async () => {
    const home = trio();
    const door = gate();
    home.onStopping.set("b", () => door.promise);
    home.tell("b", crash);
    await home.f.clock.advanceAndSettle(1_000);
    assert.equal(home.takeTrace(), "b-crashed");
    door.open();
    await home.f.clock.settle();
    assert.equal(home.takeTrace(), "c-normal a-normal");
  });

  it("keeps mail and order of all but the poisoned message", async () => {
    const home = trio();
    const door = gate();
    home.tell(
      "a",
      run((self) => door.promise.then(() => void self.script.log.push("turn ended"))),
    );
    home.refOf("a").tell("waiting");
    for (const message of ["one", crash, "two"]) home.refOf("b").tell(message);
    home.refOf("c").tell("before");
    home.f.clock.runSoon();
    for (const key of ["a", "b", "c"]) home.tell(key, "while away");
    await home.f.clock.advanceAndSettle(100);
    assert.deepEqual(home.child("a").log, [], "a's turn still runs");
    door.open();
    await home.f.clock.advanceAndSettle(100);
    assert.deepEqual(home.child("a").log, ["turn ended", "waiting", "while away"]);
    assert.deepEqual(home.child("b").log, ["one", "two", "while away"]);
    assert.deepEqual(home.child("c").log, ["before", "while away"]);
    assert.deepEqual(home.watched, []);
    for (const key of abcKeys)
      assert.equal(home.f.system.inspectActor(home.refOf(key))?.restarts, 1);
  });

  it("takes the siblings' own children, timers and watches away", () => {
    const home = trio();
    home.child("a").children = () => home.parent.children?.("leaf") as never;
    home.tell(
      "a",
      run((self) => self.doSpawn("leaf")),
    );
    home.tell(
      "a",
      run((self) => void self.doTimer(500, "tick")),
    );
    home.tell(
      "a",
      run((self) => self.doWatch(home.refOf("c"))),
    );
    home.takeTrace();
    home.tell("b", crash);
    home.f.clock.advance(1_000);
    assert.equal(home.takeTrace(), "b-crashed c-normal leaf-normal a-normal a+ b+ c+");
    home.inParent((self) => self.doStopChild("c"));
    assert.deepEqual(home.child("a").log, []);
    assert.equal(home.f.system.counters().watches, 2);
  });

  it("waits for its parent's turn, whose messages to it wait too", async () => {
    const home = trio();
    const door = gate();
    const b = home.refOf("b");
    home.inParent(async (self) => {
      await door.promise;
      assert.equal(self.doTellChild("c", "from the turn"), true);
    });
    b.tell(crash);
    await home.f.clock.advanceAndSettle(1_000);
    assert.equal(home.takeTrace(), "b-crashed");
    door.open();
    await home.f.clock.settle();
    assert.equal(home.takeTrace(), "c-normal a-normal");
    await home.f.clock.advanceAndSettle(50);
    assert.equal(home.takeTrace(), "a+ b+ c+");
    assert.deepEqual(home.child("c").log, ["from the turn"]);
  });

  it("stops and starts a large family in parts, so that the loop goes on", async () => {
    const home = trio();
    home.inParent((self) => self.doSpawnAll(2_000));
    home.takeTrace();
    const countAfter = (turns: number): number => {
      for (let turn = 0; turn < turns; turn++) home.f.clock.turn();
      return home.takeTrace().split(" ").length;
    };
    home.refOf("a").tell(crash);
    // a's own end, and 512 of the others.
    assert.equal(countAfter(1), 513);
    await home.f.clock.advanceAndSettle(49);
    assert.equal(home.takeTrace().split(" ").length, 2_003 - 513);
    await home.f.clock.advanceAndSettle(10);
    const started = home.takeTrace().split(" ");
    assert.equal(started.length, 2_003);
    assert.deepEqual(started.slice(0, 4), ["a+", "b+", "c+", "0+"]);
  });
});

describe("a sibling that fails while it is stopped", () => {
  it("in its last turn comes back with the others, and is not counted again", async () => {
    const home = trio({ parent: { intensity: { restarts: 1, withinMs: 10_000 } } });
    const door = gate();
    home.tell(
      "c",
      run(() => door.promise),
    );
    home.tell("b", crash);
    await home.f.clock.settle();
    door.fail(new Error("c too"));
    await home.f.clock.advanceAndSettle(100);
    assert.equal(home.takeTrace(), "b-crashed c-crashed a-normal a+ b+ c+");
    assert.deepEqual([home.f.crashes.length, home.parent.instances], [2, 1]);
  });

  it("before its stop, while the first one still stops, is not counted either", async () => {
    const home = trio({ parent: { intensity: { restarts: 1, withinMs: 10_000 } } });
    const door = gate();
    home.onStopping.set("b", () => door.promise);
    home.tell("b", crash);
    home.tell("a", crash);
    assert.equal(home.takeTrace(), "b-crashed a-crashed");
    door.open();
    await home.f.clock.advanceAndSettle(100);
    assert.equal(home.takeTrace(), "c-normal a+ b+ c+");
    assert.equal(home.parent.instances, 1);
  });

  it("in stopping is reported, and comes back", async () => {
    for (const fail of [poison, () => Promise.reject(new Error("late"))]) {
      const home = trio();
      home.onStopping.set("c", failing(1, fail));
      home.tell("b", crash);
      await home.f.clock.advanceAndSettle(100);
      assert.equal(home.takeTrace(), "b-crashed c-normal a-normal a+ b+ c+");
      assert.deepEqual(
        home.f.crashes.map((report) => report.messageType),
        ["Run", "stopping"],
      );
    }
  });

  it("by a turn without end is given up at its deadline, and comes back", async () => {
    const home = trio({ child: { stopDeadlineMs: 200 } });
    const asked = home.f.system.ask(
      home.refOf("c"),
      run(() => gate().promise),
      10_000,
    );
    home.tell("c", "next");
    home.tell("b", crash);
    await home.f.clock.advanceAndSettle(199);
    assert.equal(home.takeTrace(), "b-crashed");
    await home.f.clock.advanceAndSettle(51);
    // `stopping` must not run beside the turn.
    assert.equal(home.takeTrace(), "a-normal a+ b+ c+");
    assert.deepEqual(home.child("c").log, ["next"]);
    const result = await asked;
    assert.equal(result.ok ? "" : result.code, "STOPPED");
  });
});

describe("a sibling that fails while it is started again", () => {
  it("in started restarts all of them once more, and is counted", () => {
    const home = trio();
    home.onStarted.set("b", failing(2, poison));
    home.tell("c", crash);
    home.f.clock.advance(50);
    assert.equal(home.takeTrace(), "c-crashed b-normal a-normal a+ b-crashed a-normal");
    home.f.clock.advance(100);
    assert.equal(home.takeTrace(), "a+ b+ c+");
    assert.deepEqual(instances(home), [3, 3, 3]);
  });

  it("in started leaves those before it alone under rest-for-one", () => {
    const home = trio({ parent: { strategy: "rest-for-one" } });
    home.onStarted.set("b", failing(2, poison));
    home.tell("a", crash);
    home.f.clock.advance(50);
    assert.equal(home.takeTrace(), "a-crashed c-normal b-normal a+ b-crashed");
    home.f.clock.advance(100);
    assert.equal(home.takeTrace(), "b+ c+");
  });

  it("in createChild stops those already made, or under rest-for-one keeps them", () => {
    // a's second instance goes before it has started, so that only the count shows it.
    const instancesOf = { "one-for-all": [3, 2, 2], "rest-for-one": [2, 2, 2] } as const;
    for (const strategy of ["one-for-all", "rest-for-one"] as const) {
      const home = trio({ parent: { strategy } });
      const make = home.parent.children as NonNullable<typeof home.parent.children>;
      let failures = 1;
      home.parent.children = (key) => (key === "b" && failures-- > 0 ? poison() : make(key));
      home.tell("a", crash);
      home.f.clock.advance(1_000);
      assert.equal(home.takeTrace(), "a-crashed c-normal b-normal a+ b+ c+", strategy);
      assert.deepEqual(instances(home), instancesOf[strategy], strategy);
      assert.equal(home.f.crashes.at(-1)?.messageType, "createChild");
    }
  });

  it("beyond the intensity makes the parent give up in the middle, and start anew", () => {
    const home = trio({ parent: { intensity: { restarts: 1, withinMs: 10_000 } } });
    home.onStarted.set("b", failing(2, poison));
    home.tell("c", crash);
    home.tell("a", "lost");
    home.f.clock.advance(50);
    const upToTheFailure = "c-crashed b-normal a-normal a+ b-gave-up b~gave-up";
    assert.equal(home.takeTrace(), `${upToTheFailure} a-normal`);
    home.f.clock.advance(1_000);
    assert.equal(home.takeTrace(), "");
    assert.deepEqual([home.parent.instances, home.child("c").instances], [2, 2]);
    assert.deepEqual(home.watched, ["b~gave-up", "c~normal", "a~normal"]);
    assert.equal(home.f.system.counters().timers, 0);
  });
});
