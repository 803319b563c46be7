/**
 * One run of one seed: nodes, store, bus, publishers and devices, faults for a while,
 * and then everything must come right again within a bound of virtual time.
 */
import { unpackValue } from "../../src/protocol/codec.js";
import { appOfKey, type SessionKey, shardCount } from "../../src/protocol/shards.js";
import type { Member } from "../../topology/placement-table.js";
import { AskChecks } from "./ask-checks.js";
import { Calm } from "./calm.js";
import { EventChecks } from "./event-checks.js";
import { History } from "./history.js";
import { LeaseChecks } from "./lease-checks.js";
import { ModelDevice } from "./model-device.js";
import { ModelPublisher } from "./model-publisher.js";
import { ModelService } from "./model-service.js";
import { type Battlefield, Nemesis } from "./nemesis.js";
import type { Payload } from "./payload.js";
import { PlacementChecks } from "./placement-checks.js";
import {
  calmFaults,
  drawDevice,
  drawPublisher,
  drawUser,
  planRun,
  type RunPlan,
} from "./plan-run.js";
import { PushLedger } from "./push-ledger.js";
import { figuresOf } from "./run-figures.js";
import type { RunOptions, RunResult } from "./run-result.js";
import { type Told, watchRepeats, watchSessions, watchSettingAside } from "./session-watch.js";
import {
  isServed,
  type Settling,
  unsettledPlacement,
  whatIsUnsettled,
  wrongAccepted,
} from "./settled-checks.js";
import { simApps } from "./sim-apps.js";
import { SimBusServer } from "./sim-bus.js";
import { SimEvents } from "./sim-events.js";
import { SimKeyValueServer } from "./sim-key-value.js";
import { type RunningSimNode, SimNode } from "./sim-node.js";
import { SimOperator } from "./sim-operator.js";
import { SimProcess } from "./sim-process.js";
import { SimStore } from "./sim-store.js";
import type { SimTransport } from "./sim-transport.js";
import { checkWire, watchConnections } from "./wire-checks.js";
import { World } from "./world.js";

const bootMs = 2_000;
const lastPushesMs = 1_000;
/** Moves as planned while nothing fails, and every plain publish must arrive. */
const calmMs = 3_000;
/** And a lease: restarts, elections, fences above the table, groups opened one after another. */
const ownedWithinMs = 25_000;
const arrivesWithinMs = 1_000;
/** Leases, backoffs, heartbeats, ack waits and a stalled store together stay below. */
const settleWithinMs = 45_000;
const lookEveryMs = 250;
/** Every so many seeds somebody takes messages back and erases users. */
const serviceEverySeeds = 4;
/** Every so many seeds a device acks nothing until the faults are over. */
const deafEverySeeds = 3;
/** Every so many seeds devices of every other user are bound to another one's connection. */
const boundEverySeeds = 5;

