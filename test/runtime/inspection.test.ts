import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Address } from "../../src/runtime/address.js";
import { fixture, gate, run, Scripted, script } from "./fixture.js";

function tree() {
  const f = fixture();
  const leaf = script({ name: "leaf", mailbox: { max: 7, onFull: "reject" } });
  const middle = script({ name: "middle" }, { children: () => new Scripted(leaf) });
  const top = script({ name: "top" }, { children: () => new Scripted(middle) });
  const ref = f.system.spawnRoot("top", () => new Scripted(top));
  ref.tell(run((self) => self.doSpawnAll(3)));
  f.clock.runSoon();
  f.system.tell(
    "dc1-a.k3f9/top/0" as Address,
    run((self) => self.doSpawn("leaf")),
  );
  f.clock.runSoon();
  return { ...f, ref };
}

describe("inspection", () => {
  it("shows the tree down to a depth, with so many children of each", () => {
    const { system } = tree();
    const [top] = system.inspectTree(2, 2).children;
    assert.deepEqual(top?.childCounts, { middle: 3 });
    assert.deepEqual(
      top?.children.map((child) => child.key),
      [0, 1],
    );
    assert.deepEqual(top?.children[0]?.childCounts, { leaf: 1 });
    assert.deepEqual(top?.children[0]?.children, []);
    assert.equal(system.inspectTree(3, 2).children[0]?.children[0]?.children[0]?.kind, "leaf");
  });

  it("shows state, mailbox and counts of one actor, and what it says itself", () => {
    const { system, clock } = tree();
    const address = "dc1-a.k3f9/top/0/leaf" as Address;
    system.tell(
      address,
      run(() => gate().promise),
    );
    for (let at = 0; at < 4; at++) system.tell(address, at);
    clock.runSoon();
    assert.deepEqual(system.inspectActor(address), {
      key: "leaf",
      kind: "leaf",
      state: "live",
      mailbox: 4,
      mailboxMax: 7,
      processed: 1,
      restarts: 0,
      address,
      childCounts: {},
      timers: 0,
      detail: { instance: 1 },
    });
    assert.equal(system.inspectActor("dc1-a.k3f9/nobody" as Address), undefined);
  });

  it("counts processed messages as far as a million, and stays there", () => {
    const { system, clock, ref } = tree();
    const before = system.inspectActor(ref)?.processed ?? 0;
    ref.tell(1);
    clock.runSoon();
    assert.equal(system.inspectActor(ref)?.processed, before + 1);
    for (let round = 0; round < 11_000; round++) {
      for (let at = 0; at < 100; at++) ref.tell(run(() => {}));
      clock.runSoon();
    }
    assert.equal(system.inspectActor(ref)?.processed, 1_048_575);
    assert.equal(system.inspectActor(ref)?.state, "live");
  });

  it("survives an actor whose inspect throws", () => {
    const { system } = fixture();
    class Shy extends Scripted {
      override inspect(): Record<string, unknown> {
        throw new Error("not today");
      }
    }
    const ref = system.spawnRoot("shy", () => new Shy(script()));
    assert.deepEqual(system.inspectActor(ref)?.detail, { inspectFailed: "Error: not today" });
  });

  it("counts what happened, and what waits", () => {
    const { system, ref } = tree();
    ref.tell(1);
    void system.ask(ref, 2, 100);
    const counters = system.counters();
    assert.equal(counters.runQueue, 1);
    assert.equal(counters.pendingAsks, 1);
    assert.equal(counters.timers, 1);
    assert.equal(counters.spawned, 5);
    assert.equal(counters.tellsLocal, 4);
    assert.equal(system.runQueueLength, 1);
  });
});

describe("an idle actor", () => {
  it("is one object with six fields of the runtime, none of them holding anything", async () => {
    const { system, clock, ref } = tree();
    const address = "dc1-a.k3f9/top/1" as Address;
    for (let at = 0; at < 20; at++) system.tell(address, at);
    const asked = system.ask(
      address,
      run(async (_self, from) => from?.answer(1)),
      10,
    );
    await clock.advanceAndSettle(10);
    assert.deepEqual(await asked, { ok: true, value: 1 });
    assert.equal(ref.address, "dc1-a.k3f9/top");
    const idle = (system.find("top/2") as unknown as { cell: Record<string, unknown> }).cell;
    const own = Object.keys(idle).filter((field) => field.startsWith("_"));
    assert.deepEqual(own, ["_parent", "_key", "_mailbox", "_flags", "_ref", "_extras"]);
    const used = (system.find(address) as unknown as { cell: Record<string, unknown> }).cell;
    assert.equal(used["_mailbox"], undefined);
    assert.equal(used["_extras"], undefined);
    assert.equal(clock.pendingTimers, 0);
  });
});
