/**
 * Users with one device each, connected over all nodes' edges, and two loads on them: an
 * open loop over all users from a process of its own, and a few of them asked at a pace
 * that shows how long one user is without service. All bodies carry numbers, by which
 * the devices' process tells what was lost, doubled or out of order.
 */
import { until } from "../../test/support/until.js";
import { type LatencySummary, sharedMs } from "../harness/latency.js";
import { WorkerProcess } from "../harness/worker-process.js";
import { newCommand, writeBody } from "./body.js";
import type { ClientsCounts, ClientsOptions, UserRange } from "./clients.js";
import type { PublisherCounts, PublisherOptions } from "./publisher.js";
import { type SteadyCounts, SteadyRequests } from "./steady-requests.js";
import { app, type BelfryUnderLoad, secret } from "./system-under-load.js";

export interface LoadShape {
  readonly perSecond: number;
  /** Of the users, evenly. */
  readonly steadyUsers: number;
  readonly steadyEveryMs: number;
}

export interface LoadCounts {
  readonly publisher: PublisherCounts;
  readonly clients: ClientsCounts;
  readonly steady: SteadyCounts;
}

const acks = { messagesMax: 32, delayMs: 50 };
const settleDeadlineMs = 20_000;
const usersPerLook = 250;

export class ConnectedLoad implements AsyncDisposable {
  private constructor(
    private readonly system: BelfryUnderLoad,
    private readonly uids: readonly string[],
    private readonly publisher: WorkerProcess,
    private readonly clients: WorkerProcess,
    private readonly steady: SteadyRequests,
  ) {}

  /** Every user is attached and both loads run when it resolves. */
  static async start(
    system: BelfryUnderLoad,
    uids: readonly string[],
    { perSecond, steadyUsers, steadyEveryMs }: LoadShape,
  ): Promise<ConnectedLoad> {
    const publisher = WorkerProcess.start("load/publisher.js");
    const clients = WorkerProcess.start("load/clients.js");
    const { user, pass: password, inboxPrefix } = system.nats.credentials.app(app);
    const { url } = system.nats;
    const service: PublisherOptions = { url, user, password, inboxPrefix, app, uids };
    await publisher.ask("connect", service);
    const { speech, edgeUrls: urls } = system;
    await clients.ask("setUp", { speech, urls, app, secret, acks } satisfies ClientsOptions);
    await clients.ask("connect", { uids, from: 0 } satisfies UserRange);
    await publisher.ask("startOpen", perSecond);
    const step = Math.floor(uids.length / steadyUsers);
    const sample = uids.filter((_, at) => at % step === 0).slice(0, steadyUsers);
    // Numbered as users of their own: the open loop pushes to the same ones.
    const commandOf = (at: number, number: number) => {
      const command = newCommand();
      writeBody(command, uids.length + at, number, sharedMs());
      return command;
    };
    const steady = new SteadyRequests(system.platform, sample, steadyEveryMs, commandOf);
    return new ConnectedLoad(system, uids, publisher, clients, steady);
  }

  /** What is longest and slowest counts anew. */
  async mark(): Promise<void> {
    this.steady.resetLongest();
    await Promise.all([this.publisher.ask("resetLongest"), this.clients.ask("startLatencies")]);
  }

  /** From due to the frame in the devices' process, since the mark. */
  latencies(): Promise<LatencySummary> {
    return this.clients.ask<LatencySummary>("latencies");
  }

  async counts(): Promise<LoadCounts> {
    const [publisher, clients] = await Promise.all([
      this.publisher.ask<PublisherCounts>("counts"),
      this.clients.ask<ClientsCounts>("counts"),
    ]);
    return { publisher, clients, steady: this.steady.counts() };
  }

  /**
   * Stops both loads, and gives every user one more push; resolves when all that was
   * accepted is shown, or will not be.
   */
  async settle(): Promise<LoadCounts> {
    await Promise.all([this.publisher.ask("stop"), this.steady.stop()]);
    await this.untilShown();
    // An ack that met no owner on its way is only asked for again after 30 s and more.
    await this.publisher.ask("pushToEach");
    await this.untilShown();
    return await this.counts();
  }

  private async untilShown(): Promise<void> {
    const isDone = async () => {
      const { publisher, clients, steady } = await this.counts();
      return publisher.inFlight === 0 && clients.unique >= publisher.accepted + steady.accepted;
    };
    await until("all is delivered", isDone, settleDeadlineMs).catch(() => undefined);
  }

  /** Messages that are delivered, acked and still stored, when that does not change any more. */
  async left(): Promise<number> {
    let chunks = chunksOf(this.uids, usersPerLook);
    let left = 0;
    const isTrimmed = async () => {
      const counts = await Promise.all(chunks.map((uids) => this.system.left(uids)));
      chunks = chunks.filter((_, at) => (counts[at] ?? 0) > 0);
      left = counts.reduce((total, count) => total + count, 0);
      return left === 0;
    };
    await until("all is trimmed", isTrimmed, settleDeadlineMs).catch(() => undefined);
    return left;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clients.ask("close").catch(() => undefined);
    await Promise.all([this.publisher[Symbol.asyncDispose](), this.clients[Symbol.asyncDispose]()]);
  }
}

function chunksOf<Item>(items: readonly Item[], size: number): Item[][] {
  const count = Math.ceil(items.length / size);
  return Array.from({ length: count }, (_, at) => items.slice(at * size, (at + 1) * size));
}
