/**
 * A lane with a backlog, as fast as one without? Two lanes take turns, by slices of a few
 * seconds, so that what else the machine does falls on both alike. In each slice the one
 * lane works, and a publisher gives it one push for each that it has passed on: in one lane
 * a few wait all the time, in the other the backlog. `drain_vs_empty` is the rate of the
 * second against that of the first. Then the backlog drains, without the publisher. All the
 * while devices are pushed to on `high`, and these are timed from due to shown.
 *
 *   BENCH_BACKLOG=n   messages (1,000,000)
 *   BENCH_SLICES=n    of each lane (8), five seconds each
 */
import { setTimeout as delay } from "node:timers/promises";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { NatsLanes } from "../src/drivers/nats-lanes.js";
import { packValue } from "../src/protocol/codec.js";
import { laneStream, laneUserSubject } from "../src/protocol/lanes.js";
import { LaneService, setWorkers } from "../test/support/lane-load.js";
import { app, type Platform, startPlatform } from "../test/support/platform.js";
import { until } from "../test/support/until.js";
import { figureOf } from "./harness/figures.js";
import { Latencies, latencyLine } from "./harness/latency.js";
import { bench, note } from "./harness/report.js";
import { UrgentLoad } from "./load/urgent-load.js";

const backlog = Number(process.env["BENCH_BACKLOG"] ?? 1_000_000);
const slices = Number(process.env["BENCH_SLICES"] ?? 8);
const sliceMs = 5_000;
/** Until the lane that worked before rests and the other is at its pace. */
const warmMs = 2_500;
/** More than a lane gives unacked of all its partitions (4,096), so that it never runs dry. */
const few = 8_192;
const users = 20_000;
const workers = 2_048;
const pollMs = 50;
const boundMs = 1_800_000;
// An inbox keeps the last of these: the store does not grow with the backlog.
const command = packValue({ body: "x".repeat(100), collapse: "bench" });

/** One lane, its publisher, and what was passed on of it. */
class LoadedLane {
  readonly high = new Latencies();
  private published = 0;
  private measuredCount = 0;
  private measuredMs = 0;

  constructor(
    private readonly lane: string,
    private readonly platform: Platform,
    private readonly service: LaneService,
    private readonly jsm: JetStreamManager,
  ) {}

  get perSecond(): number {
    return (this.measuredCount / this.measuredMs) * 1_000;
  }

  work(): Promise<void> {
    return setWorkers(this.platform, this.lane, workers);
  }

  rest(): Promise<void> {
    return setWorkers(this.platform, this.lane, 0);
  }

  /** The lane rests, and holds so many when it is done. */
  async fill(count: number): Promise<void> {
    await this.rest();
    // Nodes look at the settings twice a second; what is under way then ends.
    await delay(1_500);
    const startMs = performance.now();
    await this.publish(count);
    const holds = async () => (await this.passed()).stored === this.published;
    await until(`${this.lane} holds them all`, holds, 60_000);
    const seconds = (performance.now() - startMs) / 1_000;
    note(`${count} published on ${this.lane} in ${seconds.toFixed(1)} s`);
  }

  /** Works alone for a slice, with so many waiting; the first one is no part of the figures. */
  async slice(depth: number, urgent: UrgentLoad, isFirst: boolean): Promise<void> {
    await this.work();
    await this.hold(depth, warmMs);
    if (!isFirst) urgent.latencies = this.high;
    const { count, ms } = await this.hold(depth, sliceMs);
    urgent.latencies = new Latencies();
    await this.rest();
    if (isFirst) return;
    this.measuredCount += count;
    this.measuredMs += ms;
  }

  /** Until nothing waits; messages a second, without the last tenth. */
  async drain(): Promise<number> {
    await this.work();
    const begun = await this.passed();
    let last = begun;
    let tenth = begun;
    while (last.waiting > 0) {
      if (last.waiting > begun.waiting / 10) tenth = last;
      await delay(pollMs);
      last = await this.passed();
    }
    await this.rest();
    return ((tenth.count - begun.count) / (tenth.atMs - begun.atMs)) * 1_000;
  }

