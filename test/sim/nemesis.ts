/**
 * Breaks things at random for a while, then mends all of it. Each seed draws which
 * faults it has and how often they come, so that some seeds are quiet but for one.
 *
 * An ambush waits for a moment that is short and matters (a commit has just taken
 * effect, a fence was raised, a group began to move), and strikes who is in it.
 */
import type { Calm } from "./calm.js";
import { type FaultName, harmless } from "./fault-names.js";
import type { ModelDevice } from "./model-device.js";
import type { PlacementChecks } from "./placement-checks.js";
import { type SimBusServer, wayOf } from "./sim-bus.js";
import type { SimKeyValueServer } from "./sim-key-value.js";
import type { SimNode } from "./sim-node.js";
import type { SimOperator } from "./sim-operator.js";
import type { SimStore } from "./sim-store.js";
import type { World } from "./world.js";

export interface Battlefield {
  readonly world: World;
  readonly nodes: readonly SimNode[];
  readonly devices: readonly ModelDevice[];
  readonly server: SimBusServer;
  readonly keyValue: SimKeyValueServer;
  readonly store: SimStore;
  readonly placement: PlacementChecks;
  readonly operator: SimOperator;
  readonly calm: Calm;
}

/** Short, and each of them half-way through something. */
export type Moment = "commit" | "raise" | "move" | "table";
const moments: readonly Moment[] = ["commit", "raise", "move", "move", "table"];
/** From the beginning of a move on, through freeze, overlap and hand-over. */
const moveLastsMs = 150;

export class Nemesis {
  readonly counts = new Map<FaultName, number>();
  private isOver = false;
  private readonly undo = new Set<() => void>();
  private ambush: Moment | undefined;
  /** What is being inflicted now. */
  private isHarmless = false;

  constructor(
    private readonly field: Battlefield,
    private readonly faults: ReadonlyMap<FaultName, number>,
  ) {}

  /** `faults` says how many milliseconds lie between two of a kind on average. */
  start(): void {
    for (const [fault, everyMs] of this.faults) this.arm(fault, everyMs);
  }

  /** No more faults; what is broken is mended. */
  end(): void {
    this.isOver = true;
    const { world, nodes, devices } = this.field;
    world.note("nemesis", "mends everything");
    this.ambush = undefined;
    for (const mend of [...this.undo]) mend();
    this.field.calm.mend(this.field.store.stalledUntilMs);
    for (const node of nodes) node.start();
    for (const device of devices) {
      device.isWanted = true;
      device.isRenewing = true;
      // Who has nothing to say stays quiet: it must be found again all the same.
      if (device.isSilent) device.speak();
      device.come();
    }
  }

  /** `who` (processes) are in the midst of it now. */
  onMoment(moment: Moment, who: readonly string[]): void {
    if (this.ambush !== moment || this.isOver) return;
    this.ambush = undefined;
    const { world, nodes } = this.field;
    const { random } = world;
    const name = random.pick(who);
    const node = nodes.find(({ running }) => running?.name === name);
    const inMs = moment === "move" ? random.between(0, moveLastsMs) : random.between(0, 1);
    const fault = random.pick(["kill", "pause", "pause", "cut"] as const);
    world.after(inMs, "ambush", () => {
      if (node?.running?.name === name && !this.isOver) this.hitNode(fault, node);
    });
  }

  /** An owner that is slow to read just while it hands over sees the end of the overlap late. */
  onMove(from: string): void {
    const { world, nodes } = this.field;
    const { random } = world;
    if (!this.faults.has("slow-reader") || !random.chance(0.5)) return;
    const link = nodes.find(({ running }) => running?.name === from)?.link;
    world.after(random.between(0, moveLastsMs / 2), "nemesis", () => {
      link?.stall(random.between(20, 300));
    });
  }

  private arm(fault: FaultName, everyMs: number): void {
    const { world } = this.field;
    world.after(world.random.waitMs(everyMs), "nemesis", () => {
      if (this.isOver) return;
      this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
      this.isHarmless = harmless.has(fault);
      this.inflict(fault);
      this.arm(fault, everyMs);
    });
  }

