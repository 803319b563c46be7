/**
 * An edge with 10,000 clients under pushes loses them twice: it is drained by an operator's
 * command and taken back, then it is upgraded: SIGTERM and a start. Bystanders on another
 * edge tell what that costs those who do not move.
 *
 *   BENCH_CLIENTS=n   clients that move (10,000); bystanders and the load are in proportion
 */
import { setTimeout as delay } from "node:timers/promises";
import { runOperatorCommand } from "../test/support/operator-command.js";
import { untilBalanced } from "../test/support/placement-state.js";
import { until } from "../test/support/until.js";
import { figureOf } from "./harness/figures.js";
import { type LatencySummary, latencyLine } from "./harness/latency.js";
import { bench, type Figures, note } from "./harness/report.js";
import { WorkerProcess } from "./harness/worker-process.js";
import type { ClientsCounts, ClientsOptions, UserRange } from "./load/clients.js";
import type { MovingCounts, MovingOptions } from "./load/moving-clients.js";
import type { PublisherCounts, PublisherOptions } from "./load/publisher.js";
import { app, BelfryUnderLoad, secret } from "./load/system-under-load.js";

const movers = Number(process.env["BENCH_CLIENTS"] ?? 10_000);
const bystanders = Math.ceil(movers / 10);
/** Of all users, who are drawn alike. */
const perSecond = Math.ceil(movers / 10);
const restMs = 5_000;
const settleMs = 60_000;
const boundMs = 480_000;

await bench("edge-drain", boundMs, async () => {
  await using belfry = await BelfryUnderLoad.start(undefined, ["a", "b", "c"]);
  await untilBalanced(belfry.platform);
  await using load = await Load.start(belfry);
  const atRest = await load.latenciesDuring("at rest", () => delay(restMs));
  const drain = await load.move("drain", async () => {
    await operate(belfry, "drain", "dc1-a", "--wait", "240");
  });
  await operate(belfry, "undrain", "dc1-a");
  // Those who were on a are on b and c: b's are the ones to move now.
  const upgrade = await load.move("upgrade", async () => {
    await belfry.platform.killNode("b", "SIGTERM");
    await belfry.platform.startNode("b");
  });
  const { accepted, moving, others } = await load.settle();
  const shown = moving.unique + others.unique;
  const ms = { unit: "ms", better: "lower" } as const;
  const seconds = { unit: "s", better: "lower" } as const;
  const pushes = { unit: "pushes", better: "lower", goal: 0 } as const;
  const connects = { unit: "connections", better: "lower" } as const;
  return {
    clients: figureOf(movers, { unit: "clients", better: "higher" }),
    drain_s: figureOf(drain.tookS, seconds),
    upgrade_s: figureOf(upgrade.tookS, seconds),
    drain_connects_max: figureOf(drain.connectsMax, { ...connects, goal: 1 }),
    upgrade_connects_max: figureOf(upgrade.connectsMax, { ...connects, goal: 1 }),
    others_p99_at_rest_ms: figureOf(atRest.p99Ms, ms),
    others_p99_in_drain_ms: figureOf(drain.latencies.p99Ms, ms),
    others_p99_in_upgrade_ms: figureOf(upgrade.latencies.p99Ms, ms),
    lost: figureOf(Math.max(0, accepted - shown), pushes),
    duplicates: figureOf(moving.doubled + others.doubled, pushes),
    out_of_order: figureOf(moving.outOfOrder + others.outOfOrder, pushes),
  } satisfies Figures;
});

async function operate(belfry: BelfryUnderLoad, ...args: readonly string[]): Promise<void> {
  const { exitCode, document } = await runOperatorCommand(belfry.platform, ...args);
  if (exitCode !== 0) throw new Error(`${args.join(" ")}: ${JSON.stringify(document)}`);
}

interface Moved {
  readonly tookS: number;
  /** Connections of one client at most, beside the one that it had. */
  readonly connectsMax: number;
  readonly latencies: LatencySummary;
}

class Load implements AsyncDisposable {
  private constructor(
    private readonly publisher: WorkerProcess,
    private readonly moving: WorkerProcess,
    private readonly others: WorkerProcess,
  ) {}

  /** All movers are on a and all bystanders on c when it resolves, and pushes come. */
  static async start(belfry: BelfryUnderLoad): Promise<Load> {
    const publisher = WorkerProcess.start("load/publisher.js");
    const moving = WorkerProcess.start("load/moving-clients.js");
    const others = WorkerProcess.start("load/clients.js");
    const uids = Array.from({ length: movers + bystanders }, (_, at) => `u${at}`);
    const { user, pass: password, inboxPrefix } = belfry.nats.credentials.app(app);
    const { url } = belfry.nats;
    const service: PublisherOptions = { url, user, password, inboxPrefix, app, uids };
    await publisher.ask("connect", service);
    const urls = ["a", "b", "c"].map((name) => belfry.platform.node(name).edgeUrl);
    const mine: MovingOptions = { app, secret, uids: uids.slice(0, movers), urls };
    await moving.ask("setUp", mine);
    await moving.ask("connect");
    const acks = { messagesMax: 32, delayMs: 50 };
    const theirs: ClientsOptions = { speech: "belfry", urls: urls.slice(2), app, secret, acks };
    await others.ask("setUp", theirs);
    const rest: UserRange = { uids: uids.slice(movers), from: movers };
    await others.ask("connect", rest);
    await publisher.ask("startOpen", perSecond);
    note(`${movers} clients on a, ${bystanders} bystanders on c, ${perSecond} pushes a second`);
    return new Load(publisher, moving, others);
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
      const areBack = async () => (await this.counts()).attached === movers;
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
