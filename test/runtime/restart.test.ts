import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AssertionFailed } from "../../src/base/assert.js";
import { Fault } from "../../src/base/result.js";
import type { RestartPolicy } from "../../src/runtime/kind.js";
import { planRestart } from "../../src/runtime/restarts.js";
import {
  type Fixture,
  fixture,
  gate,
  kindOf,
  run,
  type Script,
  Scripted,
  script,
} from "./fixture.js";

const crash = (error: unknown = new Error("poison")) =>
  run(() => {
    throw error;
  });

/** A parent "p" with one child "c" for each script. */
function family(f: Fixture, parent: Script, children: Record<string, Script>) {
  parent.children = (key) => new Scripted(children[key] as Script);
  const ref = f.system.spawnRoot("p", () => new Scripted(parent));
  for (const key of Object.keys(children)) ref.tell(run((self) => self.doSpawn(key)));
  f.clock.runSoon();
  return {
    ref,
    tell: (key: string, message: unknown) => {
      ref.tell(run((self) => void self.doTellChild(key, message)));
      f.clock.runSoon();
    },
  };
}

describe("an end", () => {
  const ends = {
    crash: crash(),
    "rejected turn": run(() => Promise.reject(new Error("poison"))),
    stopSelf: run((self) => self.doStopSelf()),
  };
  const isRestarted: Record<RestartPolicy, Record<keyof typeof ends, boolean>> = {
    permanent: { crash: true, "rejected turn": true, stopSelf: true },
    transient: { crash: true, "rejected turn": true, stopSelf: false },
    temporary: { crash: false, "rejected turn": false, stopSelf: false },
  };
  for (const restart of ["permanent", "transient", "temporary"] as const) {
    for (const end of ["crash", "rejected turn", "stopSelf"] as const) {
      const expected = isRestarted[restart][end];
      it(`by ${end} ${expected ? "restarts" : "ends"} a ${restart} child`, async () => {
        const f = fixture();
        const stopped: unknown[] = [];
        const child = script({ restart });
        const parent = script(
          {},
          { onChildStopped: (_s, key, why) => void stopped.push([key, why]) },
        );
        const { tell } = family(f, parent, { c: child });
        tell("c", ends[end]);
        await f.clock.advanceAndSettle(100);
        assert.equal(child.instances, expected ? 2 : 1);
        const why = end === "stopSelf" ? "normal" : "crashed";
        assert.deepEqual(stopped, expected ? [] : [["c", why]]);
        tell("c", "still there?");
        assert.equal(child.log.length, expected ? 1 : 0);
      });
    }
  }

  it("by stopChild is the last, whatever the policy", () => {
    for (const restart of ["permanent", "transient", "temporary"] as const) {
      const f = fixture();
      const child = script({ restart });
      const { ref } = family(f, script(), { c: child });
      ref.tell(run((self) => self.doStopChild("c")));
      f.clock.advance(10_000);
      assert.equal(child.instances, 1);
      assert.equal(f.system.find("p/c"), undefined);
    }
  });
});

