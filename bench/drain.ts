/**
 * A node gives all of its 1,024 shards to three others while 5,000 connected users of
 * those shards are pushed to. `longest_gap_ms` is the longest that any user was without
 * service: between two answers of those that are asked every few milliseconds, or from
 * due to answered of any request of the load over all of them.
 *
 *   BENCH_USERS=n   connected users (5,000); the load is in proportion
 */
import { setTimeout as delay } from "node:timers/promises";
import {
  followerNames,
  shardsOf,
  untilBalanced,
  usersAmong,
} from "../test/support/placement-state.js";
import { figureOf } from "./harness/figures.js";
import { latencyLine } from "./harness/latency.js";
import { bench, type Figures, note } from "./harness/report.js";
import { ConnectedLoad, type LoadCounts } from "./load/connected-load.js";
import { drainNode } from "./load/drain-node.js";
import { BelfryUnderLoad } from "./load/system-under-load.js";

const nodes = ["a", "b", "c", "d"];
const users = Number(process.env["BENCH_USERS"] ?? 5_000);
/** Of 5,000: 1,000 a second over all of them, and 40 of them asked 50 times a second each. */
const shape = { perSecond: users / 5, steadyUsers: Math.ceil(users / 125), steadyEveryMs: 20 };
const warmMs = 3_000;
/** Measured alike, with nothing moving. */
const restMs = 5_000;
const afterMs = 2_000;
const boundMs = 240_000;

await bench("drain", boundMs, async () => {
  await using belfry = await BelfryUnderLoad.start(undefined, nodes);
  const { platform } = belfry;
  await untilBalanced(platform);
  const [victim = ""] = await followerNames(platform);
  const shards = await shardsOf(platform, victim);
  const uids = usersAmong(shards, users, "u");
  await using load = await ConnectedLoad.start(belfry, uids, shape);
  note(`${users} users of ${victim}'s ${shards.size} shards are connected`);
  await delay(warmMs);
  const gapAtRestMs = await longestGap("at rest", load, () => delay(restMs));
  let drainMs = 0;
  const gapMs = await longestGap("drain", load, async () => {
    const startMs = performance.now();
    await drainNode(platform, victim);
    drainMs = performance.now() - startMs;
    await delay(afterMs);
  });
  const counts = await load.settle();
  noteCounts(counts);
  const left = await load.left();
  if (left > 0) throw new Error(`${left} messages are delivered, acked and still stored`);
  return figuresOf({ gapMs, gapAtRestMs, drainMs }, counts);
});

async function longestGap(
  what: string,
  load: ConnectedLoad,
  during: () => Promise<void>,
): Promise<number> {
  await load.mark();
  await during();
  const { publisher, steady } = await load.counts();
  note(
    `${what}: longest between two answers to one user ${steady.longestGapMs.toFixed(0)} ms, ` +
      `longest request ${Math.max(steady.longestRequestMs, publisher.longestAnswerMs).toFixed(0)} ms`,
  );
  note(`  to the devices: ${latencyLine(await load.latencies())}`);
  return Math.max(steady.longestGapMs, publisher.longestAnswerMs);
}

function noteCounts({ publisher, clients, steady }: LoadCounts): void {
  const accepted = publisher.accepted + steady.accepted;
  note(`${publisher.sent + steady.sent} requests, ${accepted} ok, ${clients.unique} shown`);
  note(`${clients.frameErrors} breaks in the chain, asked for again`);
  if (publisher.refused > 0) note(`first refusal: ${publisher.firstRefusal}`);
  if (steady.failed > 0) note(`first failure: ${steady.firstFailure}`);
  if (clients.lost > 0) note(`first socket lost: ${clients.firstLoss}`);
}

function figuresOf(
  times: { readonly gapMs: number; readonly gapAtRestMs: number; readonly drainMs: number },
  { publisher, clients, steady }: LoadCounts,
): Figures {
  const ms = { unit: "ms", better: "lower" } as const;
  const pushes = { unit: "pushes", better: "lower", goal: 0 } as const;
  const requests = { unit: "requests", better: "lower", goal: 0 } as const;
  const accepted = publisher.accepted + steady.accepted;
  const failed = publisher.refused + publisher.inFlight + steady.failed;
  return {
    longest_gap_ms: figureOf(times.gapMs, { ...ms, goal: 200 }),
    longest_gap_at_rest_ms: figureOf(times.gapAtRestMs, ms),
    drain_ms: figureOf(times.drainMs, ms),
    failed_requests: figureOf(failed, requests),
    // Exact while none failed: what failed may be shown all the same.
    lost: figureOf(Math.max(0, accepted - clients.unique), pushes),
    duplicates: figureOf(clients.doubled, pushes),
    out_of_order: figureOf(clients.outOfOrder, pushes),
    connections_lost: figureOf(clients.lost, { unit: "connections", better: "lower" }),
  };
}
