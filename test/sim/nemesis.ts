/**
 * Breaks things at random for a while, then mends all of it. Each seed draws which
 * faults it has and how often they come, so that some seeds are quiet but for one.
 */
import type { ModelDevice } from "./model-device.js";
import type { PlacementChecks } from "./placement-checks.js";
import { pairOf, type SimBusServer } from "./sim-bus.js";
import type { SimKeyValueServer } from "./sim-key-value.js";
import type { SimNode } from "./sim-node.js";
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
}

export const faultNames = [
  "kill",
  "stop",
  "pause",
  "cut",
  "sever",
  "loss",
  "slow-bus",
  "kv-gap",
  "kv-unknown",
  "kv-stale",
  "bus-restart",
  "rollback",
  "store-stall",
  "store-fault",
  "wall-jump",
  "device",
] as const;

export type FaultName = (typeof faultNames)[number];

export class Nemesis {
  readonly counts = new Map<FaultName, number>();
  private isOver = false;
  private readonly undo = new Set<() => void>();

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
    for (const mend of [...this.undo]) mend();
    for (const node of nodes) node.start();
    for (const device of devices) {
      device.isWanted = true;
      device.speak();
      device.come();
    }
  }

  private arm(fault: FaultName, everyMs: number): void {
    const { world } = this.field;
    world.after(world.random.waitMs(everyMs), "nemesis", () => {
      if (this.isOver) return;
      this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
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
        this.hitNode(fault);
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
        store.stalledUntilMs = world.nowMs + random.between(100, 5_000);
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

  private hitNode(fault: "kill" | "stop" | "pause" | "cut" | "wall-jump"): void {
    const { world } = this.field;
    const { random } = world;
    const node = random.pick(this.field.nodes);
    if (!node.isAlive) return;
    world.note("nemesis", fault, () => node.nodeId);
    switch (fault) {
      case "kill":
        node.kill();
        this.mendAfter(random.between(50, 6_000), () => node.start());
        return;
      case "stop":
        node.stop(random.between(50, 4_000));
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
    const pair = pairOf(one.name, other.name);
    world.note("nemesis", "sever", () => pair);
    server.severed.add(pair);
    this.mendAfter(world.random.between(200, 6_000), () => server.severed.delete(pair));
  }

  private hitDevice(): void {
    const { world, devices } = this.field;
    const { random } = world;
    const device = random.pick(devices);
    const kind = random.below(4);
    if (kind === 0) device.leave("close");
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

  private mendAfter(delayMs: number, mend: () => void): void {
    const once = (): void => {
      if (this.undo.delete(once)) mend();
    };
    this.undo.add(once);
    this.field.world.after(delayMs, "nemesis", once);
  }
}
