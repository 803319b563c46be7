/**
 * Random trees doing random things with a seed, several seeds: after each, the
 * books must balance. A failing seed becomes a test of its own.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Random } from "../../src/base/random.js";
import { Actor } from "../../src/runtime/actor.js";
import type { ActorKey, Address } from "../../src/runtime/address.js";
import type { Asker } from "../../src/runtime/envelope.js";
import type { TreeReport } from "../../src/runtime/inspection.js";
import type {
  ActorKind,
  OverflowPolicy,
  RestartPolicy,
  SupervisionStrategy,
} from "../../src/runtime/kind.js";
import { ActorSystem } from "../../src/runtime/system.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { LocalBus } from "./local-bus.js";

/** mulberry32. */
function seeded(seed: number): Random {
  let state = seed;
  return {
    next: () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
    },
  };
}

interface World {
  readonly random: Random;
  readonly clock: VirtualClock;
  readonly nodes: readonly string[];
  readonly kinds: readonly ActorKind[];
  /** Last number that each target saw from each stream; only ever grows. */
  readonly lastSeen: Map<string, number>;
  processed: number;
  overlaps: number;
  disorders: number;
  asked: number;
  ended: number;
  started: number;
  stopped: number;
}

interface Act {
  readonly kind: "Act";
  readonly stream: string;
  readonly n: number;
}

const pick = <T>(random: Random, from: readonly T[]): T =>
  from[Math.floor(random.next() * from.length)] as T;

class Monkey extends Actor<Act> {
  private busy = false;

  constructor(
    private readonly world: World,
    private readonly ownKind: ActorKind,
    private readonly depth: number,
  ) {
    super();
  }

  get kind(): ActorKind {
    return this.ownKind;
  }

  protected override createChild(key: ActorKey): Actor {
    const { world } = this;
    if (this.depth > 0 && world.random.next() < 0.01) throw new Error("no child today");
    return new Monkey(
      world,
      world.kinds[Number(key) % world.kinds.length] as ActorKind,
      this.depth + 1,
    );
  }

  protected override started(): void | Promise<void> {
    this.world.started++;
    return this.sometimes(0.1);
  }

  protected override stopping(): void | Promise<void> {
    this.world.stopped++;
    return this.sometimes(0.1);
  }

  receive(message: Act, from: Asker | undefined): void | Promise<void> {
    const { world } = this;
    if (this.busy) world.overlaps++;
    if (message.kind !== "Act") return;
    world.processed++;
    const stream = `${message.stream}>${this.address}`;
    if ((world.lastSeen.get(stream) ?? -1) >= message.n) world.disorders++;
    world.lastSeen.set(stream, message.n);
    if (world.random.next() < 0.7) from?.answer(message.n);
    this.act();
    return this.sometimes(0.1);
  }

  private act(): void {
    const { random } = this.world;
    const key = Math.floor(random.next() * 4);
    const dice = random.next();
    if (dice < 0.3 && this.depth < 3 && !this.hasChild(key)) this.spawn(key);
    else if (dice < 0.33) this.stopChild(key);
    else if (this.depth === 0) return;
    else if (dice < 0.37) this.stopSelf();
    else if (dice < 0.42)
      this.timer(random.next() * 50, { kind: "Act", stream: "t", n: 0 }).cancel();
    else if (dice < 0.47) this.watch(randomAddress(this.world));
    else if (dice < 0.55) throw new Error("monkey");
  }

  /** An awaited turn of random length, which may reject. */
  private sometimes(chance: number): void | Promise<void> {
    const { random, clock } = this.world;
    if (this.depth === 0 || random.next() > chance) return;
    this.busy = true;
    const fails = random.next() < 0.1;
    return new Promise((resolve, reject) => {
      clock.after(random.next() * 60, () => {
        this.busy = false;
        if (fails) reject(new Error("late monkey"));
        else resolve();
      });
    });
  }
}

function randomAddress(world: World): Address {
  const { random } = world;
  let path = "root";
  while (random.next() < 0.75 && path.length < 10) path += `/${Math.floor(random.next() * 4)}`;
  return `${pick(random, world.nodes)}/${path}` as Address;
}

function pickStrategy(random: Random): SupervisionStrategy {
  return pick(random, ["one-for-one", "one-for-all", "rest-for-one"] as const);
}

