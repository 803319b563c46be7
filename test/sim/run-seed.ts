/**
 * One run of one seed: nodes, store, bus, publishers and devices, faults for a while,
 * and then everything must come right again within a bound of virtual time.
 */
import type { AppRecord } from "../../src/protocol/app-record.js";
import { appOfKey, type SessionKey } from "../../src/protocol/shards.js";
import { notYetSurvived } from "./assumptions.js";
import type { Breakage } from "./breakages.js";
import { History } from "./history.js";
import { ModelDevice } from "./model-device.js";
import { ModelPublisher } from "./model-publisher.js";
import { type FaultName, Nemesis } from "./nemesis.js";
import { PlacementChecks } from "./placement-checks.js";
import { planRun, type RunPlan } from "./plan-run.js";
import { type Settling, whatIsUnsettled, wrongAccepted } from "./settled-checks.js";
import { SimBusServer } from "./sim-bus.js";
import { SimKeyValueServer } from "./sim-key-value.js";
import { type RunningSimNode, SimNode } from "./sim-node.js";
import { SimProcess } from "./sim-process.js";
import { SimStore } from "./sim-store.js";
import type { SimTransport } from "./sim-transport.js";
import { checkWire, watchConnections } from "./wire-checks.js";
import { World } from "./world.js";

export interface RunOptions {
  readonly seed: number;
  readonly without?: ReadonlySet<FaultName>;
  readonly breakage?: Breakage;
  /** Without assumptions about what is still to be built. */
  readonly isStrict?: boolean;
  readonly isTraceKept?: boolean;
}

export interface RunResult {
  readonly seed: number;
  readonly hash: string;
  readonly events: number;
  readonly virtualMs: number;
  /** From the end of the faults until all was settled. */
  readonly settledMs: number;
  readonly failure: Error | undefined;
  readonly figures: Readonly<Record<string, number>>;
  readonly faults: Readonly<Record<string, number>>;
  readonly tail: (count: number) => readonly string[];
}

const bootMs = 3_000;
const lastPushesMs = 1_500;
/** Leases, backoffs, heartbeats and ack waits together stay below. */
const settleWithinMs = 45_000;
const lookEveryMs = 250;

const apps: ReadonlyMap<string, AppRecord> = new Map([
  ["each", { v: 1, app: "each", secrets: [], delivery: "each-device", createdAtMs: 0 }],
  ["first", { v: 1, app: "first", secrets: [], delivery: "first-ack", createdAtMs: 0 }],
]);

export async function runSeed(options: RunOptions): Promise<RunResult> {
  // The checks look over the shoulder of what is broken, so they come on top.
  const unbreak = options.breakage?.apply?.();
  const unwatch = watchConnections();
  const rejections: unknown[] = [];
  const onRejection = (reason: unknown) => void rejections.push(reason);
  process.on("unhandledRejection", onRejection);
  try {
    return await new SimRun(options, rejections).run();
  } finally {
    process.off("unhandledRejection", onRejection);
    unwatch();
    unbreak?.();
  }
}

class SimRun implements Settling {
  readonly nodes: SimNode[];
  readonly devices: ModelDevice[] = [];
  readonly publishers: ModelPublisher[] = [];
  readonly history: History;
  private readonly world: World;
  private readonly plan: RunPlan;
  private readonly server: SimBusServer;
  private readonly keyValue: SimKeyValueServer;
  private readonly store: SimStore;
  private readonly placement: PlacementChecks;
  private readonly nemesis: Nemesis;
  private latestWallMs = 0;
  private settledMs = -1;

  constructor(
    private readonly options: RunOptions,
    private readonly rejections: readonly unknown[],
  ) {
    const { seed, breakage } = options;
    const without = new Set(options.without);
    if (options.isStrict !== true) for (const fault of notYetSurvived) without.add(fault);
    const world = new World(seed, options.isTraceKept === true);
    const plan = planRun(world.random, without, breakage?.faults);
    this.world = world;
    this.plan = plan;
    this.server = new SimBusServer(world);
    this.keyValue = new SimKeyValueServer(world);
    this.store = new SimStore(world, plan.groupCount);
    this.keyValue.uncomparedKeys = breakage?.uncomparedKeys ?? [];
    if (breakage?.breakGroup !== undefined) this.store.breakGroup = breakage.breakGroup;
    this.history = new History(world, {
      policyOf: (key: SessionKey) => apps.get(appOfKey(key))?.delivery ?? "each-device",
      latestWallMs: () => this.latestWall(),
    });
    this.store.watcher = this.history;
    this.server.watcher = this.history;
    const { leaseMs, leaseMarginMs: marginMs } = plan.limits;
    this.placement = new PlacementChecks(world, this.server, { leaseMs, marginMs });
    this.keyValue.watcher = this.placement;
    this.nodes = this.makeNodes();
    this.makeUsers();
    this.nemesis = new Nemesis(
      {
        world,
        nodes: this.nodes,
        devices: this.devices,
        server: this.server,
        keyValue: this.keyValue,
        store: this.store,
        placement: this.placement,
      },
      plan.faults,
    );
  }

