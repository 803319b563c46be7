import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Address } from "../../src/runtime/address.js";
import type { Context } from "../../src/runtime/envelope.js";
import { fixture, gate, numbers, run, Scripted, script } from "./fixture.js";

describe("tell", () => {
  it("delivers in order, and not before the loop turns", () => {
    const { system, clock } = fixture();
    const s = script();
    const ref = system.spawnRoot("a", () => new Scripted(s));
    for (const n of numbers(50)) ref.tell(n);
    assert.deepEqual(s.log, []);
    clock.runSoon();
    assert.deepEqual(s.log, numbers(50));
  });

  it("finds an actor by address, with a number for a key that is a number", () => {
    const { system, clock } = fixture();
    const leaf = script();
    const parent = script({}, { children: () => new Scripted(leaf) });
    system.spawnRoot("shards", () => new Scripted(parent)).tell(run((self) => self.doSpawn(17)));
    clock.runSoon();
    const address = "dc1-a.k3f9/shards/17" as Address;
    system.tell(address, "hello");
    clock.runSoon();
    assert.deepEqual(leaf.log, ["hello"]);
    assert.equal(system.find("shards/17")?.address, address);
  });

  it("counts what is for nobody as a dead letter, and shows one a second", () => {
    const { system, clock, letters } = fixture();
    for (let at = 0; at < 5; at++) system.tell("dc1-a.k3f9/nobody" as Address, { kind: "Hello" });
    assert.equal(system.counters().deadLetters["no-such-actor"], 5);
    assert.equal(letters.length, 1);
    assert.equal(letters[0]?.messageType, "Hello");
    clock.advance(1_000);
    system.tell("dc1-a.k3f9/nobody/at/all" as Address, 1);
    assert.equal(letters[1]?.suppressed, 4);
  });

  it("keeps the mailbox while a turn awaits, so that turns never overlap", async () => {
    const { system, clock } = fixture();
    const s = script();
    const ref = system.spawnRoot("a", () => new Scripted(s));
    const door = gate();
    ref.tell(run(() => door.promise.then(() => void s.log.push("awaited"))));
    ref.tell("next");
    await clock.settle();
    assert.deepEqual(s.log, []);
    door.open();
    await clock.settle();
    assert.deepEqual(s.log, ["awaited", "next"]);
  });

  it("gives each actor at most its quantum before the others get their turn", () => {
    const { system, clock } = fixture();
    const shared: string[] = [];
    const s = script({ quantum: 3 }, { onReceive: (self) => void shared.push(String(self.key)) });
    const [a, b] = ["a", "b"].map((key) => system.spawnRoot(key, () => new Scripted(s)));
    clock.runSoon();
    for (let at = 0; at < 5; at++) a?.tell(at);
    for (let at = 0; at < 2; at++) b?.tell(at);
    clock.runSoon();
    assert.equal(shared.join(""), "aaabbaa");
  });

  it("holds an async actor to its quantum too", async () => {
    const { system, clock } = fixture();
    const shared: string[] = [];
    const s = script(
      { quantum: 2 },
      { onReceive: async (self) => void shared.push(String(self.key)) },
    );
    const [a, b] = ["a", "b"].map((key) => system.spawnRoot(key, () => new Scripted(s)));
    clock.runSoon();
    for (let at = 0; at < 4; at++) a?.tell(at);
    b?.tell(0);
    clock.turn();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(shared.filter((key) => key === "a").length, 2);
    await clock.settle();
    assert.equal(shared.length, 5);
  });

  it("yields to I/O when the loop's budget is spent", () => {
    const { system, clock } = fixture({ limits: { loopBudget: 10 } });
    const s = script();
    const ref = system.spawnRoot("a", () => new Scripted(s));
    clock.runSoon();
    for (const n of numbers(25)) ref.tell(n);
    clock.turn();
    assert.equal(s.log.length, 10);
    clock.turn();
    assert.equal(s.log.length, 20);
    clock.turn();
    assert.equal(s.log.length, 25);
    assert.equal(clock.pendingSoon, 0);
  });

  it("passes the context on, and does not process what came too late", () => {
    const { system, clock } = fixture();
    const seen: unknown[] = [];
    const ref = system.spawnRoot("a", () => new Scripted(script()));
    const context: Context = { deadlineMs: clock.monotonicMs() + 10, trace: "t1", requestId: "r1" };
    ref.tell(
      run((_self, _from, given) => void seen.push(given)),
      context,
    );
    clock.runSoon();
    assert.deepEqual(seen, [context]);
    const late = { deadlineMs: clock.monotonicMs() };
    let wasProcessed = false;
    ref.tell(
      run(() => {
        wasProcessed = true;
      }),
      late,
    );
    clock.runSoon();
    assert.equal(wasProcessed, false);
    assert.equal(system.counters().deadLetters.expired, 1);
  });
});

