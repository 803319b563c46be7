/**
 * Clients that are moved from edge to edge and bystanders that are not, under one open loop
 * of pushes to all of them.
 */
import { until } from "../../test/support/until.js";
import { type LatencySummary, latencyLine } from "../harness/latency.js";
import { note } from "../harness/report.js";
import { WorkerProcess } from "../harness/worker-process.js";
import type { ClientsCounts, ClientsOptions, UserRange } from "./clients.js";
import type { MovingCounts, MovingOptions } from "./moving-clients.js";
import type { PublisherCounts, PublisherOptions } from "./publisher.js";
import { app, type BelfryUnderLoad, secret } from "./system-under-load.js";

const settleMs = 60_000;

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
  /** Connections of one client at most, beside the one that it had. */
  readonly connectsMax: number;
  readonly latencies: LatencySummary;
}

export class MovingLoad implements AsyncDisposable {
  private constructor(
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
    return new MovingLoad(movers, publisher, moving, others);
  }

  async latenciesDuring(what: string, during: () => Promise<void>): Promise<LatencySummary> {
    await this.others.ask("startLatencies");
    await during();
    const latencies = await this.others.ask<LatencySummary>("latencies");
    note(`${what}, to the bystanders: ${latencyLine(latencies)}`);
    return latencies;
  }

  /** From the order until all are attached again. */
  async move(what: string, order: () => Promise<void>): Promise<Moved> {
    const before = await this.counts();
    const startMs = performance.now();
    let tookS = 0;
    const latencies = await this.latenciesDuring(what, async () => {
      await order();
      const areBack = async () => (await this.counts()).attached === this.movers;
      await until("all are attached again", areBack, settleMs);
      tookS = (performance.now() - startMs) / 1_000;
    });
    const after = await this.counts();
    const failures = after.failures - before.failures;
    const connectsMax = after.connectsMax - before.connectsMax;
    note(`${what}: ${tookS.toFixed(1)} s, ${connectsMax} more at most, ${failures} failed`);
    return { tookS, connectsMax, latencies };
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