  async run(): Promise<RunResult> {
    let failure: Error | undefined;
    try {
      await this.play();
    } catch (error) {
      failure = error as Error;
    }
    const { world, plan } = this;
    return {
      seed: world.seed,
      hash: world.trace.hash,
      events: world.trace.events,
      virtualMs: world.nowMs,
      settledMs: this.settledMs,
      failure,
      figures: this.figures(),
      faults: Object.fromEntries([...this.nemesis.counts].sort()),
      tail: (count) => [
        `plan ${JSON.stringify({ ...plan, faults: [...plan.faults] })}`,
        ...world.trace.tail(count),
      ],
    };
  }

  private async play(): Promise<void> {
    const { world, plan } = this;
    for (const node of this.nodes)
      world.after(world.random.between(0, 500), "boot", () => node.start());
    for (const device of this.devices) {
      world.after(world.random.between(500, bootMs), "boot", () => device.come());
    }
    await world.runUntil(bootMs);
    for (const publisher of this.publishers) publisher.start();
    this.nemesis.start();
    await world.runUntil(bootMs + plan.faultsMs);
    this.nemesis.end();
    await world.runUntil(world.nowMs + lastPushesMs);
    for (const publisher of this.publishers) publisher.isWanted = false;
    await this.settle(world.nowMs);
    world.check(this.rejections.length === 0, 5, () => `unhandled: ${String(this.rejections[0])}`);
    const wrong = wrongAccepted(this);
    world.check(wrong === undefined, 2, () => wrong ?? "");
    await world.runUntil(world.nowMs);
  }

  private async settle(fromMs: number): Promise<void> {
    const { world } = this;
    let unsettled = whatIsUnsettled(this);
    while (unsettled !== undefined && world.nowMs - fromMs < settleWithinMs) {
      await world.runUntil(world.nowMs + lookEveryMs);
      unsettled = whatIsUnsettled(this);
    }
    this.settledMs = world.nowMs - fromMs;
    const seconds = Math.round(this.settledMs / 1_000);
    world.check(
      unsettled === undefined,
      6,
      () => `${unsettled}, ${seconds} s after the last fault`,
    );
  }

  private makeNodes(): SimNode[] {
    const { world, plan, server, keyValue, store } = this;
    const { breakage } = this.options;
    const livingProcesses = new Set<string>();
    return Array.from({ length: plan.nodeCount }, (_, index) => {
      const around = {
        world,
        server,
        keyValue,
        store,
        limits: plan.limits,
        apps,
        ...(breakage?.breakClock === undefined ? {} : { breakClock: breakage.breakClock }),
        isOneMachine: plan.isOneMachine,
        livingProcesses,
        onStarted: (running: RunningSimNode) => checkWire(world, running),
      };
      return new SimNode(around, `dc1-${"abcdef"[index]}`, index + 1);
    });
  }

  private makeUsers(): void {
    const { world, plan, server } = this;
    const { random } = world;
    for (let user = 0; user < plan.userCount; user++) {
      const app = random.chance(0.75) ? "each" : "first";
      const uid = `u${user}`;
      for (let number = 0; number < plan.devicesPerUser; number++) {
        const where = { app, uid, device: `d${number}`, edges: () => this.edges() };
        this.devices.push(new ModelDevice(world, where, this.history));
      }
      const name = `svc${user}`;
      const bus = server.connect(new SimProcess(world, name, 1, 0));
      const publisher = {
        name,
        app,
        uid,
        everyMs: plan.pushEveryMs * random.between(0.5, 4),
        plain: random.pick([0, 0.2]),
        shortLived: random.pick([0, 0.1]),
        collapsing: random.pick([0, 0, 0.2]),
        targeted: random.pick([0, 0, 0.3]),
        passing: random.pick([0, 0, 0.1]),
      };
      this.publishers.push(new ModelPublisher(world, publisher, bus));
    }
  }

  private edges(): SimTransport[] {
    return this.nodes.flatMap((node) => node.running?.transport ?? []);
  }

  private latestWall(): number {
    for (const { clock } of this.nodes) {
      if (clock !== undefined) this.latestWallMs = Math.max(this.latestWallMs, clock.wallMs());
    }
    return this.latestWallMs;
  }

  private figures(): Record<string, number> {
    const sum = (of: (publisher: ModelPublisher) => number) =>
      this.publishers.reduce((total, publisher) => total + of(publisher), 0);
    return {
      requests: sum(({ counts }) => counts.requests),
      repeats: sum(({ counts }) => counts.repeats),
      givenUp: sum(({ counts }) => counts.givenUp),
      plain: sum(({ counts }) => counts.plain),
      accepted: sum(({ accepted }) => accepted.length),
      ...this.history.counts,
      tableWrites: this.placement.tableWrites,
      takeovers: this.placement.takeovers,
      rejoins: this.nodes.reduce(
        (sum, { running }) => sum + (running?.context.view.rejoins ?? 0),
        0,
      ),
    };
  }
}
