import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Address } from "../../src/runtime/address.js";
import type { Asker, AskResult } from "../../src/runtime/envelope.js";
import { fixture, gate, run, Scripted, script } from "./fixture.js";

const echo = () =>
  new Scripted(script({}, { onReceive: (_self, message, from) => from?.answer(message) }));

async function codeOf(asked: Promise<AskResult<unknown>>): Promise<string> {
  const result = await asked;
  return result.ok ? "OK" : result.code;
}

describe("ask", () => {
  it("gives the answer", async () => {
    const { system, clock } = fixture();
    const ref = system.spawnRoot("echo", echo);
    const asked = system.ask(ref, "hello", 100);
    clock.runSoon();
    assert.deepEqual(await asked, { ok: true, value: "hello" });
    assert.equal(system.counters().pendingAsks, 0);
  });

  it("may be answered after the turn, once", async () => {
    const { system, clock } = fixture();
    let kept: Asker | undefined;
    const ref = system.spawnRoot("a", () => new Scripted(script()));
    const asked = system.ask(
      ref,
      run((_self, from) => {
        kept = from;
      }),
      100,
    );
    clock.runSoon();
    kept?.answer(1);
    kept?.answer(2);
    kept?.refuse("LATE", "");
    assert.deepEqual(await asked, { ok: true, value: 1 });
  });

  it("passes on an actor's own refusal", async () => {
    const { system, clock } = fixture();
    const ref = system.spawnRoot("a", () => new Scripted(script()));
    const asked = system.ask(
      ref,
      run((_self, from) => from?.refuse("WRONG_SHARD", "not mine")),
      100,
    );
    clock.runSoon();
    assert.deepEqual(await asked, { ok: false, code: "WRONG_SHARD", message: "not mine" });
  });

  it("ends with TIMEOUT when nobody answers, and ignores what comes later", async () => {
    const { system, clock } = fixture();
    let kept: Asker | undefined;
    const ref = system.spawnRoot("a", () => new Scripted(script()));
    const asked = system.ask(
      ref,
      run((_self, from) => {
        kept = from;
      }),
      100,
    );
    clock.advance(99);
    assert.equal(system.counters().pendingAsks, 1);
    clock.advance(1);
    kept?.answer("late");
    assert.equal(await codeOf(asked), "TIMEOUT");
    assert.equal(system.counters().askTimeouts, 1);
  });

  it("is bound by the deadline of its context too", async () => {
    const { system, clock } = fixture();
    const ref = system.spawnRoot("a", () => new Scripted(script()));
    const asked = system.ask(ref, "?", 1_000, { deadlineMs: clock.monotonicMs() + 10 });
    clock.advance(10);
    assert.equal(await codeOf(asked), "TIMEOUT");
  });

  it("is not processed once it has expired", async () => {
    const { system, clock } = fixture();
    const s = script();
    const ref = system.spawnRoot("a", () => new Scripted(s));
    const door = gate();
    ref.tell(run(() => door.promise));
    const asked = system.ask(ref, "question", 10);
    clock.advance(10);
    assert.equal(await codeOf(asked), "TIMEOUT");
    door.open();
    await clock.settle();
    assert.deepEqual(s.log, []);
    assert.equal(system.counters().deadLetters.expired, 1);
  });

  it("says NO_SUCH_ACTOR", async () => {
    const { system } = fixture();
    assert.equal(await codeOf(system.ask("dc1-a.k3f9/x" as Address, 1, 10)), "NO_SUCH_ACTOR");
  });

  it("says MAILBOX_FULL, to whom the policy turns away", async () => {
    for (const onFull of ["reject", "drop-newest", "drop-oldest"] as const) {
      const { system, clock } = fixture();
      const answer = (_: unknown, message: unknown, from: Asker | undefined) =>
        from?.answer(message);
      const s = script({ mailbox: { max: 1, onFull } }, { onReceive: answer });
      const ref = system.spawnRoot("a", () => new Scripted(s));
      const codes = [codeOf(system.ask(ref, 1, 100)), codeOf(system.ask(ref, 2, 100))];
      clock.runSoon();
      const expected = onFull === "drop-oldest" ? ["MAILBOX_FULL", "OK"] : ["OK", "MAILBOX_FULL"];
      assert.deepEqual(await Promise.all(codes), expected, onFull);
    }
  });

  it("says CRASHED for the message that did it, thrown or rejected", async () => {
    const { system, clock } = fixture();
    const s = script({ restart: "permanent" });
    const ref = system.spawnRoot("a", () => new Scripted(s));
    const thrown = run(() => {
      throw new Error("poison");
    });
    const rejected = run(() => Promise.reject(new Error("poison")));
    const codes = [
      codeOf(system.ask(ref, thrown, 5_000)),
      codeOf(system.ask(ref, rejected, 5_000)),
    ];
    await clock.advanceAndSettle(1_000);
    assert.deepEqual(await Promise.all(codes), ["CRASHED", "CRASHED"]);
  });

  it("says STOPPED when it waits in the mailbox of an actor that stops", async () => {
    const { system, clock } = fixture();
    const ref = system.spawnRoot("a", () => new Scripted(script()));
    ref.tell(run((self) => self.doStopSelf()));
    const waiting = codeOf(system.ask(ref, "waiting", 100));
    clock.runSoon();
    const after = codeOf(system.ask(ref, "after", 100));
    assert.deepEqual(await Promise.all([waiting, after]), ["STOPPED", "STOPPED"]);
  });

  it("says CRASHED when it waits in the mailbox of an actor that crashes for good", async () => {
    const { system, clock } = fixture();
    const ref = system.spawnRoot("a", () => new Scripted(script({ restart: "temporary" })));
    ref.tell(
      run(() => {
        throw new Error("poison");
      }),
    );
    const waiting = codeOf(system.ask(ref, "waiting", 100));
    clock.runSoon();
    assert.equal(await waiting, "CRASHED");
  });

  it("says UNREACHABLE without a bus", async () => {
    const { system } = fixture();
    assert.equal(await codeOf(system.ask("dc2-b.x/a" as Address, 1, 10)), "UNREACHABLE");
  });

  it("is refused beyond the bound on pending asks", async () => {
    const { system, clock } = fixture({ limits: { asksMax: 2 } });
    const ref = system.spawnRoot("a", () => new Scripted(script()));
    const codes = [1, 2, 3].map((n) => codeOf(system.ask(ref, n, 10)));
    clock.advance(10);
    assert.deepEqual(await Promise.all(codes), ["TIMEOUT", "TIMEOUT", "TOO_MANY_ASKS"]);
  });

  it("ends with STOPPED when the system stops, and at once after that", async () => {
    const { system, clock } = fixture();
    const ref = system.spawnRoot("a", () => new Scripted(script()));
    const kept = codeOf(
      system.ask(
        ref,
        run(() => {}),
        10_000,
      ),
    );
    clock.runSoon();
    const stopped = system.stop(1_000);
    await clock.settle();
    assert.equal(await stopped, true);
    assert.deepEqual([await kept, await codeOf(system.ask(ref, 1, 10))], ["STOPPED", "STOPPED"]);
  });

  it("lets an actor ask another while its own mailbox waits", async () => {
    const { system, clock } = fixture();
    const ref = system.spawnRoot("echo", echo);
    const s = script();
    const asking = system.spawnRoot("a", () => new Scripted(s));
    asking.tell(run(async (self) => void s.log.push(await self.doAsk(ref, "hi", 100))));
    asking.tell("next");
    await clock.settle();
    assert.deepEqual(s.log, [{ ok: true, value: "hi" }, "next"]);
  });
});