  private inflict(fault: FaultName): void {
    const { world, keyValue, store, server } = this.field;
    const { random } = world;
    const say = (detail = "") => world.note("nemesis", fault, () => detail);
    switch (fault) {
      case "kill":
      case "stop":
      case "pause":
      case "cut":
      case "wall-jump":
        this.hitNode(fault, random.pick(this.field.nodes));
        return;
      case "ambush":
        this.ambush = random.pick(moments);
        if (this.ambush === "move") this.field.operator.move();
        return;
      case "move":
        this.field.operator.move();
        return;
      case "duplicate":
        say();
        server.repeatRate = random.between(0.05, 0.5);
        this.mendAfter(random.between(200, 4_000), () => {
          server.repeatRate = 0;
        });
        return;
      case "slow-reader":
        this.slowDown(random.pick(this.field.nodes));
        return;
      case "slow-routes":
        say();
        server.routes.slowDown(random.between(60, 800));
        this.mendAfter(random.between(200, 3_000), () => server.routes.speedUp());
        return;
      case "sever":
        this.sever();
        return;
      case "device":
        this.hitDevice();
        return;
      case "loss":
        say();
        server.lossRate = random.between(0.01, 0.2);
        this.mendAfter(random.between(200, 3_000), () => {
          server.lossRate = 0;
        });
        return;
      case "slow-bus":
        say();
        server.latencyMs = [1, random.between(20, 400)];
        this.mendAfter(random.between(200, 3_000), () => {
          server.latencyMs = [0.1, 1];
        });
        return;
      case "kv-gap":
        say();
        keyValue.leader = random.chance(0.5) ? "refusing" : "silent";
        this.mendAfter(random.between(500, 8_000), () => {
          keyValue.leader = "present";
        });
        return;
      case "kv-election":
        this.electKeyValueLeader();
        return;
      case "kv-unknown":
        say();
        keyValue.faults.lostRequest = random.between(0, 0.2);
        keyValue.faults.lostAnswer = random.between(0, 0.3);
        keyValue.faults.lateWrite = random.between(0, 0.2);
        this.mendAfter(random.between(500, 4_000), () => {
          keyValue.faults.lostRequest = 0;
          keyValue.faults.lostAnswer = 0;
          keyValue.faults.lateWrite = 0;
        });
        return;
      case "kv-stale":
        say();
        keyValue.faults.staleRead = random.between(0.2, 0.8);
        this.mendAfter(random.between(500, 4_000), () => {
          keyValue.faults.staleRead = 0;
        });
        return;
      case "bus-restart":
        this.restartBus(0);
        return;
      case "rollback":
        this.restartBus(1 + random.below(6));
        return;
      case "store-stall":
        say();
        // Also past the deadlines of a freeze and of a group's stop.
        store.stalledUntilMs = Math.max(
          store.stalledUntilMs,
          world.nowMs + random.between(100, random.pick([1_000, 5_000, 12_000])),
        );
        this.disturb(store.stalledUntilMs - world.nowMs);
        return;
      case "store-fault":
        say();
        store.faults.notDone = random.between(0, 0.1);
        store.faults.unknownDone = random.between(0, 0.1);
        store.faults.unknownNotDone = random.between(0, 0.1);
        this.mendAfter(random.between(50, 1_000), () => {
          store.faults.notDone = 0;
          store.faults.unknownDone = 0;
          store.faults.unknownNotDone = 0;
        });
        return;
    }
  }

  private hitNode(fault: "kill" | "stop" | "pause" | "cut" | "wall-jump", node: SimNode): void {
    const { world } = this.field;
    const { random } = world;
    if (!node.isAlive) return;
    world.note("nemesis", fault, () => node.nodeId);
    this.isHarmless = fault === "wall-jump";
    this.disturb(0);
    switch (fault) {
      case "kill":
        node.kill();
        this.mendAfter(random.between(50, 6_000), () => node.start());
        return;
      case "stop":
        node.stop(random.between(50, 4_000));
        this.disturb(500);
        return;
      case "pause": {
        const process = node.clock;
        process?.pause();
        this.mendAfter(random.between(50, 9_000), () => {
          world.note(node.nodeId, "goes on");
          process?.resume();
        });
        return;
      }
      case "cut":
        this.cut(node);
        return;
      case "wall-jump":
        node.clock?.jumpWall(random.between(-20_000, 20_000));
        return;
    }
  }

  /** In one direction or both; sooner or later each side gives the connection up. */
  private cut(node: SimNode): void {
    const { world } = this.field;
    const { random } = world;
    const { link } = node;
    if (link === undefined || link.isCut) return;
    const ways = random.pick([
      ["to-server"],
      ["from-server"],
      ["to-server", "from-server"],
    ] as const);
    for (const way of ways) link.cut(way);
    let isMended = false;
    world.after(random.between(500, 9_000), "server gives up", () => {
      if (!isMended) link.serverGivesUp();
    });
    world.after(random.between(500, 9_000), "client gives up", () => {
      if (!isMended) link.clientGivesUp();
    });
    this.mendAfter(random.between(100, 10_000), () => {
      isMended = true;
      world.note(node.nodeId, "is connected again");
      link.heal();
    });
  }

