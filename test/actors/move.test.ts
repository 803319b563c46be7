/**
 * Groups move between nodes on virtual time while publishers, who know nothing of it,
 * send requests and plain publishes: none lost, none doubled, each publisher's order kept.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type BenchNode, MoveBench, type Sent, unitOf } from "../support/move-bench.js";

const publisherCount = 3;

/** Users of one unit, so that each move concerns them all. */
const users = usersOf(unitOf("u0"), 4);
const unit = unitOf("u0");

function usersOf(wanted: number, count: number): string[] {
  const found: string[] = [];
  for (let index = 0; found.length < count; index++) {
    if (unitOf(`u${index}`) === wanted) found.push(`u${index}`);
  }
  return found;
}

const scenario = fc.record({
  delays: fc.array(fc.integer({ min: 0, max: 8 }), { minLength: 2, maxLength: 2 }),
  watchDelays: fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 2, maxLength: 2 }),
  /** Of each node's server from that of the publishers; 0: the same. */
  routes: fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 2, maxLength: 2 }),
  publisherDelays: fc.array(fc.integer({ min: 0, max: 8 }), {
    minLength: publisherCount,
    maxLength: publisherCount,
  }),
  pushes: fc.array(
    fc.record({
      publisher: fc.integer({ min: 0, max: publisherCount - 1 }),
      user: fc.integer({ min: 0, max: users.length - 1 }),
      isRequest: fc.boolean(),
      pauseMs: fc.integer({ min: 0, max: 4 }),
    }),
    { minLength: 150, maxLength: 300 },
  ),
  moveEveryMs: fc.integer({ min: 0, max: 150 }),
  /** For tests with a death: how long after the move began. */
  deathMs: fc.integer({ min: 0, max: 150 }),
});

type Scenario = typeof scenario extends fc.Arbitrary<infer Value> ? Value : never;

async function start({ delays, watchDelays, routes, publisherDelays }: Scenario) {
  const bench = new MoveBench();
  const a = bench.addNode("a", delays[0] ?? 0, watchDelays[0] ?? 0, routes[0] ?? 0);
  const b = bench.addNode("b", delays[1] ?? 0, watchDelays[1] ?? 0, routes[1] ?? 0);
  for (const [publisher, delayMs] of publisherDelays.entries()) {
    bench.addPublisher(publisher, delayMs);
  }
  bench.give(unit, a);
  await bench.clock.advanceAndSettle(100);
  return { bench, a, b };
}

/** Publishes as the scenario says; `step` runs before each push. */
async function publishAll(bench: MoveBench, { pushes }: Scenario, step: () => void) {
  for (const { publisher, user, isRequest, pauseMs } of pushes) {
    step();
    bench.publish(publisher, users[user] as string, isRequest);
    await bench.clock.advanceAndSettle(pauseMs);
  }
}

interface Body {
  readonly publisher: number;
  readonly n: number;
}

/** Nothing twice, each publisher's in its order, and what was answered `ok` is there. */
async function checkStored(bench: MoveBench): Promise<Map<string, number[]>> {
  const numbers = new Map<string, number[]>();
  for (const user of users) {
    const bodies = (await bench.stored(user)) as Body[];
    for (let publisher = 0; publisher < publisherCount; publisher++) {
      const own = bodies.filter((body) => body.publisher === publisher).map((body) => body.n);
      const sorted = [...new Set(own)].sort((x, y) => x - y);
      assert.deepEqual(own, sorted, "in order, none twice");
    }
    numbers.set(
      user,
      bodies.map((body) => body.n),
    );
  }
  for (const sent of bench.sent) {
    const isStored = numbers.get(sent.uid)?.includes(sent.n) === true;
    if (sent.answers[0]?.ok) assert.ok(isStored, "what was answered ok is stored");
  }
  return numbers;
}

/** Every push that was sent is stored, and every request was answered ok, once. */
async function checkNoneLost(bench: MoveBench): Promise<void> {
  const numbers = await checkStored(bench);
  for (const sent of bench.sent) {
    assert.ok(numbers.get(sent.uid)?.includes(sent.n), `push ${sent.n} is stored`);
    checkAnswered(sent);
  }
}

function checkAnswered({ n, isRequest, answers }: Sent): void {
  const codes = answers.map((answer) => (answer.ok ? "ok" : answer.code));
  assert.deepEqual(codes, isRequest ? ["ok"] : [], `push ${n}`);
}