describe("a restart", () => {
  it("keeps the mailbox but for the poisoned message, and the ref", async () => {
    const f = fixture();
    const s = script({ restart: "permanent" });
    const ref = f.system.spawnRoot("a", () => new Scripted(s));
    for (const message of ["one", crash(), "two", "three"]) ref.tell(message);
    f.clock.runSoon();
    ref.tell("four, while it is away");
    assert.deepEqual(s.log, ["one"]);
    f.clock.advance(100);
    assert.deepEqual(s.log, ["one", "two", "three", "four, while it is away"]);
    assert.equal(f.system.find("a"), ref);
    assert.equal(f.system.inspectActor(ref)?.restarts, 1);
    assert.deepEqual(f.system.inspectActor(ref)?.detail, { instance: 2 });
  });

  it("makes a new instance, whose children are gone and timers dead", () => {
    const f = fixture();
    const leaf = script();
    const s = script({ restart: "permanent" }, { children: () => new Scripted(leaf) });
    const ref = f.system.spawnRoot("a", () => new Scripted(s));
    ref.tell(run((self) => self.doSpawn("leaf")));
    ref.tell(run((self) => void self.doTimer(500, "tick")));
    ref.tell(crash());
    f.clock.advance(1_000);
    assert.equal(s.instances, 2);
    assert.deepEqual(s.log, []);
    assert.equal(f.system.find("a/leaf"), undefined);
    assert.equal(f.system.counters().timers, 0);
  });

  it("waits for the old instance's stopping, which is told why", async () => {
    const f = fixture();
    const door = gate();
    const reasons: string[] = [];
    const s = script({ restart: "permanent" });
    s.onStopping = (_self, reason) => {
      reasons.push(reason);
      return door.promise;
    };
    const ref = f.system.spawnRoot("a", () => new Scripted(s));
    ref.tell(crash());
    ref.tell("waits");
    await f.clock.advanceAndSettle(1_000);
    assert.equal(s.instances, 1);
    door.open();
    await f.clock.advanceAndSettle(1_000);
    assert.deepEqual([s.instances, reasons, s.log], [2, ["crashed"], ["waits"]]);
  });

  it("backs off by full jitter that doubles with each end in a row", () => {
    const f = fixture();
    const child = script({ restart: "permanent" });
    const parent = script({ backoff: { baseMs: 100, capMs: 300 } });
    const { tell } = family(f, parent, { c: child });
    for (const halfOfBoundMs of [50, 100, 150, 150]) {
      const before = child.instances;
      tell("c", crash());
      f.clock.advance(halfOfBoundMs - 1);
      assert.equal(child.instances, before, `${halfOfBoundMs}`);
      f.clock.advance(1);
      assert.equal(child.instances, before + 1, `${halfOfBoundMs}`);
    }
  });

  it("starts the backoff anew after a quiet time", () => {
    const f = fixture();
    const child = script({ restart: "permanent" });
    const parent = script({ backoff: { baseMs: 100, capMs: 10_000 } });
    const { tell } = family(f, parent, { c: child });
    for (let at = 0; at < 3; at++) {
      tell("c", crash());
      f.clock.advance(10_001);
    }
    tell("c", crash());
    f.clock.advance(50);
    assert.equal(child.instances, 5);
  });

  it("counts a throw in started as a crash", async () => {
    for (const isAsync of [false, true]) {
      const f = fixture();
      const s = script({ restart: "transient" });
      s.onStarted = () => {
        if (s.instances > 2) return;
        if (isAsync) return Promise.reject(new Error("not yet"));
        throw new Error("not yet");
      };
      const ref = f.system.spawnRoot("a", () => new Scripted(s));
      ref.tell("patient");
      await f.clock.advanceAndSettle(1_000);
      assert.deepEqual([s.instances, s.log], [3, ["patient"]]);
      assert.deepEqual(
        f.crashes.map((report) => report.messageType),
        ["started", "started"],
      );
    }
  });

  it("counts a throw in createChild as a crash of the child", () => {
    const f = fixture();
    const child = script({ restart: "permanent" });
    const parent = script();
    const { tell } = family(f, parent, { c: child });
    let failures = 2;
    parent.children = () => {
      if (failures-- > 0) throw new Error("cannot");
      return new Scripted(child);
    };
    tell("c", crash());
    f.clock.advance(5_000);
    assert.equal(child.instances, 2);
    assert.deepEqual(
      f.crashes.map((report) => report.messageType),
      ["Run", "createChild", "createChild"],
    );
  });

  it("goes on with the stop when the parent stops meanwhile", () => {
    const f = fixture();
    const child = script({ restart: "permanent" });
    const { ref, tell } = family(f, script(), { c: child });
    tell("c", crash());
    ref.tell(run((self) => self.doStopSelf()));
    f.clock.advance(10_000);
    assert.equal(child.instances, 1);
    assert.equal(f.system.find("p"), undefined);
  });
});