  private sever(): void {
    const { world, nodes, server } = this.field;
    const [one, other] = [world.random.pick(nodes).running, world.random.pick(nodes).running];
    if (one === undefined || other === undefined || one === other) return;
    const there = wayOf(one.name, other.name);
    const ways = world.random.chance(0.5) ? [there] : [there, wayOf(other.name, one.name)];
    world.note("nemesis", "sever", () => ways.join(" and "));
    for (const way of ways) server.severed.add(way);
    this.mendAfter(world.random.between(200, 6_000), () => {
      for (const way of ways) server.severed.delete(way);
    });
  }

  /** Without a leader for as long as a cluster takes; what was under way may be done or not. */
  private electKeyValueLeader(): void {
    const { world, keyValue } = this.field;
    const { random } = world;
    world.note("nemesis", "kv election");
    const { faults } = keyValue;
    faults.lostAnswer = random.between(0.1, 0.6);
    faults.lateWrite = random.between(0, 0.2);
    const gapMs = random.between(4_000, 10_000);
    world.after(random.between(1, 300), "nemesis", () => {
      if (faults.lostAnswer > 0) keyValue.leader = random.chance(0.5) ? "refusing" : "silent";
    });
    this.mendAfter(gapMs, () => {
      keyValue.leader = "present";
      faults.lostAnswer = 0;
      faults.lateWrite = 0;
      if (this.isOver) return;
      // The new leader's followers answer reads before they have caught up.
      faults.staleRead = random.between(0.2, 0.8);
      this.mendAfter(random.between(100, 2_000), () => {
        faults.staleRead = 0;
      });
    });
  }

  private slowDown(node: SimNode): void {
    const { world } = this.field;
    const { link } = node;
    if (link === undefined) return;
    const longestMs = world.random.between(20, 300);
    world.note("nemesis", "slow reader", () => `${node.nodeId} ${Math.round(longestMs)} ms`);
    let isSlow = true;
    const stall = (): void => {
      if (!isSlow) return;
      link.stall(world.random.between(20, longestMs));
      world.after(longestMs + world.random.between(5, 100), "nemesis", stall);
    };
    stall();
    this.mendAfter(world.random.between(500, 3_000), () => {
      isSlow = false;
    });
  }

  private hitDevice(): void {
    const { world, devices } = this.field;
    const { random } = world;
    const device = random.pick(devices);
    const kind = random.below(5);
    if (kind === 0) device.leave("close");
    else if (kind === 4) device.isRenewing = !device.isRenewing;
    else if (kind === 1) device.leave("vanish");
    else if (kind === 2) {
      world.note(device.name, "falls silent");
      device.isSilent = true;
      this.mendAfter(random.between(500, 8_000), () => device.speak());
    } else {
      device.isWanted = false;
      device.leave(random.chance(0.5) ? "close" : "vanish");
      this.mendAfter(random.between(500, 8_000), () => {
        device.isWanted = true;
        device.come();
      });
    }
  }

  /** All connections drop; the bucket may come back without its newest writes. */
  private restartBus(lostWrites: number): void {
    const { world, server, keyValue, placement } = this.field;
    world.note("nemesis", "bus restart", () => `loses ${lostWrites} writes`);
    const links = [...server.clients.values()].map((bus) => bus.link);
    for (const link of links) {
      link.cut("to-server");
      link.cut("from-server");
      link.serverGivesUp();
      link.clientGivesUp();
    }
    if (lostWrites > 0) {
      keyValue.rollBack(lostWrites);
      placement.onRollback(keyValue.snapshot());
    }
    this.mendAfter(world.random.between(50, 3_000), () => {
      for (const link of links) link.heal();
    });
  }

  private disturb(forMs: number): void {
    if (!this.isHarmless) this.field.calm.disturb(forMs);
  }

  private mendAfter(delayMs: number, mend: () => void): void {
    this.disturb(delayMs);
    const once = (): void => {
      if (this.undo.delete(once)) mend();
    };
    this.undo.add(once);
    this.field.world.after(delayMs, "nemesis", once);
  }
}
