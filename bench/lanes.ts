/**
 * A lane with a backlog drains into the inboxes of many users, while a device is pushed to
 * on `high`. `drain_vs_empty` compares its rate with that of a small batch in the same lane
 * when it was empty: both from a tenth drained to nine tenths, with the same load on `high`,
 * and after a batch that is not measured, so that sessions are there and the bound on what
 * is in flight has come to where it stays.
 *
 *   BENCH_BACKLOG=n   messages (1,000,000)
 */
import { setTimeout as delay } from "node:timers/promises";
import { NatsLanes } from "../src/drivers/nats-lanes.js";
import { packValue } from "../src/protocol/codec.js";
import { laneUserSubject } from "../src/protocol/lanes.js";
import { LaneService, setWorkers } from "../test/support/lane-load.js";
import { app, type Platform, startPlatform } from "../test/support/platform.js";
import { until } from "../test/support/until.js";
import { figureOf } from "./harness/figures.js";
import { latencyLine } from "./harness/latency.js";
import { bench, note } from "./harness/report.js";
import { UrgentLoad } from "./load/urgent-load.js";

const backlog = Number(process.env["BENCH_BACKLOG"] ?? 1_000_000);
const fresh = Math.min(50_000, backlog);
const users = 20_000;
const workers = 2_048;
const boundMs = 1_200_000;
const body = "x".repeat(100);
const lane = "normal";

await bench("lanes", boundMs, async () => {
  await using platform = await startPlatform({ nodes: ["a"] });
  await using service = await LaneService.connect(platform);
  const lanes = await NatsLanes.open(platform.link);
  const scene = { platform, service, lanes };
  const urgent = await UrgentLoad.start(platform, service);
  const warm = await drain(scene, Math.max(users, fresh));
  urgent.summary();
  const empty = await drain(scene, fresh);
  const highOnEmpty = urgent.summary();
  note(`${fresh} in an empty lane: ${empty.toFixed(0)}/s, ${warm.toFixed(0)}/s before that`);
  note(`on high meanwhile and while it was filled: ${latencyLine(highOnEmpty)}`);
  await fill(scene, backlog);
  urgent.summary();
  const rate = await empties(scene, backlog);
  const high = urgent.summary();
  await urgent.stop();
  note(`${backlog}: ${rate.toFixed(0)}/s; on high meanwhile: ${latencyLine(high)}`);
  const dead = (await lanes.figures(lane))?.deadLetters ?? Number.NaN;
  return {
    backlog: figureOf(backlog, { unit: "messages", better: "higher" }),
    drain_vs_empty: figureOf(rate / empty, { unit: "ratio", better: "higher", goal: 0.9 }),
    drain_per_s: figureOf(rate, { unit: "messages/s", better: "higher" }),
    empty_per_s: figureOf(empty, { unit: "messages/s", better: "higher" }),
    high_p50_ms: figureOf(high.p50Ms, { unit: "ms", better: "lower" }),
    high_p99_ms: figureOf(high.p99Ms, { unit: "ms", better: "lower", goal: 100 }),
    high_pushes: figureOf(high.count, { unit: "messages", better: "higher" }),
    dead_letters: figureOf(dead, { unit: "messages", better: "lower", goal: 0 }),
  };
});

interface Scene {
  readonly platform: Platform;
  readonly service: LaneService;
  readonly lanes: NatsLanes;
}

async function drain(scene: Scene, count: number): Promise<number> {
  await fill(scene, count);
  return empties(scene, count);
}

/** The lane rests meanwhile, and holds exactly these when it is done. */
async function fill({ platform, service, lanes }: Scene, count: number): Promise<void> {
  await setWorkers(platform, lane, 0);
  await until("nothing waits", async () => (await lanes.figures(lane))?.messages === 0);
  // Nodes look at the settings twice a second.
  await delay(1_000);
  const startMs = performance.now();
  const { client } = service.connection;
  // An inbox keeps the last of these: the store does not grow with the backlog.
  const command = packValue({ body, collapse: "bench" });
  for (let at = 0; at < count; at++) {
    client.publish(laneUserSubject(lane, app, `user-${at % users}`), command);
    if (at % 1_000 === 999) await client.flush();
  }
  const holds = async () => (await lanes.figures(lane))?.messages === count;
  await until("the lane holds them all", holds, 60_000);
  note(`${count} published in ${((performance.now() - startMs) / 1_000).toFixed(1)} s`);
}

/** Messages a second, from a tenth drained to nine tenths. */
async function empties({ platform, lanes }: Scene, count: number): Promise<number> {
  await setWorkers(platform, lane, workers);
  const times: { readonly left: number; readonly atMs: number }[] = [];
  for (;;) {
    const left = (await lanes.figures(lane))?.messages ?? Number.NaN;
    times.push({ left, atMs: performance.now() });
    if (left === 0) break;
    await delay(100);
  }
  const first = times.find(({ left }) => left <= count * 0.9);
  const last = times.findLast(({ left }) => left >= count * 0.1);
  if (first === undefined || last === undefined || last.atMs <= first.atMs) {
    throw new Error("the lane drained too fast to be measured; take a larger backlog");
  }
  return ((first.left - last.left) / (last.atMs - first.atMs)) * 1_000;
}
