/**
 * Clients that lose their edge together, others that stay on it, and an open loop of pushes
 * to each of the two; all are told apart by the publisher's own numbers.
 */
import { until } from "../../test/support/until.js";
import type { LoopLag } from "../harness/in-node.js";
import { type LatencySummary, latencyLine } from "../harness/latency.js";
import { CpuMeter, cpuLine } from "../harness/process-usage.js";
import { note } from "../harness/report.js";
import { type Asking, WorkerProcess } from "../harness/worker-process.js";
import { type Arrived, countLost, type Pushed } from "./arrival-check.js";
import type { PublisherCounts, PublisherOptions } from "./publisher.js";
import { type Returns, returnsOf } from "./returns.js";
import type { Manners, Storm, StormCounts, StormOptions } from "./storm-clients.js";
import { app, type BelfryUnderLoad, secret } from "./system-under-load.js";

export interface StormShape {
  /** The edge's. */
  readonly node: string;
  /** Who loses the edge, and who stays when it is not the edge that goes. */
  readonly movers: number;
  readonly calm: number;
  /** Pushes to the calm ones, and as many to the others. */
  readonly perSecond: number;
}

export interface Stormed extends Returns {
  readonly attempts: number;
  readonly latencies: LatencySummary;
  /** Of the edge's loop; undefined of an edge that died. */
  readonly lag: LoopLag | undefined;
  /** Of handshakes, as the edge counts them. */
  readonly refused: Readonly<Record<string, number>>;
}

export interface StormOrder {
  readonly manners: Manners;
  /** Cuts movers' sockets; else `order` makes them lose the edge. */
  readonly cut: boolean;
  /** While they want to come back. */
  readonly order?: () => Promise<void>;
  readonly refusals: () => Promise<Record<string, number>>;
}

interface Group {
  readonly size: number;
  readonly clients: readonly WorkerProcess[];
  readonly publishers: readonly WorkerProcess[];
}

/** Of one process: well within its descriptors, also while closed sockets linger. */
const devicesPerProcess = 9_000;
const backDeadlineMs = 120_000;
const settleMs = 30_000;
/** They get what the platform and the calm ones leave of this machine's cores. */
const moversNiceness = 15;
const acks = { messagesMax: 32, delayMs: 50 };

export class StormLoad implements AsyncDisposable {
  private constructor(
    private readonly belfry: BelfryUnderLoad,
    private readonly shape: StormShape,
    private readonly movers: Group,
    private readonly calm: Group,
  ) {}

  /** All are attached when it resolves, and pushes come. */
  static async start(belfry: BelfryUnderLoad, shape: StormShape): Promise<StormLoad> {
    const { movers, calm, perSecond } = shape;
    const load = new StormLoad(
      belfry,
      shape,
      await startGroup(belfry, shape, "m", movers, moversNiceness),
      await startGroup(belfry, shape, "c", calm, 0),
    );
    for (const { publishers } of [load.movers, load.calm]) {
      for (const publisher of publishers) {
        await publisher.ask("startOpen", perSecond / publishers.length);
      }
    }
    note(`${movers} clients that move, ${calm} that stay, ${perSecond} pushes a second to each`);
    return load;
  }

  /** To those who stay. */
  async latenciesDuring(what: string, during: () => Promise<void>): Promise<LatencySummary> {
    const [calm] = this.calm.clients;
    if (calm === undefined) throw new Error("nobody stays");
    await calm.ask("startLatencies");
    await during();
    const latencies = await calm.ask<LatencySummary>("latencies");
    note(`${what}, to those who stay: ${latencyLine(latencies)}`);
    return latencies;
  }

  /** From the cut until all are attached again. */
  async storm(what: string, { manners, cut, order, refusals }: StormOrder): Promise<Stormed> {
    const everybody = [...this.movers.clients, ...this.calm.clients];
    const refusedBefore = await refusals();
    const node = this.nodeAsking();
    await node?.ask("startLag");
    const meter = cut ? new CpuMeter(this.pids()) : undefined;
    const latencies = await this.latenciesDuring(what, async () => {
      // Who stays is not cut, and behaves; where the edge goes they are cut like all.
      await ask(this.calm.clients, "storm", { manners: "sdk", cut: false });
      await ask(this.movers.clients, "storm", { manners, cut });
      await order?.();
      await until("all are back", () => this.areAllAttached(), backDeadlineMs);
    });
    if (meter !== undefined) note(`  ${cpuLine(meter.use())}`);
    const lag = await node?.ask<LoopLag>("lag").catch(() => undefined);
    const storms = await ask<Storm>(everybody, "stormSoFar");
    const attempts = storms.reduce((total, storm) => total + storm.attempts, 0);
    const returns = returnsOf(storms.flatMap(({ backMs }) => backMs));
    const refused = difference(await refusals(), refusedBefore);
    note(`  back: ${returnsLine(returns)}; ${attempts} attempts`);
    if (lag !== undefined) note(`  loop of the edge: ${lagLine(lag)}`);
    note(`  refused: ${countsLine(refused)}; ends: ${countsLine(summed(storms))}`);
    return { ...returns, attempts, latencies, lag, refused };
  }