describe("a full mailbox", () => {
  const overflow = (onFull: "reject" | "drop-oldest" | "drop-newest") => {
    const { system, clock } = fixture();
    const leaf = script({ mailbox: { max: 3, onFull } });
    const parent = script({}, { children: () => new Scripted(leaf) });
    const taken: boolean[] = [];
    const ref = system.spawnRoot("p", () => new Scripted(parent));
    ref.tell(run((self) => self.doSpawn("c")));
    clock.runSoon();
    ref.tell(
      run((self) => {
        for (const n of numbers(5)) taken.push(self.doTellChild("c", n));
      }),
    );
    clock.runSoon();
    return { log: leaf.log, taken, dead: system.counters().deadLetters };
  };

  it("rejects: the sender is told", () => {
    const { log, taken, dead } = overflow("reject");
    assert.deepEqual(log, [0, 1, 2]);
    assert.deepEqual(taken, [true, true, true, false, false]);
    assert.equal(dead["mailbox-full"], 2);
  });

  it("drops the oldest", () => {
    const { log, taken, dead } = overflow("drop-oldest");
    assert.deepEqual(log, [2, 3, 4]);
    assert.ok(taken.every((was) => was));
    assert.equal(dead["dropped-oldest"], 2);
  });

  it("drops the newest", () => {
    const { log, taken, dead } = overflow("drop-newest");
    assert.deepEqual(log, [0, 1, 2]);
    assert.ok(taken.every((was) => was));
    assert.equal(dead["dropped-newest"], 2);
  });

  it("still takes what the runtime has to say, first", async () => {
    const { system, clock } = fixture();
    const s = script({ mailbox: { max: 2, onFull: "reject" } });
    const ref = system.spawnRoot("a", () => new Scripted(s));
    const door = gate();
    ref.tell(run((self) => void self.doTimer(5, "tick")));
    ref.tell(run(() => door.promise));
    clock.runSoon();
    for (const message of ["one", "two", "three"]) ref.tell(message);
    clock.advance(5);
    door.open();
    await clock.settle();
    assert.deepEqual(s.log, ["tick", "one", "two"]);
  });
});

describe("keys", () => {
  it("are free before they are spawned, in either form", () => {
    const { system, clock, crashes } = fixture();
    const parent = script(
      { restart: "temporary" },
      { children: () => new Scripted(script({}, {})) },
    );
    const spawnTwice = (one: string | number, two: string | number): void => {
      const name = `p-${one}-${two}-${typeof one}`;
      const ref = system.spawnRoot(name, () => new Scripted(parent));
      ref.tell(run((self) => self.doSpawn(one)));
      ref.tell(run((self) => self.doSpawn(two)));
      clock.runSoon();
    };
    spawnTwice("x", "x");
    spawnTwice(7, "7");
    spawnTwice("7", 7);
    assert.equal(crashes.filter((report) => report.errorClass === "bug").length, 3);
    spawnTwice(7, "07");
    assert.equal(crashes.length, 3);
  });

  for (const key of ["", "a/b", "x".repeat(257), -1, 1.5, Number.NaN]) {
    it(`cannot be ${JSON.stringify(key).slice(0, 12)}`, () => {
      const { system } = fixture();
      assert.throws(() => system.spawnRoot(key, () => new Scripted(script())), /key/);
    });
  }
});