/** Moves the unit to and fro, each time when the last move is done and a while has passed. */
function mover(bench: MoveBench, nodes: readonly BenchNode[], everyMs: number) {
  let owner = 0;
  let lastMs = bench.clock.monotonicMs();
  const moves = { count: 0 };
  const step = () => {
    const nowMs = bench.clock.monotonicMs();
    if (bench.isMoving(unit) || nowMs - lastMs < everyMs) return;
    owner = 1 - owner;
    lastMs = nowMs;
    moves.count++;
    bench.move(unit, nodes[owner] as BenchNode);
  };
  return { step, moves };
}

/**
 * What the old owner has when it announces a move left the publishers' server its link and
 * route ago; the announcement crosses both links, the new owner's interest its link and route.
 */
function unsureMs({ delays: [toA = 0, toB = 0], routes: [routeA = 0, routeB = 0] }: Scenario) {
  return toA + routeA + (toA + toB) + (toB + routeB);
}

const steady = Array.from({ length: 150 }, (_, n) => {
  return { publisher: n % publisherCount, user: 0, isRequest: false, pauseMs: 1 };
});

/**
 * The new owner has stored what servers still send to the old one, which subscribes again
 * meanwhile: when it has just handed over, later, and before it knows that it has.
 */
const diesAfterHandOver: [Scenario][] = [
  { delays: [0, 0], watchDelays: [0, 0], routes: [16, 0], deathMs: 52 },
  { delays: [2, 0], watchDelays: [4, 3], routes: [18, 2], deathMs: 89 },
  { delays: [8, 0], watchDelays: [0, 0], routes: [16, 0], deathMs: 91 },
].map((given) => [{ ...given, publisherDelays: [0, 0, 0], pushes: steady, moveEveryMs: 0 }]);

const quietMs = 5_000;

