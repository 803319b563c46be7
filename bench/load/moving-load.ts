/**
 * Clients that are moved from edge to edge and bystanders that are not, under one open loop
 * of pushes to all of them.
 */
import { until } from "../../test/support/until.js";
import type { LoopLag } from "../harness/in-node.js";
import { type LatencySummary, latencyLine } from "../harness/latency.js";
import { CpuMeter, cpuLine } from "../harness/process-usage.js";
import { note } from "../harness/report.js";
import { WorkerProcess } from "../harness/worker-process.js";
import type { ClientsCounts, ClientsOptions, UserRange } from "./clients.js";
import type { MovingCounts, MovingOptions } from "./moving-clients.js";
import type { PublisherCounts, PublisherOptions } from "./publisher.js";
import { app, type BelfryUnderLoad, secret } from "./system-under-load.js";

const settleMs = 60_000;
const tellEveryMs = 5_000;

export interface MovingShape {
  /** All come to the first node's edge. */
  readonly movers: number;
  /** All come to the last node's. */
  readonly bystanders: number;
  readonly nodes: readonly string[];
  readonly perSecond: number;
}

export interface Moved {
  readonly tookS: number;
  /** Connections of one client beside those that it had before. */
  readonly connectsMax: number;
  readonly connectsMin: number;
  /** They had not gone when they were to. */
  readonly closedForStaying: number;
  readonly seen: Seen;
}

/** Of a span of time. */
export interface Seen {
  /** From due to the frame at a client that is not moved. */
  readonly latencies: LatencySummary;
  /** At the 99th percentile, of the node that lagged most. */
  readonly loopLagMs: number;
}

export class MovingLoad implements AsyncDisposable {
  private constructor(
    private readonly belfry: BelfryUnderLoad,
    private readonly movers: number,
    private readonly publisher: WorkerProcess,
    private readonly moving: WorkerProcess,
    private readonly others: WorkerProcess,
  ) {}

  /** All are attached when it resolves, and pushes come. */
  static async start(belfry: BelfryUnderLoad, shape: MovingShape): Promise<MovingLoad> {
    const { movers, bystanders, nodes, perSecond } = shape;
    const publisher = WorkerProcess.start("load/publisher.js");
    const moving = WorkerProcess.start("load/moving-clients.js");
    const others = WorkerProcess.start("load/clients.js");
    const uids = Array.from({ length: movers + bystanders }, (_, at) => `u${at}`);
    const { user, pass: password, inboxPrefix } = belfry.nats.credentials.app(app);
    const { url } = belfry.nats;
    const service: PublisherOptions = { url, user, password, inboxPrefix, app, uids };
    await publisher.ask("connect", service);
    const urls = nodes.map((name) => belfry.platform.node(name).edgeUrl);
    const mine: MovingOptions = {
      app,
      secret,
      uids: uids.slice(0, movers),
      urls: urls.slice(0, 1),
    };
    await moving.ask("setUp", mine);
    await moving.ask("connect");
    const acks = { messagesMax: 32, delayMs: 50 };
    const theirs: ClientsOptions = { speech: "belfry", urls: urls.slice(-1), app, secret, acks };
    await others.ask("setUp", theirs);
    const rest: UserRange = { uids: uids.slice(movers), from: movers };
    await others.ask("connect", rest);
    await publisher.ask("startOpen", perSecond);
    note(`${movers} clients, ${bystanders} bystanders, ${perSecond} pushes a second`);
    return new MovingLoad(belfry, movers, publisher, moving, others);
  }

  async watch(what: string, during: () => Promise<void>): Promise<Seen> {
    const nodes = this.belfry.asking;
    await Promise.all(nodes.map((node) => node.ask("startLag")));
    await this.others.ask("startLatencies");
    const meter = new CpuMeter(this.pids);
    const telling = setInterval(() => void this.tellLately(), tellEveryMs);
    await during().finally(() => clearInterval(telling));
    const latencies = await this.others.ask<LatencySummary>("latencies");
    note(`${what}, to the bystanders: ${latencyLine(latencies)}`);
    note(`  ${cpuLine(meter.use())}`);
    const living = nodes.filter(({ child }) => child.exitCode === null);
    const seen = await Promise.all(living.map((node) => node.ask<LoopLag>("lag")));
    const lags = seen.map(({ p99Ms }) => p99Ms);
    const shown = lags.map((ms, at) => `${living[at]?.name} ${ms.toFixed(1)}`);
    note(`  loop lag p99, ms: ${shown.join(", ")}`);
    return { latencies, loopLagMs: Math.max(...lags) };
  }

  /** When it was slow says more than how slow it was. */
  private async tellLately(): Promise<void> {
    const lately = await this.others.ask<LatencySummary>("takeLately");
    note(`  the last ${tellEveryMs / 1_000} s: ${latencyLine(lately)}`);
  }

  /** The bench's own beside the platform's: on few cores each takes from the other. */
  private get pids(): Record<string, number> {
    const [publisher, moving, others] = [this.publisher, this.moving, this.others];
    const own = { publisher: publisher.pid, movers: moving.pid, bystanders: others.pid };
    return { ...this.belfry.pids, ...own };
  }

  /** From the order until all are attached again, by connections that they did not have. */
  async move(what: string, order: () => Promise<void>): Promise<Moved> {
    const before = await this.counts();
    const startMs = performance.now();
    let tookS = 0;
    const seen = await this.watch(what, async () => {
      await order();
      const areBack = async () => {
        const { attached, connectsMin } = await this.counts();
        return attached === this.movers && connectsMin > before.connectsMin;
      };
      await until("all are attached again", areBack, settleMs).catch(() => undefined);
      tookS = (performance.now() - startMs) / 1_000;
    });
    const after = await this.counts();
    const failures = after.failures - before.failures;
    const connectsMax = after.connectsMax - before.connectsMax;
    const connectsMin = after.connectsMin - before.connectsMin;
    const closedForStaying = after.closedForStaying - before.closedForStaying;
    const each = `each connected ${connectsMin} to ${connectsMax} times`;
    const rest = `${failures} attempts failed, ${closedForStaying} were closed for staying`;
    note(`${what}: ${tookS.toFixed(1)} s, ${each}, ${rest}`);
    return { tookS, connectsMax, connectsMin, closedForStaying, seen };
  }

  async settle() {
    await this.publisher.ask("stop");
    const all = async () => {
      const [{ accepted, inFlight }, moving, others] = await Promise.all([
        this.publisher.ask<PublisherCounts>("counts"),
        this.counts(),
        this.others.ask<ClientsCounts>("counts"),
      ]);
      return { accepted, inFlight, moving, others };
    };
    const isDone = async () => {
      const { accepted, moving, others } = await all();
      return moving.unique + others.unique >= accepted;
    };
    await until("all is shown", isDone, settleMs).catch(() => undefined);
    return all();
  }

  private counts(): Promise<MovingCounts> {
    return this.moving.ask<MovingCounts>("counts");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const worker of [this.publisher, this.moving, this.others]) {
      await worker[Symbol.asyncDispose]();
    }
  }
}
