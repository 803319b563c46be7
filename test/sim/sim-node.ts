/**
 * One node as start-node.ts puts it together, with fakes in the place of the drivers:
 * a name that starts again and again, each time a new process and incarnation.
 */
import type { Limits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { spawnNode } from "../../actors/node-tree.js";
import { PlacementView } from "../../actors/placement-view.js";
import type { Clock } from "../../src/base/clock.js";
import { randomToken } from "../../src/base/random.js";
import { accepted, Fault } from "../../src/base/result.js";
import type { KeyValue } from "../../src/ports/key-value.js";
import type { Log } from "../../src/ports/log.js";
import type { Processes } from "../../src/ports/processes.js";
import type { Claims } from "../../src/ports/tokens.js";
import type { AppRecord } from "../../src/protocol/app-record.js";
import { pingSubject } from "../../src/protocol/subjects.js";
import { ActorSystem } from "../../src/runtime/system.js";
import { decodeNodeRecord, nodeKey } from "../../topology/node-record.js";
import type { SimBus, SimBusServer } from "./sim-bus.js";
import type { SimEvents } from "./sim-events.js";
import type { SimKeyValue, SimKeyValueServer } from "./sim-key-value.js";
import { SimProcess } from "./sim-process.js";
import type { SimStore } from "./sim-store.js";
import { SimTransport } from "./sim-transport.js";
import type { World } from "./world.js";

export interface SimSurroundings {
  readonly world: World;
  readonly server: SimBusServer;
  readonly keyValue: SimKeyValueServer;
  readonly store: SimStore;
  readonly limits: Limits;
  readonly apps: ReadonlyMap<string, AppRecord>;
  readonly events: SimEvents;
  readonly isOneMachine: boolean;
  /** By `processStart`. */
  readonly livingProcesses: Set<string>;
  /** For deliberate breakages. */
  readonly breakClock?: (clock: Clock) => Clock;
  readonly breakKeyValue?: (keyValue: KeyValue) => KeyValue;
  readonly onStarted: (running: RunningSimNode) => void;
}

export interface RunningSimNode {
  /** Of the process; the node's own changes with each rejoin, see `nodeNameOf(context)`. */
  readonly name: string;
  readonly process: SimProcess;
  readonly bus: SimBus;
  readonly transport: SimTransport;
  readonly context: NodeContext;
  readonly system: ActorSystem;
}

/** A model device's. */
interface Token {
  readonly app: string;
  readonly sub: string;
  readonly seconds?: number;
}

const foreverSeconds = 10 * 365 * 86_400;
const stopDeadlineMs = 20_000;

export class SimNode {
  running: RunningSimNode | undefined;
  private process: SimProcess | undefined;
  private bus: SimBus | undefined;
  private incarnation = "";
  isStopping = false;
  private starts = 0;

  constructor(
    private readonly around: SimSurroundings,
    readonly nodeId: string,
    private readonly number: number,
  ) {}

  get isPaused(): boolean {
    return this.process?.isStopped === true;
  }

  get isAlive(): boolean {
    return this.process !== undefined;
  }

  get link() {
    return this.bus?.link;
  }

  get clock(): SimProcess | undefined {
    return this.process;
  }

  start(): void {
    if (this.process !== undefined) return;
    const { world, server, keyValue } = this.around;
    const { random } = world;
    const incarnation = `${this.starts++}${randomToken(random, 4)}`;
    const name = `${this.nodeId}.${incarnation}`;
    world.note(name, "starts");
    const rate = 1 + random.between(-0.02, 0.02);
    const process = new SimProcess(world, name, rate, random.between(-2_000, 2_000));
    const bus = server.connect(process);
    this.process = process;
    this.incarnation = incarnation;
    this.around.livingProcesses.add(incarnation);
    this.bus = bus;
    this.isStopping = false;
    const placement = keyValue.connect(bus);
    this.refuseLiveName(placement, bus).then(
      () => {
        if (!process.isDead) this.run(process, bus, placement, incarnation);
      },
      (cause) => {
        if (!(cause instanceof Fault)) throw cause;
        world.note(name, "cannot start", () => cause.message);
        if (!process.isDead) this.exit(1_000);
      },
    );
  }

  /** kill -9. */
  kill(): void {
    const { process, bus, running } = this;
    if (process === undefined || bus === undefined) return;
    this.around.world.note(process.name, "is killed");
    process.kill();
    this.around.livingProcesses.delete(this.incarnation);
    this.around.server.forget(bus);
    running?.transport.breakAll();
    this.process = undefined;
    this.bus = undefined;
    this.running = undefined;
  }

  /** SIGTERM: what is accepted is written, then the process ends. */
  stop(restartAfterMs: number): void {
    const { running, process } = this;
    if (running === undefined || this.isStopping) return;
    this.around.world.note(running.name, "is asked to stop");
    this.isStopping = true;
    running.system.stop(stopDeadlineMs).then(() => {
      if (this.process === process) this.exit(restartAfterMs);
    });
  }

  private exit(restartAfterMs: number): void {
    this.kill();
    this.around.world.after(restartAfterMs, this.nodeId, () => this.start());
  }

  /** As start-node.ts does it. */
  private async refuseLiveName(placement: KeyValue, bus: SimBus): Promise<void> {
    const present = await placement.get(nodeKey(this.nodeId));
    const holder = present === undefined ? undefined : decodeNodeRecord(present.value);
    if (holder === undefined) return;
    const subject = pingSubject(holder.nodeId, holder.incarnation);
    try {
      await bus.request(subject, new Uint8Array(0), holder.leaseMs);
    } catch (cause) {
      if (cause instanceof Fault) return;
      throw cause;
    }
    throw new Fault("NAME_TAKEN", "not-done", `a node named ${this.nodeId} is running already`);
  }

  private run(process: SimProcess, bus: SimBus, placement: SimKeyValue, incarnation: string): void {
    const { world, limits, store, apps, events, breakClock, breakKeyValue } = this.around;
    const clock = breakClock?.(process) ?? process;
    const transport = new SimTransport(world, process, limits.closeDeadlineMs);
    const giveUp = (reason: string): void => {
      world.note(process.name, "gives up", () => reason);
      world.after(0, this.nodeId, () => {
        if (this.process === process) this.exit(1_000);
      });
    };
    const context: NodeContext = {
      nodeId: this.nodeId,
      incarnation,
      idc: "dc1",
      idcNumber: 1,
      version: "sim",
      processes: this.processesOf(incarnation),
      edgeUrl: `ws://${this.nodeId}/connect`,
      clock,
      random: world.random,
      bus,
      store: store.connect(process),
      placement: breakKeyValue?.(placement) ?? placement,
      apps: { find: (app) => apps.get(app) },
      events: events.connect(process),
      tokens: { verify: async (token) => accepted(this.claims(token, process)) },
      transport,
      limits,
      log: this.logOf(process.name),
      view: new PlacementView(),
      giveUp,
    };
    const system = startActors(context, process, giveUp, (what) => world.fail(new Error(what)));
    this.running = { name: process.name, process, bus, transport, context, system };
    this.around.onStarted(this.running);
  }

  /** On one machine the others' processes can be looked up; from another nothing is known. */
  private processesOf(incarnation: string): Processes {
    const { isOneMachine, livingProcesses } = this.around;
    return {
      own: { pid: this.number, processStart: incarnation },
      isGone: async ({ processStart }) => isOneMachine && !livingProcesses.has(processStart),
    };
  }

  private claims(token: string, process: SimProcess): Claims {
    const { app, sub, seconds } = JSON.parse(token) as Token;
    const exp = Math.floor(process.wallMs() / 1_000) + (seconds ?? foreverSeconds);
    return { app, sub, jti: "", exp };
  }

  private logOf(name: string): Log {
    const { world } = this.around;
    const say = (level: string) => (event: string, fields?: object) =>
      world.note(
        name,
        level,
        () => `${event} ${fields === undefined ? "" : JSON.stringify(fields)}`,
      );
    return { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };
  }
}

function startActors(
  context: NodeContext,
  clock: Clock,
  onFatal: (reason: string) => void,
  onBug: (what: string) => void,
): ActorSystem {
  const { nodeId, incarnation, random, bus, log } = context;
  const system = new ActorSystem({
    nodeId,
    incarnation,
    clock,
    random,
    bus,
    onCrash: ({ address, error, messageType, stack, fatal, errorClass }) => {
      log.error("crash", { address, error, messageType });
      const isExpected = errorClass === "fault" || error.startsWith("RestartIntensityExceeded");
      if (!isExpected) onBug(`${address} crashed on ${messageType}: ${stack ?? error}`);
      if (fatal) onFatal(`${address} failed too often: ${error}`);
    },
    onDeadLetter: (letter) => log.warn("dead letter", { ...letter }),
  });
  spawnNode(system, context);
  return system;
}