export async function runSeed(options: RunOptions): Promise<RunResult> {
  // Faults are frequent here, and their stacks cost more than all else about them.
  Error.stackTraceLimit = options.isTraceKept === true ? 30 : 0;
  // The checks look over the shoulder of what is broken, so they come on top.
  const unbreak = options.breakage?.apply?.();
  const rejections: unknown[] = [];
  const onRejection = (reason: unknown) => void rejections.push(reason);
  process.on("unhandledRejection", onRejection);
  const run = new SimRun(options, rejections);
  const unwatch = run.watch();
  try {
    return await run.run();
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
  readonly events: SimEvents;
  readonly eventChecks: EventChecks;
  readonly placement: PlacementChecks;
  readonly leases: LeaseChecks;
  readonly asks: AskChecks;
  readonly ledger: PushLedger;
  private readonly calm: Calm;
  readonly field: Battlefield;
  private readonly nemesis: Nemesis;
  /** In some seeds only. */
  readonly service: ModelService | undefined;
  private latestWallMs = 0;
  private ownedMs = -1;
  private settledMs = -1;

  constructor(
    private readonly options: RunOptions,
    private readonly rejections: readonly unknown[],
  ) {
    const { seed, breakage } = options;
    const without = new Set(options.without);
    const world = new World(seed, options.isTraceKept === true);
    const drawn = planRun(world.random, without, breakage?.faults, breakage?.pace);
    const serverCount = breakage?.serverCount ?? drawn.serverCount;
    const plan = { ...drawn, serverCount, limits: { ...drawn.limits, ...breakage?.limits } };
    this.world = world;
    this.plan = plan;
    this.server = new SimBusServer(world, plan.serverCount);
    this.keyValue = new SimKeyValueServer(world);
    this.store = new SimStore(world, plan.groupCount);
    this.events = new SimEvents(world);
    this.eventChecks = new EventChecks(world, simApps);
    this.keyValue.uncomparedKeys = breakage?.uncomparedKeys ?? [];
    if (breakage?.breakGroup !== undefined) this.store.breakGroup = breakage.breakGroup;
    this.ledger = new PushLedger(world, () => this.mayDouble());
    const policyOf = (key: SessionKey) => simApps.get(appOfKey(key))?.delivery ?? "each-device";
    const { attemptsMax, setAsideMax } = plan.limits;
    const latestWallMs = () => this.latestWall();
    const rules = { policyOf, latestWallMs, attemptsMax, setAsideMax };
    this.history = new History(world, rules, this.ledger);
    const { leaseMs, leaseMarginMs: marginMs } = plan.limits;
    const groupSize = shardCount / plan.groupCount;
    this.placement = new PlacementChecks(world, this.server, { leaseMs, marginMs, groupSize });
    this.leases = new LeaseChecks(world, leaseMs);
    this.asks = new AskChecks(world);
    this.calm = new Calm(world);
    this.calm.onDisturbed(() => this.ledger.excuseAll());
    this.nodes = this.makeNodes();
    this.makeUsers();
    const { server, keyValue, store, placement, calm, nodes, devices } = this;
    if (seed % serviceEverySeeds === 0) {
      const bus = server.connect(new SimProcess(world, "service", 1, 0));
      this.service = new ModelService(world, bus, this.publishers);
    }
    const operator = new SimOperator(world, keyValue, nodes, plan.groupCount, this.publishers);
    this.field = { world, nodes, devices, server, keyValue, store, placement, operator, calm };
    this.nemesis = new Nemesis(this.field, plan.faults);
    this.connectChecks();
  }

  private connectChecks(): void {
    const { history, leases, placement, server, keyValue, store, nemesis } = this;
    server.watchers.push(history, leases);
    server.onLost = (subject, payload) => {
      if (!/^shard\.\d+\.push\./.test(subject)) return;
      this.ledger.excuseOrder((unpackValue(payload) as { body: Payload }).body);
    };
    keyValue.watchers.push(placement, leases, {
      onWrite: (by, key) => key === "table" && nemesis.onMoment("table", [by]),
    });
    this.events.watchers.push(this.eventChecks);
    store.watchers.push(history, this.eventChecks, {
      onRaised: (by) => nemesis.onMoment("raise", [by]),
      onCommitted: (by) => nemesis.onMoment("commit", [by]),
    });
    placement.onMove = (first, from, to) => {
      nemesis.onMoment("move", [nameOf(from), nameOf(to)]);
      nemesis.onMove(nameOf(from));
      const group = store.inbox.groupOf(first);
      for (const publisher of this.publishers) {
        if (store.inbox.groupOf(publisher.shard) === group) publisher.burst();
      }
    };
  }

  /** Looks over the actors' shoulders; returns the way back. */
  watch(): () => void {
    const ways = [
      watchConnections(),
      watchSessions((told) => this.onTold(told)),
      watchSettingAside((key, device, seq) => this.history.noteSetAside(key, device, seq)),
      watchRepeats((key, device) => this.history.noteRepeat(key, device)),
      this.asks.watch(),
    ];
    return () => {
      for (const unwatch of ways.reverse()) unwatch();
    };
  }

  private onTold({ by, key, device, message }: Told): void {
    this.leases.onTold(by, message);
    if (message.kind !== "Deliver" || device === undefined) return;
    this.history.noteSent(key, device, message.seqs);
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
      ownedMs: this.ownedMs,
      settledMs: this.settledMs,
      failure,
      figures: figuresOf(this),
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
    await this.runUntil(bootMs);
    for (const publisher of this.publishers) publisher.start();
    this.service?.start();
    const deaf = world.seed % deafEverySeeds === 1 ? this.devices[0] : undefined;
    if (deaf !== undefined) deaf.isSilent = true;
    this.nemesis.start();
    await this.runUntil(bootMs + plan.faultsMs);
    this.nemesis.end();
    this.events.mend();
    if (this.service !== undefined) this.service.isWanted = false;
    deaf?.speak();
    await this.ownAll(world.nowMs);
    await this.moveInCalm();
    for (const publisher of this.publishers) publisher.isWanted = false;
    await this.settle(world.nowMs);
    this.checkEnd();
    await this.runUntil(world.nowMs);
  }

  private async moveInCalm(): Promise<void> {
    const { world, field, calm } = this;
    const faults = new Map([...calmFaults].filter(([name]) => this.plan.faults.has(name)));
    const nemesis = new Nemesis(field, new Map([...faults, ["move", 300]]));
    nemesis.start();
    await this.runUntil(world.nowMs + (calm.isCalm ? calmMs : lastPushesMs));
    nemesis.end();
    await this.runUntil(world.nowMs + lastPushesMs);
  }

  private checkEnd(): void {
    const { world } = this;
    world.check(this.rejections.length === 0, 5, () => `unhandled: ${String(this.rejections[0])}`);
    const wrong = wrongAccepted(this);
    world.check(wrong === undefined, 2, () => wrong ?? "");
    this.ledger.checkOwed(true);
    this.ledger.checkOrder();
  }

  /** In steps, with the checks that need to look from time to time. */
  private async runUntil(untilMs: number): Promise<void> {
    const { world } = this;
    for (let atMs = world.nowMs; atMs < untilMs; atMs = world.nowMs) {
      await world.runUntil(Math.min(untilMs, atMs + lookEveryMs));
      this.calm.look(() => isServed(this, this.server));
      this.ledger.checkOwed(false);
      this.asks.check();
    }
    await world.runUntil(untilMs);
  }

  /** All 4096 shards, within a bound of their own; then until nothing is left of the faults. */
  private async ownAll(fromMs: number): Promise<void> {
    const { world, calm, plan } = this;
    const withinMs = ownedWithinMs + plan.limits.leaseMs;
    const isServedNow = () => isServed(this, this.server);
    while (!isServedNow() && world.nowMs - fromMs < withinMs) {
      await this.runUntil(world.nowMs + lookEveryMs);
    }
    this.ownedMs = world.nowMs - fromMs;
    world.check(isServedNow(), 6, () => {
      const running = this.nodes.flatMap((node) => node.running ?? []);
      const why = unsettledPlacement(running) ?? "a node or a subscription is missing";
      return `${why}, ${Math.round(withinMs / 1_000)} s after the last fault`;
    });
    await world.runUntil(world.nowMs);
    while (!calm.isCalm && world.nowMs - fromMs < withinMs) {
      await this.runUntil(world.nowMs + lookEveryMs);
    }
  }

  private async settle(fromMs: number): Promise<void> {
    const { world } = this;
    // A plain publish on its way is seen by nobody.
    await this.runUntil(fromMs + arrivesWithinMs);
    let unsettled = whatIsUnsettled(this);
    while (unsettled !== undefined && world.nowMs - fromMs < settleWithinMs) {
      await this.runUntil(world.nowMs + lookEveryMs);
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
    const { world, plan, server, keyValue, store, events } = this;
    const { breakage } = this.options;
    const livingProcesses = new Set<string>();
    return Array.from({ length: plan.nodeCount }, (_, index) => {
      const around = {
        world,
        server,
        keyValue,
        store,
        limits: plan.limits,
        apps: simApps,
        events,
        ...(breakage?.breakClock === undefined ? {} : { breakClock: breakage.breakClock }),
        ...(breakage?.breakKeyValue === undefined ? {} : { breakKeyValue: breakage.breakKeyValue }),
        isOneMachine: plan.isOneMachine,
        livingProcesses,
        onStarted: (running: RunningSimNode) => this.onNodeStarted(running),
      };
      return new SimNode(around, `dc1-${"abcdef"[index]}`, index + 1);
    });
  }

  private onNodeStarted(running: RunningSimNode): void {
    checkWire(this.world, running);
    this.placement.watchView(running.name, running.context.view);
    this.leases.watch(running.process);
  }

  private makeUsers(): void {
    const { world, plan, server, history, ledger } = this;
    // Else a burst that waits for acks may fill the inbox, and plain publishes are refused unheard.
    const hasRoom = plan.limits.inboxMessagesMax >= 10_000;
    for (let user = 0; user < plan.userCount; user++) {
      const where = drawUser(world.random, user);
      for (let number = 0; number < plan.devicesPerUser; number++) {
        const drawn = drawDevice(world.random, where, number);
        const edges = () => this.edges();
        const carrier = this.carrierOf(user);
        const device = { ...drawn, edges, ...(carrier === undefined ? {} : { carrier }) };
        this.devices.push(new ModelDevice(world, device, history));
      }
      const drawn = drawPublisher(world.random, where, plan.pushEveryMs);
      const publisher = { ...drawn, isSheltered: () => this.calm.isCalm && hasRoom };
      const bus = server.connect(new SimProcess(world, drawn.name, 1, 0));
      this.publishers.push(new ModelPublisher(world, publisher, bus, ledger));
    }
  }

  /** Where breakages are to be caught, seeds stay what they were. */
  private carrierOf(user: number): ModelDevice | undefined {
    const { seed, breakage } = this.options;
    const isSharing = breakage === undefined && seed % boundEverySeeds === 0;
    if (!isSharing || user % 2 === 0) return undefined;
    return this.devices[this.devices.length - this.plan.devicesPerUser];
  }

  private edges(): SimTransport[] {
    return this.nodes.flatMap((node) => node.running?.transport ?? []);
  }

  /** The bus is slower than moves rely on, or the table has lost moves that were begun. */
  private mayDouble(): boolean {
    return this.server.routes.isSlow || this.placement.wasRolledBack;
  }

  private latestWall(): number {
    for (const { clock } of this.nodes) {
      if (clock !== undefined) this.latestWallMs = Math.max(this.latestWallMs, clock.wallMs());
    }
    return this.latestWallMs;
  }
}

function nameOf({ nodeId, incarnation }: Member): string {
  return `${nodeId}.${incarnation}`;
}