describe("restart intensity", () => {
  it("makes the parent crash when it is exceeded, and its parent restart it", () => {
    const f = fixture();
    const child = script({ restart: "permanent" });
    const gone: unknown[] = [];
    const parent = script(
      { restart: "permanent", intensity: { restarts: 2, withinMs: 1_000 } },
      { onChildStopped: (_self, key, reason) => void gone.push([key, reason]) },
    );
    const { tell } = family(f, parent, { c: child });
    for (let at = 0; at < 3; at++) {
      tell("c", crash());
      f.clock.advance(110);
    }
    assert.equal(child.instances, 3);
    assert.equal(parent.instances, 2);
    assert.deepEqual(gone, [["c", "gave-up"]]);
    const last = f.crashes.at(-1);
    assert.equal(last?.messageType, "child-gave-up");
    assert.match(last?.error ?? "", /RestartIntensityExceeded/);
    assert.equal(last?.fatal, false);
  });

  it("counts the restarts of all children together", () => {
    const f = fixture();
    const parent = script({ restart: "temporary", intensity: { restarts: 2, withinMs: 10_000 } });
    const c = script({ restart: "permanent" });
    const { tell } = family(f, parent, { a: c, b: c, c });
    for (const key of ["a", "b", "c"]) tell(key, crash());
    f.clock.advance(100);
    assert.equal(f.system.find("p"), undefined);
  });

  it("forgets restarts that are older than its window", () => {
    const f = fixture();
    const child = script({ restart: "permanent" });
    const parent = script({ intensity: { restarts: 1, withinMs: 100 } });
    const { tell } = family(f, parent, { c: child });
    for (let at = 0; at < 10; at++) {
      tell("c", crash());
      f.clock.advance(101);
    }
    assert.equal(child.instances, 11);
    assert.equal(parent.instances, 1);
  });

  it("is fatal at the root, and said so once", () => {
    const f = fixture();
    const s = script({ restart: "permanent" });
    const ref = f.system.spawnRoot("a", () => new Scripted(s));
    for (let at = 0; at < 6; at++) {
      ref.tell(crash());
      f.clock.advance(1_000);
    }
    assert.equal(s.instances, 6);
    assert.equal(f.crashes.filter((report) => report.fatal).length, 1);
    assert.equal(f.crashes.at(-1)?.fatal, true);
    assert.equal(f.system.find("a"), undefined);
  });

  it("waits for a parent that is in an awaited turn", async () => {
    const f = fixture();
    const child = script({ restart: "permanent" });
    const parent = script({ restart: "permanent", intensity: { restarts: 0, withinMs: 1_000 } });
    const { ref } = family(f, parent, { c: child });
    const door = gate();
    f.system.find("p/c")?.tell(crash());
    ref.tell(run(() => door.promise.then(() => void parent.log.push("turn ended"))));
    ref.tell("next");
    await f.clock.settle();
    assert.deepEqual(parent.log, []);
    door.open();
    await f.clock.advanceAndSettle(1_000);
    assert.deepEqual([parent.log, parent.instances], [["turn ended", "next"], 2]);
  });

  it("plans purely: leave, restart, or escalate", () => {
    const random = { next: () => 0.5 };
    const parent = kindOf({ intensity: { restarts: 1, withinMs: 10 } });
    const plan = (restartsAtMs: number[]) =>
      planRestart(kindOf(), parent, "crashed", { restartsAtMs, attempt: 0 }, 100, random);
    assert.deepEqual(plan([]), { act: "restart", delayMs: 25 });
    assert.deepEqual(plan([90]), { act: "restart", delayMs: 25 });
    assert.deepEqual(plan([91]), { act: "escalate" });
  });
});

describe("a crash report", () => {
  const cases: [unknown, string][] = [
    [new AssertionFailed("broken"), "bug"],
    [new Fault("DISK", "unknown", "gone"), "fault"],
    [new TypeError("x"), "unknown"],
    ["a string", "unknown"],
  ];
  for (const [error, errorClass] of cases) {
    it(`calls ${String(error)} a ${errorClass}`, () => {
      const f = fixture();
      const ref = f.system.spawnRoot("a", () => new Scripted(script()));
      ref.tell(crash(error));
      f.clock.runSoon();
      const [report] = f.crashes;
      assert.equal(report?.errorClass, errorClass);
      assert.equal(report?.address, "dc1-a.k3f9/a");
      assert.equal(report?.kind, "scripted");
      assert.equal(report?.messageType, "Run");
      assert.equal(report?.restarts, 0);
      assert.equal(report?.fatal, false);
      assert.equal(f.system.counters().crashes, 1);
    });
  }
});
