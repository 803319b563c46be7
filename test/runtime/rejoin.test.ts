/** A node goes on as another incarnation while its actors run: what ends, and what does not. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Address } from "../../src/runtime/address.js";
import type { AskResult } from "../../src/runtime/envelope.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { fixture, run, Scripted, script } from "./fixture.js";
import { LocalBus } from "./local-bus.js";

const here = "dc1-a.k3f9/a" as Address;
const renamed = "dc1-a.m7d1/a" as Address;
const there = "dc1-b.x7/b" as Address;

/** Two nodes on one bus, an actor on each that logs what it is told. */
function pair() {
  const clock = new VirtualClock();
  const bus = new LocalBus(clock);
  const a = fixture({ clock, bus });
  const b = fixture({ clock, bus, nodeId: "dc1-b", incarnation: "x7" });
  const [onA, onB] = [script(), script()];
  const refA = a.system.spawnRoot("a", () => new Scripted(onA));
  const refB = b.system.spawnRoot("b", () => new Scripted(onB));
  clock.runSoon();
  return { clock, bus, a, b, onA, onB, refA, refB };
}

async function codeOf(asked: Promise<AskResult<unknown>>): Promise<string> {
  const result = await asked;
  return result.ok ? "OK" : result.code;
}

describe("a node that rejoins", () => {
  it("is heard under its new name alone, and its actors live on", () => {
    const { clock, bus, a, b, onA, refA } = pair();
    a.system.rejoin("m7d1");
    assert.equal(a.system.node, "dc1-a.m7d1");
    assert.equal(refA.address, renamed);
    assert.deepEqual(bus.subjects, ["node.dc1-b.x7.actors", "node.dc1-a.m7d1.actors"]);
    b.system.tell(here, "to the former name");
    b.system.tell(renamed, "to the new name");
    clock.runSoon();
    assert.deepEqual(onA.log, ["to the new name"]);
    assert.equal(onA.instances, 1);
  });

  it("keeps what its actors tell each other off the bus, by the new name", () => {
    const { clock, bus, a, onA } = pair();
    a.system.rejoin("m7d1");
    a.system.tell(renamed, "local");
    clock.runSoon();
    assert.deepEqual(onA.log, ["local"]);
    assert.equal(bus.published.length, 0);
    assert.notEqual(a.system.find(renamed), undefined);
    assert.equal(a.system.find(here), undefined);
  });

  it("makes what it tells its former name a dead letter, and sends nothing there", async () => {
    const { clock, bus, a, onA } = pair();
    a.system.rejoin("m7d1");
    a.system.tell(here, "to itself as it was");
    assert.equal(await codeOf(a.system.ask(here, "anybody", 1_000)), "UNREACHABLE");
    clock.runSoon();
    assert.deepEqual(onA.log, []);
    assert.equal(bus.published.length, 0);
    assert.equal(a.system.counters().deadLetters.unreachable, 2);
  });

  it("discards what it had not sent, and counts it", () => {
    const { clock, bus, a, onB } = pair();
    for (const n of [1, 2, 3]) a.system.tell(there, n);
    a.system.rejoin("m7d1");
    clock.runSoon();
    assert.deepEqual(onB.log, []);
    assert.equal(bus.published.length, 0);
    assert.equal(a.system.counters().deadLetters.unreachable, 3);
    assert.equal(a.system.counters().pendingOutboxEntries, 0);
    a.system.tell(there, 4);
    clock.runSoon();
    assert.deepEqual(onB.log, [4]);
  });

  it("ends its asks to other nodes at once, not those to itself, and takes no late answer", async () => {
    const { clock, a, onA, onB } = pair();
    onA.onReceive = (_self, _message, from) => void clock.after(10, () => from?.answer("own"));
    onB.onReceive = (_self, _message, from) => void clock.after(10, () => from?.answer("late"));
    const remote = a.system.ask(there, "?", 1_000);
    const local = a.system.ask(here, "?", 1_000);
    clock.runSoon();
    a.system.rejoin("m7d1");
    assert.equal(await codeOf(remote), "UNREACHABLE");
    await clock.advanceAndSettle(20);
    assert.deepEqual(await local, { ok: true, value: "own" });
    assert.equal(a.system.counters().pendingAsks, 0);
  });

  it("tells who watched on other nodes, forgets who watched from there, keeps its own", () => {
    const { clock, a, b, onA, onB, refA, refB } = pair();
    const watched = a.system.spawnRoot("watched", () => new Scripted(script()));
    refA.tell(run((self) => self.doWatch(there)));
    refA.tell(run((self) => self.doWatch(watched)));
    refB.tell(run((self) => self.doWatch(here)));
    clock.runSoon();
    a.system.rejoin("m7d1");
    clock.runSoon();
    assert.deepEqual(onA.log, [{ kind: "Terminated", address: there, reason: "unreachable" }]);
    assert.equal(a.system.counters().watches, 1);
    watched.tell(run((self) => self.doStopSelf()));
    clock.runSoon();
    const own = { kind: "Terminated", address: "dc1-a.m7d1/watched", reason: "normal" };
    assert.deepEqual(onA.log[1], own);
    b.system.nodeGone("dc1-a.k3f9");
    clock.runSoon();
    assert.deepEqual(onB.log, [{ kind: "Terminated", address: here, reason: "unreachable" }]);
    assert.equal(b.system.counters().watches, 0);
  });

  it("may be told so by an actor in its turn", () => {
    const { clock, a, onA, refA } = pair();
    refA.tell(
      run((self) => {
        self.doSystem.rejoin("m7d1");
        self.doSystem.tell(self.address, "still here");
      }),
    );
    clock.runSoon();
    assert.deepEqual(onA.log, ["still here"]);
    assert.equal(a.crashes.length, 0);
  });

  it("takes a new incarnation, not its own once more", () => {
    const { a } = pair();
    assert.throws(() => a.system.rejoin("k3f9"));
  });

  it("listens no more when it has stopped", async () => {
    const { clock, bus, a } = pair();
    const stopped = a.system.stop(1_000);
    await clock.settle();
    assert.equal(await stopped, true);
    a.system.rejoin("m7d1");
    assert.deepEqual(bus.subjects, ["node.dc1-b.x7.actors"]);
  });
});
