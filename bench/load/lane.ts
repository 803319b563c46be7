/**
 * One publisher process and one process of clients on one system under load, and
 * what is measured of them.
 */

import { setTimeout as delay } from "node:timers/promises";
import { until } from "../../test/support/until.js";
import type { LatencySummary } from "../harness/latency.js";
import { CpuMeter, type CpuUse } from "../harness/process-usage.js";
import { WorkerProcess } from "../harness/worker-process.js";
import type { AckPolicy } from "./ack-batches.js";
import type { ClientsCounts, ClientsOptions, UserRange } from "./clients.js";
import type { PublisherCounts, PublisherOptions } from "./publisher.js";
import { app, type SystemUnderLoad, secret } from "./system-under-load.js";

export interface Rates {
  /** The least of the three: a push counts when it is answered ok, delivered and acked. */
  readonly perSecond: number;
  readonly answeredPerSecond: number;
  readonly deliveredPerSecond: number;
  readonly ackedPerSecond: number;
  /** Of all processes, the publisher and the clients too. */
  readonly cpuUsPerPush: number;
  readonly cpu: CpuUse;
}

interface Counts {
  readonly publisher: PublisherCounts;
  readonly clients: ClientsCounts;
}

const settleDeadlineMs = 15_000;

export class Lane implements AsyncDisposable {
  private constructor(
    readonly system: SystemUnderLoad,
    private readonly publisher: WorkerProcess,
    private readonly clients: WorkerProcess,
    private readonly uids: readonly string[],
  ) {}

  /** All users are connected and served when it resolves. */
  static async open(system: SystemUnderLoad, users: number, acks: AckPolicy): Promise<Lane> {
    const uids = Array.from({ length: users }, (_, at) => `u${at}`);
    const publisher = WorkerProcess.start("load/publisher.js");
    const clients = WorkerProcess.start("load/clients.js");
    const lane = new Lane(system, publisher, clients, uids);
    const { user, pass: password, inboxPrefix } = system.nats.credentials.app(app);
    const service: PublisherOptions = {
      url: system.nats.url,
      user,
      password,
      inboxPrefix,
      app,
      uids,
    };
    await publisher.ask("connect", service);
    const { speech, edgeUrls: urls } = system;
    const devices: ClientsOptions = { speech, urls, app, secret, acks };
    await clients.ask("setUp", devices);
    await clients.ask("connect", { uids, from: 0 } satisfies UserRange);
    return lane;
  }

  setAcks(acks: AckPolicy): Promise<void> {
    return this.clients.ask("setAcks", acks);
  }

  /** So many in flight, each answer followed by the next push. */
  async closedLoop(inFlight: number, warmMs: number, spanMs: number): Promise<Rates> {
    await this.publisher.ask("startClosed", inFlight);
    await delay(warmMs);
    const rates = await this.watch(spanMs);
    await this.settle();
    return rates;
  }

  /** So many a second, whatever comes back. */
  async openLoop(
    perSecond: number,
    warmMs: number,
    spanMs: number,
  ): Promise<Rates & { readonly latencies: LatencySummary }> {
    await this.publisher.ask("startOpen", perSecond);
    await delay(warmMs);
    await this.clients.ask("startLatencies");
    const rates = await this.watch(spanMs);
    const latencies = await this.clients.ask<LatencySummary>("latencies");
    await this.settle();
    return { ...rates, latencies };
  }

  /** Throws when anything was refused, lost, doubled, out of order, or is still stored. */
  async verify(): Promise<string> {
    const { publisher, clients } = await this.counts();
    const faults = [
      [publisher.refused, `refused (${publisher.firstRefusal})`],
      [publisher.accepted - clients.unique, "answered ok and not delivered"],
      [clients.missing, "missing between others"],
      [clients.doubled, "doubled"],
      [clients.outOfOrder, "out of order"],
      [clients.frameErrors, "frames with a wrong prev or none"],
      [clients.lost, `connections lost (${clients.firstLoss})`],
      [await this.untilTrimmed(), "delivered, acked and still stored"],
    ] as const;
    const found = faults
      .filter(([count]) => count !== 0)
      .map(([count, what]) => `${count} ${what}`);
    if (found.length > 0) throw new Error(`${this.system.name}: ${found.join(", ")}`);
    return `${this.system.name}: ${publisher.accepted} pushes, each delivered once and in order, none left stored`;
  }

  private async watch(spanMs: number): Promise<Rates> {
    const { pids } = this.system;
    const meter = new CpuMeter({
      ...pids,
      publisher: this.publisher.pid,
      clients: this.clients.pid,
    });
    const before = await this.counts();
    await delay(spanMs);
    const after = await this.counts();
    const spanPublisherMs = after.publisher.atMs - before.publisher.atMs;
    const spanClientsMs = after.clients.atMs - before.clients.atMs;
    const rate = (count: number, ms: number) => (count * 1_000) / ms;
    const answered = rate(after.publisher.accepted - before.publisher.accepted, spanPublisherMs);
    const delivered = rate(after.clients.unique - before.clients.unique, spanClientsMs);
    const acked = rate(after.clients.acked - before.clients.acked, spanClientsMs);
    const perSecond = Math.min(answered, delivered, acked);
    const cpu = meter.use();
    return {
      perSecond,
      answeredPerSecond: answered,
      deliveredPerSecond: delivered,
      ackedPerSecond: acked,
      cpuUsPerPush: (cpu.cores * 1e6) / perSecond,
      cpu,
    };
  }

  private async settle(): Promise<void> {
    await this.publisher.ask("stop");
    const isDone = async () => {
      const { publisher, clients } = await this.counts();
      const isAnswered = publisher.inFlight === 0;
      return (
        isAnswered && clients.unique >= publisher.accepted && clients.acked >= clients.delivered
      );
    };
    await until(`${this.system.name} has delivered all`, isDone, settleDeadlineMs).catch(
      async (error) => {
        throw new Error(`${(error as Error).message}: ${JSON.stringify(await this.counts())}`);
      },
    );
  }

  /** The last trims are on their way for a moment. */
  private async untilTrimmed(): Promise<number> {
    let left = 0;
    for (let attempt = 0; attempt < 50; attempt++) {
      left = await this.system.left(this.uids);
      if (left === 0) break;
      await delay(100);
    }
    return left;
  }

  private async counts(): Promise<Counts> {
    const [publisher, clients] = await Promise.all([
      this.publisher.ask<PublisherCounts>("counts"),
      this.clients.ask<ClientsCounts>("counts"),
    ]);
    return { publisher, clients };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clients.ask("close").catch(() => undefined);
    await Promise.all([this.publisher[Symbol.asyncDispose](), this.clients[Symbol.asyncDispose]()]);
  }
}