function randomKinds(random: Random): ActorKind[] {
  return Array.from(
    { length: 6 },
    (_, at): ActorKind => ({
      name: `k${at}`,
      mailbox: {
        max: 1 + Math.floor(random.next() * 8),
        onFull: pick<OverflowPolicy>(random, ["reject", "drop-oldest", "drop-newest"]),
      },
      restart: pick<RestartPolicy>(random, ["permanent", "transient", "temporary"]),
      strategy: pickStrategy(random),
      quantum: 1 + Math.floor(random.next() * 10),
      stopDeadlineMs: 40,
      backoff: { baseMs: 5, capMs: 20 },
      intensity: { restarts: 8, withinMs: 1_000 },
      ...(random.next() < 0.5 && { passivateAfterMs: 30 }),
    }),
  );
}

async function runSeed(seed: number): Promise<string> {
  const random = seeded(seed);
  const clock = new VirtualClock();
  const bus = new LocalBus(clock, 4_096);
  const nodes = ["n-a.1", "n-b.1"];
  const world: World = {
    random,
    clock,
    nodes,
    kinds: randomKinds(random),
    lastSeen: new Map(),
    processed: 0,
    overlaps: 0,
    disorders: 0,
    asked: 0,
    ended: 0,
    started: 0,
    stopped: 0,
  };
  const systems = nodes.map((node) => {
    const [nodeId = "", incarnation = ""] = node.split(".");
    return new ActorSystem({ nodeId, incarnation, clock, random, bus, limits: { loopBudget: 50 } });
  });
  const rootKind: ActorKind = {
    name: "root",
    mailbox: { max: 50, onFull: "reject" },
    restart: "permanent",
    strategy: pickStrategy(random),
    intensity: { restarts: 1_000_000, withinMs: 1_000 },
    backoff: { baseMs: 5, capMs: 20 },
    stopDeadlineMs: 200,
  };
  for (const system of systems) {
    system.spawnRoot("root", () => new Monkey(world, rootKind, 0));
  }
  let n = 0;
  for (let round = 0; round < 150; round++) {
    for (const [at, system] of systems.entries()) {
      const act = (): Act => ({ kind: "Act", stream: `s${at}`, n: n++ });
      for (let tells = 0; tells < 20; tells++) system.tell(randomAddress(world), act());
      world.asked++;
      void system.ask(randomAddress(world), act(), random.next() * 100).then(() => world.ended++);
    }
    await clock.advanceAndSettle(random.next() * 30);
  }
  // Nobody stays between two instances, or half stopped, once it is quiet.
  await clock.advanceAndSettle(30_000);
  for (const system of systems) assert.deepEqual(statesOf(system.inspectTree(9, 9)), ["live"]);
  await Promise.all([
    ...systems.map((system) => system.stop(60_000)),
    clock.advanceAndSettle(60_000),
  ]);
  check(world, systems);
  return JSON.stringify([world.processed, systems.map((system) => system.counters())]);
}

function statesOf(report: TreeReport): string[] {
  return [...new Set([report.state, ...report.children.flatMap(statesOf)])];
}

function check(world: World, systems: readonly ActorSystem[]): void {
  assert.equal(world.overlaps, 0, "two turns of one actor overlapped");
  assert.equal(world.disorders, 0, "messages of one sender to one actor changed their order");
  assert.equal(world.ended, world.asked, "an ask did not end");
  assert.ok(world.processed > 500, `only ${world.processed} messages were processed`);
  let abandoned = 0;
  for (const system of systems) abandoned += system.counters().abandoned;
  const unstopped = world.started - world.stopped;
  assert.ok(unstopped >= 0 && unstopped <= abandoned, `${unstopped} never stopped`);
  for (const system of systems) {
    const counters = system.counters();
    assert.equal(counters.pendingAsks, 0);
    assert.equal(counters.runQueue, 0);
    assert.equal(counters.watches, 0);
    // The system's own root stops too.
    assert.equal(counters.stopped, counters.spawned + 1, "an actor is lost");
    assert.deepEqual(system.inspectTree(1, 10).children, []);
    assert.ok(counters.crashes > 0);
  }
  assert.equal(world.clock.pendingTimers, 0, "a timer outlived its system");
}

describe("a random tree on two nodes", () => {
  for (let seed = 1; seed <= 12; seed++) {
    it(`balances its books (seed ${seed}), the same way twice`, async () => {
      assert.equal(await runSeed(seed), await runSeed(seed));
    });
  }
});
