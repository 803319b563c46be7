/** Messages to itself from promises and callbacks, without a ref that would stay behind. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cellOf } from "../../src/runtime/actor.js";
import { fixture, gate, run, type Script, Scripted, script } from "./fixture.js";

const poison = run(() => {
  throw new Error("poison");
});

/** A parent "p" with a child "c", whose instances are kept in the order of their making. */
function nursery(s: Script = script()) {
  const f = fixture();
  const made: Scripted[] = [];
  const parent = script(
    { intensity: { restarts: 100, withinMs: 1_000 } },
    {
      children: () => {
        const child = new Scripted(s);
        made.push(child);
        return child;
      },
    },
  );
  const ref = f.system.spawnRoot("p", () => new Scripted(parent));
  const spawn = (): void => {
    ref.tell(run((self) => self.doSpawn("c")));
    f.clock.runSoon();
  };
  const tell = (message: unknown): void => {
    ref.tell(run((self) => void self.doTellChild("c", message)));
    f.clock.runSoon();
  };
  spawn();
  const first = made[0] as Scripted;
  return { ...f, s, made, first, spawn, tell };
}

describe("tellSelf", () => {
  it("delivers as a tell does, in order and later, and leaves no ref", () => {
    const { clock, first, s } = nursery();
    assert.equal(first.doTellSelf(1), true);
    assert.equal(first.doTellSelf(2), true);
    assert.deepEqual(s.log, []);
    clock.runSoon();
    assert.deepEqual(s.log, [1, 2]);
    assert.equal(cellOf(first)._ref, undefined);
  });

  it("reaches the instance that followed, also while it is still to come", () => {
    const { clock, first, made, s, tell } = nursery();
    for (const round of [1, 2, 3]) {
      tell(poison);
      assert.equal(first.doTellSelf(`waits ${round}`), true);
      clock.advance(5_000);
      assert.equal(made.length, round + 1);
    }
    first.doTellSelf("after");
    clock.runSoon();
    assert.deepEqual(s.log, ["waits 1", "waits 2", "waits 3", "after"]);
    // None of the instances between is kept by the first.
    assert.equal(cellOf(first)._extras?.ending?.successor, cellOf(made[3] as Scripted));
  });

  it("reaches nobody once it is gone for good, not even another under its key", () => {
    const { clock, first, s, spawn, tell, system } = nursery();
    tell(run((self) => self.doStopSelf()));
    clock.runSoon();
    spawn();
    assert.equal(first.doTellSelf("for the dead"), false);
    clock.runSoon();
    assert.deepEqual(s.log, []);
    assert.equal(system.counters().deadLetters.stopped, 1);
  });

  it("is refused by a full mailbox", () => {
    const { first } = nursery(script({ mailbox: { max: 1, onFull: "reject" } }));
    assert.equal(first.doTellSelf(1), true);
    assert.equal(first.doTellSelf(2), false);
  });
});

describe("pipe", () => {
  it("tells what a promise came to, or the failure for which there is a message", async () => {
    const { clock, first, s, crashes } = nursery();
    const door = gate();
    const failed = (error: unknown): string => `failed: ${(error as Error).message}`;
    first.doPipe(
      door.promise.then(() => 7),
      (value) => ["came", value],
    );
    first.doPipe(Promise.reject(new Error("no")), () => "never", failed);
    await clock.settle();
    assert.deepEqual(s.log, ["failed: no"]);
    door.open();
    await clock.settle();
    assert.deepEqual(s.log.slice(1), [["came", 7]]);
    assert.deepEqual([crashes.length, cellOf(first)._ref], [0, undefined]);
  });

  it("tells also where the mailbox is full: what the actor does itself is not lost", async () => {
    const { clock, first, s, system, tell } = nursery(
      script({ mailbox: { max: 1, onFull: "reject" } }),
    );
    const door = gate();
    tell(run((self) => self.doPipe(door.promise, () => "piped")));
    await clock.settle();
    assert.equal(first.doTellSelf("fills it"), true);
    door.open();
    for (let turns = 0; turns < 10; turns++) await Promise.resolve();
    await clock.settle();
    assert.deepEqual(s.log, ["piped", "fills it"]);
    assert.equal(system.counters().deadLetters["mailbox-full"], 0);
  });

  it("crashes the instance with a rejection that has no message, or a throw in making one", async () => {
    const pipes = [
      (self: Scripted) => self.doPipe(Promise.reject(new Error("no")), () => "never"),
      (self: Scripted) =>
        self.doPipe(Promise.resolve(1), () => {
          throw new Error("no");
        }),
    ];
    for (const start of pipes) {
      const { clock, first, crashes, made, s } = nursery();
      start(first);
      await clock.settle();
      await clock.advanceAndSettle(5_000);
      assert.deepEqual(
        crashes.map(({ messageType, error }) => [messageType, error]),
        [["pipe", "Error: no"]],
      );
      assert.equal(made.length, 2);
      assert.deepEqual(s.log, []);
    }
  });

  it("makes a dead letter of what an instance that is gone has failed in", async () => {
    const { clock, first, crashes, made, system, tell } = nursery();
    const door = gate();
    first.doPipe(door.promise, () => "never");
    tell(poison);
    clock.advance(5_000);
    door.fail(new Error("no"));
    await clock.settle();
    assert.deepEqual([crashes.length, made.length], [1, 2]);
    assert.equal(system.counters().deadLetters.stopped, 1);
  });
});