  /** Stops the pushes, waits for what is owed, and counts by numbers. */
  async settle() {
    const groups = [this.movers, this.calm];
    await Promise.all(groups.map(({ publishers }) => ask(publishers, "stop")));
    const isDone = async () => {
      const pushed = (await Promise.all(groups.map(publishedBy))).flat();
      const counts = (await Promise.all(groups.map(countsOf))).flat();
      const unique = counts.reduce((total, each) => total + each.unique, 0);
      const accepted = pushed.reduce((total, each) => total + each.accepted, 0);
      return pushed.every(({ inFlight }) => inFlight === 0) && unique >= accepted;
    };
    await until("all is shown", isDone, settleMs).catch(() => undefined);
    const pushed = (await Promise.all(groups.map(publishedBy))).flat();
    const counts = (await Promise.all(groups.map(countsOf))).flat();
    const lost = await Promise.all(groups.map(lostOf));
    const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
    const [refusal] = pushed.flatMap(({ firstRefusal }) => firstRefusal || []);
    note(
      `pushes: ${sum(pushed.map(({ sent }) => sent))} sent, ${sum(pushed.map(({ accepted }) => accepted))} accepted, ` +
        `${sum(pushed.map(({ refused }) => refused))} refused (first: ${refusal ?? "none"}), ` +
        `${sum(pushed.map(({ inFlight }) => inFlight))} never answered`,
    );
    return {
      accepted: sum(pushed.map(({ accepted }) => accepted)),
      lost: sum(lost),
      doubled: sum(counts.map(({ doubled }) => doubled)),
      outOfOrder: sum(counts.map(({ outOfOrder }) => outOfOrder)),
    };
  }

  private async areAllAttached(): Promise<boolean> {
    const counts = (await Promise.all([this.movers, this.calm].map(countsOf))).flat();
    const attached = counts.reduce((total, each) => total + each.attached, 0);
    return attached === this.shape.movers + this.shape.calm;
  }

  private nodeAsking(): Asking | undefined {
    return this.belfry.asking.find(({ name }) => name === `node-${this.shape.node}`);
  }

  private pids(): Record<string, number> {
    const own = (name: string, of: readonly WorkerProcess[]) =>
      of.map(({ pid }, at) => [`${name}-${at}`, pid] as const);
    return {
      ...this.belfry.pids,
      ...Object.fromEntries(own("movers", this.movers.clients)),
      ...Object.fromEntries(own("calm", this.calm.clients)),
      ...Object.fromEntries(own("pushes", [...this.movers.publishers, ...this.calm.publishers])),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { clients, publishers } of [this.movers, this.calm]) {
      for (const worker of [...publishers, ...clients]) await worker[Symbol.asyncDispose]();
    }
  }
}

async function startGroup(
  belfry: BelfryUnderLoad,
  { node }: StormShape,
  prefix: string,
  size: number,
  niceness: number,
): Promise<Group> {
  const processes = Math.ceil(size / devicesPerProcess);
  const url = belfry.platform.node(node).edgeUrl;
  const { user, pass: password, inboxPrefix } = belfry.nats.credentials.app(app);
  const clients: WorkerProcess[] = [];
  const publishers: WorkerProcess[] = [];
  for (let at = 0; at < processes; at++) {
    const count = Math.floor((size * (at + 1)) / processes) - Math.floor((size * at) / processes);
    const uids = Array.from({ length: count }, (_, each) => `${prefix}${at}-${each}`);
    const worker = WorkerProcess.start("load/storm-clients.js");
    clients.push(worker);
    await worker.ask("setUp", { url, app, secret, uids, acks, niceness } satisfies StormOptions);
    await worker.ask("connect");
    const publisher = WorkerProcess.start("load/publisher.js");
    publishers.push(publisher);
    const service = { url: belfry.nats.url, user, password, inboxPrefix, app, uids };
    await publisher.ask("connect", service satisfies PublisherOptions);
  }
  return { size, clients, publishers };
}

function ask<Answer = void>(
  workers: readonly WorkerProcess[],
  name: string,
  argument?: unknown,
): Promise<Answer[]> {
  return Promise.all(workers.map((worker) => worker.ask<Answer>(name, argument)));
}

function countsOf({ clients }: Group): Promise<StormCounts[]> {
  return ask<StormCounts>(clients, "counts");
}

function publishedBy({ publishers }: Group): Promise<PublisherCounts[]> {
  return ask<PublisherCounts>(publishers, "counts");
}

async function lostOf({ clients, publishers }: Group): Promise<number> {
  const arrived = await ask<Arrived>(clients, "arrived");
  const pushed = await ask<Pushed>(publishers, "pushed");
  return pushed.reduce((lost, each, at) => lost + countLost(each, arrived[at] as Arrived), 0);
}

function summed(storms: readonly Storm[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const { ends } of storms) {
    for (const [why, count] of Object.entries(ends)) all[why] = (all[why] ?? 0) + count;
  }
  return all;
}

/** A count that is lower than before is of a process that began anew. */
function difference(
  after: Readonly<Record<string, number>>,
  before: Readonly<Record<string, number>>,
): Record<string, number> {
  const of = (name: string, count: number) =>
    count >= (before[name] ?? 0) ? count - (before[name] ?? 0) : count;
  return Object.fromEntries(Object.entries(after).map(([name, count]) => [name, of(name, count)]));
}

function countsLine(counts: Readonly<Record<string, number>>): string {
  const some = Object.entries(counts).filter(([, count]) => count > 0);
  return some.map(([name, count]) => `${count} ${name}`).join(", ") || "none";
}

function lagLine({ p99Ms, maxMs }: LoopLag): string {
  return `p99 ${p99Ms.toFixed(0)}, max ${maxMs.toFixed(0)} ms late`;
}

function returnsLine({ count, halfS, ninetyS, allS, perSecond }: Returns): string {
  const [half, ninety, all] = [halfS, ninetyS, allS].map((seconds) => seconds.toFixed(1));
  return `${count}, half after ${half}, nine tenths after ${ninety}, all after ${all} s; ${Math.round(perSecond)}/s in between`;
}
