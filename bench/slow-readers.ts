/**
 * What clients that read 1 KB a second cost all others: fan-outs to 1,000 connections at a
 * steady pace through the edge's driver, by turns without slow ones and with 1 in 100. The
 * slow ones are behind from the start, so that each frame for them waits in the edge.
 *
 * Three measurements a round, the middle one with slow readers: what the two outer ones
 * differ by is the noise that the figure stands in.
 */
import { setTimeout as delay } from "node:timers/promises";
import { figureOf, median, medianOf, ratioOf } from "./harness/figures.js";
import type { LatencySummary } from "./harness/latency.js";
import { bench, type Figures, note } from "./harness/report.js";
import { WorkerProcess } from "./harness/worker-process.js";
import type { StampedReaders } from "./load/stamped-readers.js";
import type { SlowNow, StampedPlan } from "./load/stamped-server.js";

const clients = 1_000;
const slowClients = clients / 100;
const bodyBytes = 1_024;
/** Beyond what a kernel takes of it, below the bound at which the edge closes a slow client. */
const burdenBytes = 700 * 1_024;
const everyMs = 40;
const frames = 50;
const warmRounds = 2;
const rounds = 12;
const boundMs = 170_000;

await bench("slow-readers", boundMs, async () => {
  await using server = WorkerProcess.start("load/stamped-server.js");
  await using readers = WorkerProcess.start("load/stamped-readers.js");
  const port = await server.ask<number>("start");
  const fast = { port, count: clients, isSlow: false, bodyBytes } satisfies StampedReaders;
  await readers.ask("open", fast);
  const before: number[] = [];
  const beside: number[] = [];
  const after: number[] = [];
  for (let round = 0; round < warmRounds + rounds; round++) {
    const p99s = [
      await measure(server, readers, clients),
      await measureWithSlow(server, readers, port),
      await measure(server, readers, clients),
    ].map(({ p99Ms }) => p99Ms);
    if (round < warmRounds) continue;
    const [first = 0, second = 0, third = 0] = p99s;
    before.push(first);
    beside.push(second);
    after.push(third);
    note(
      `p99 without, with, without slow readers: ${p99s.map((ms) => ms.toFixed(2)).join(", ")} ms`,
    );
  }
  const without = before.map((ms, at) => (ms + (after[at] ?? 0)) / 2);
  const lower = { better: "lower" } as const;
  return {
    clients: figureOf(clients, { unit: "connections", better: "higher" }),
    slow_clients: figureOf(slowClients, { unit: "connections", better: "higher" }),
    p99_ms: medianOf(without, { unit: "ms", ...lower }),
    p99_ms_with_slow: medianOf(beside, { unit: "ms", ...lower }),
    p99_ratio: ratioOf(beside, without, { ...lower, goal: 1.1 }),
    noise_ratio: ratioOf(after, before, lower),
    median_of_p99_ratio: figureOf(median(beside) / median(without), { unit: "ratio", ...lower }),
  } satisfies Figures;
});

async function measure(
  server: WorkerProcess,
  readers: WorkerProcess,
  fast: number,
): Promise<LatencySummary> {
  await readers.ask("reset");
  const plan = { fast, firstSlow: clients, bodyBytes, frames, everyMs } satisfies StampedPlan;
  const { slow, backedUp } = await server.ask<SlowNow>("fanOut", plan);
  if (backedUp !== slow) throw new Error(`of ${slow} slow readers ${backedUp} were behind`);
  let summary = await readers.ask<LatencySummary>("summary");
  while (summary.count < fast * frames) {
    await delay(5);
    summary = await readers.ask<LatencySummary>("summary");
  }
  return summary;
}

async function measureWithSlow(
  server: WorkerProcess,
  readers: WorkerProcess,
  port: number,
): Promise<LatencySummary> {
  await using slow = WorkerProcess.start("load/stamped-readers.js");
  const opening = { port, count: slowClients, isSlow: true, bodyBytes } satisfies StampedReaders;
  await slow.ask("open", opening);
  await untilCount(server, clients + slowClients);
  await server.ask("burden", { firstSlow: clients, bytes: burdenBytes });
  // Its own start, and the burden, are not to be measured.
  await delay(200);
  const summary = await measure(server, readers, clients - slowClients);
  await server.ask("closeSlow", clients);
  await untilCount(server, clients);
  return summary;
}

async function untilCount(server: WorkerProcess, count: number): Promise<void> {
  while ((await server.ask<number>("count")) !== count) await delay(10);
}