describe("a group that moves", () => {
  test("loses, doubles and disorders nothing on its way to and fro", async (t) => {
    let moveCount = 0;
    let longestMs = 0;
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const { bench, a, b } = await start(given);
        const { step, moves } = mover(bench, [a, b], given.moveEveryMs);
        await publishAll(bench, given, step);
        await bench.clock.advanceAndSettle(quietMs);
        await checkNoneLost(bench);
        assert.deepEqual(bench.crashes, []);
        moveCount += moves.count;
        for (const { isRequest, sentMs, answeredMs } of bench.sent) {
          if (isRequest) longestMs = Math.max(longestMs, answeredMs - sentMs);
        }
      }),
      { numRuns: 25 },
    );
    assert.ok(moveCount > 25, "there were moves");
    t.diagnostic(`${moveCount} moves, the longest request took ${longestMs} ms of virtual time`);
  });

  // It took what servers sent that did not know yet that it had left, and served it again.
  test("comes back at once, without what still comes for its former stay", async () => {
    const quick = { delays: [0, 0], watchDelays: [0, 0], publisherDelays: [0, 0, 0] };
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const hasty = { ...given, ...quick, routes: [20, 0], moveEveryMs: 0 };
        const { bench, a, b } = await start(hasty);
        const { step } = mover(bench, [a, b], 0);
        await publishAll(bench, hasty, step);
        await bench.clock.advanceAndSettle(quietMs);
        await checkNoneLost(bench);
      }),
      { numRuns: 5 },
    );
  });

  test("counts pushes that are the same to the byte", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const { bench, b } = await start(given);
        const user = users[0] as string;
        bench.move(unit, b);
        for (let count = 0; count < 100; count++) {
          bench.publish(0, user, false, "tick");
          await bench.clock.advanceAndSettle(2);
        }
        await bench.clock.advanceAndSettle(quietMs);
        // Plain publishes of one user that are the same to the byte are the only ones that a
        // move may miscount: by what was sent between the last of what the old owner had when
        // it announced the move, and the subscription of the new one.
        const lost = 100 - (await bench.stored(user)).length;
        const most = Math.floor(unsureMs(given) / 2) + 1;
        assert.ok(lost >= 0 && lost <= most, `${lost} lost, of ${most} at most`);
      }),
      { numRuns: 10 },
    );
  });

  test("counts those exactly that came before the new owner can have subscribed", async () => {
    const quick = { delays: [0, 0], watchDelays: [0, 40], routes: [], publisherDelays: [0] };
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const { bench, b } = await start({ ...given, ...quick });
        bench.move(unit, b);
        for (let count = 0; count < 100; count++) {
          bench.publish(0, users[0] as string, false, "tick");
          await bench.clock.advanceAndSettle(2);
        }
        await bench.clock.advanceAndSettle(quietMs);
        assert.equal((await bench.stored(users[0] as string)).length, 100);
      }),
      { numRuns: 1 },
    );
  });

  test("loses nothing when each chunk, and each answer to one, is lost once", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const { bench, a, b } = await start(given);
        loseOnce(a, b);
        bench.move(unit, b);
        await publishAll(bench, given, () => {});
        await bench.clock.advanceAndSettle(quietMs);
        await checkNoneLost(bench);
        assert.equal(bench.isMoving(unit), false);
      }),
      { numRuns: 10 },
    );
  });

  test("ends what is in its mailboxes when it is told to move amid a burst", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, fc.integer({ min: 1, max: 2_999 }), async (given, instant) => {
        const { bench, a, b } = await start(given);
        let arrived = 0;
        a.bus.onArrival = (subject) => {
          if (subject.startsWith("shard.") && ++arrived === instant) bench.moveAtOnce(unit, b);
        };
        for (let n = 0; n < 3_000; n++) {
          bench.publish(n % publisherCount, users[n % users.length] as string, n % 2 === 0);
        }
        await bench.clock.advanceAndSettle(quietMs);
        assert.equal(bench.isMoving(unit), false);
        await checkNoneLost(bench);
      }),
      { numRuns: 10 },
    );
  });

  test("serves no push again that a new owner, now dead, may have served unheard", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        // A death is noticed later than any route takes; here it is at once.
        const { bench, a, b } = await start({ ...given, routes: [] });
        let isUnheard = false;
        b.bus.onArrival = (_subject, payload) => {
          if (!isTakeOver(payload) || isUnheard) return;
          isUnheard = true;
          bench.clock.after(given.deathMs, () => {
            bench.kill(b);
            bench.give(unit, a);
          });
        };
        b.bus.mayPass = (subject) => !isUnheard || !subject.includes(a.nodeId);
        bench.move(unit, b);
        await checkAfterDeath(bench, given);
        assert.ok(isUnheard, "there was a chunk");
      }),
      { numRuns: 25 },
    );
  });

  test("is served by its old owner again when the new one dies on the way", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const { bench, a, b } = await start(given);
        bench.move(unit, b);
        bench.clock.after(given.deathMs, () => {
          bench.kill(b);
          bench.give(unit, a);
        });
        await checkAfterDeath(bench, given);
      }),
      { numRuns: 25, examples: diesAfterHandOver },
    );
  });

  test("is served by its new owner when the old one dies on the way", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const { bench, a, b } = await start(given);
        bench.move(unit, b);
        bench.clock.after(given.deathMs, () => bench.kill(a));
        await checkAfterDeath(bench, given);
        assert.equal(bench.isMoving(unit), false);
      }),
      { numRuns: 25 },
    );
  });
});

/** A death may lose what it had in hand, but doubles and disorders nothing, and passes. */
async function checkAfterDeath(bench: MoveBench, given: Scenario): Promise<void> {
  await publishAll(bench, given, () => {});
  await bench.clock.advanceAndSettle(quietMs);
  const late = users.map((user) => bench.publish(0, user, true));
  await bench.clock.advanceAndSettle(quietMs);
  for (const sent of late) checkAnswered(sent);
  await checkStored(bench);
}

function isTakeOver(payload: Uint8Array): boolean {
  return Buffer.from(payload).includes("TakeOver");
}

/** The first TakeOver that `from` sends is lost, and so is the answer to the next one. */
function loseOnce(from: BenchNode, to: BenchNode): void {
  let isFirst = true;
  from.bus.mayPass = (_subject, payload) => {
    if (!isTakeOver(payload) || !isFirst) return true;
    isFirst = false;
    return false;
  };
  let answersToLose = 0;
  let answersLost = 0;
  to.bus.onArrival = (_subject, payload) => {
    if (isTakeOver(payload) && answersLost === 0) answersToLose = 1;
  };
  to.bus.mayPass = (subject) => {
    if (answersToLose === 0 || !subject.includes(from.nodeId)) return true;
    answersToLose = 0;
    answersLost++;
    return false;
  };
}