  private async hold(depth: number, forMs: number) {
    const begun = await this.passed();
    let last = begun;
    while (last.atMs - begun.atMs < forMs) {
      // What is published and not stored yet is on its way.
      await this.publish(depth - last.waiting - (this.published - last.stored));
      await delay(pollMs);
      last = await this.passed();
    }
    return { count: last.count - begun.count, ms: last.atMs - begun.atMs };
  }

  private async passed() {
    const { state } = await this.jsm.streams.info(laneStream(this.lane));
    const { messages: waiting, last_seq: stored } = state;
    return { waiting, stored, count: stored - waiting, atMs: performance.now() };
  }

  private async publish(count: number): Promise<void> {
    const { client } = this.service.connection;
    for (let at = 0; at < count; at++) {
      const user = this.published++ % users;
      client.publish(laneUserSubject(this.lane, app, `user-${user}`), command);
      if (at % 1_000 === 999) await client.flush();
    }
    await client.flush();
  }
}

await bench("lanes", boundMs, async () => {
  await using platform = await startPlatform({ nodes: ["a"], isAsShipped: true });
  await using service = await LaneService.connect(platform);
  const lanes = await NatsLanes.open(platform.link);
  const names = ["normal", "low"] as const;
  for (const name of names) {
    await until(`${name} stands`, async () => (await lanes.figures(name)) !== undefined);
  }
  await using urgent = await UrgentLoad.start(platform, service);
  const jsm = await jetstreamManager(platform.link.client);
  const [empty, full] = names.map((name) => new LoadedLane(name, platform, service, jsm));
  if (empty === undefined || full === undefined) throw new Error("there are two lanes");
  // Each user once: that sessions are there is no part of what is compared.
  await empty.fill(users);
  await empty.drain();
  await full.fill(backlog);
  for (let slice = 0; slice <= slices; slice++) {
    await empty.slice(few, urgent, slice === 0);
    await full.slice(backlog, urgent, slice === 0);
  }
  const [highEmpty, high, draining] = [empty.high.summary(), full.high.summary(), new Latencies()];
  note(`${few} waiting: ${empty.perSecond.toFixed(0)}/s; on high: ${latencyLine(highEmpty)}`);
  note(`${backlog} waiting: ${full.perSecond.toFixed(0)}/s; on high: ${latencyLine(high)}`);
  urgent.latencies = draining;
  const drained = await full.drain();
  note(`draining: ${drained.toFixed(0)}/s; on high: ${latencyLine(draining.summary())}`);
  await urgent.stop();
  const dead = await Promise.all(names.map((name) => lanes.figures(name)));
  const deadLetters = dead.reduce((sum, figures) => sum + (figures?.deadLetters ?? Number.NaN), 0);
  const ratio = full.perSecond / empty.perSecond;
  const rateOf = (value: number) => figureOf(value, { unit: "messages/s", better: "higher" });
  const msOf = (value: number) => figureOf(value, { unit: "ms", better: "lower" });
  return {
    backlog: figureOf(backlog, { unit: "messages", better: "higher" }),
    drain_vs_empty: figureOf(ratio, { unit: "ratio", better: "higher", goal: 0.9 }),
    drain_per_s: rateOf(full.perSecond),
    empty_per_s: rateOf(empty.perSecond),
    unfed_drain_per_s: rateOf(drained),
    high_p50_ms: msOf(high.p50Ms),
    high_p99_ms: figureOf(high.p99Ms, { unit: "ms", better: "lower", goal: 100 }),
    high_p99_on_empty_ms: msOf(highEmpty.p99Ms),
    high_p99_unfed_ms: msOf(draining.summary().p99Ms),
    high_pushes: figureOf(high.count, { unit: "messages", better: "higher" }),
    dead_letters: figureOf(deadLetters, { unit: "messages", better: "lower", goal: 0 }),
  };
});
