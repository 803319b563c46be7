/**
 * What a loss test does to its platform, at times that a seed chooses: each part is killed
 * with -9 and started again, or stopped for a while, also for longer than the lease. A
 * part has one fault at a time; now and then two parts have one together.
 */
import { setTimeout as delay } from "node:timers/promises";
import { defaultLimits } from "../../actors/limits.js";
import { SeededRandom } from "../sim/seeded-random.js";
import type { KeptNodes } from "./kept-nodes.js";
import type { Platform } from "./platform.js";
import { sendRedis } from "./redis-command.js";
import type { ServerProcess } from "./server-process.js";

export interface LossFault {
  /** Such as "nats"; of several nodes one is chosen. */
  readonly parts: readonly string[];
  readonly name: string;
  /** Breaks it, waits, and mends it. */
  strike(random: SeededRandom, burst: () => void): Promise<void>;
}

export interface FaultDone {
  readonly fault: string;
  readonly fromMs: number;
  readonly toMs: number;
}

const { leaseMs, leaseMarginMs } = defaultLimits;
const calmMs = [1_500, 5_000] as const;
const doubleChance = 0.25;
/** A fault comes so soon after a burst of pushes, which so is on its way. */
const ambushMs = 40;

export class LossFaults {
  readonly done: FaultDone[] = [];
  private readonly struck = new Set<string>();
  private readonly underWay = new Set<Promise<void>>();
  private readonly random: SeededRandom;
  /** Shuffled, and again when all have been done: none is left out by chance. */
  private round: LossFault[] = [];
  private readonly startMs = performance.now();

  constructor(
    private readonly faults: readonly LossFault[],
    seed: number,
    private readonly burst: () => void,
  ) {
    this.random = new SeededRandom(seed);
  }

  /** Resolves at `endMs` or when `isOver`, with everything mended. */
  async run(endMs: number, isOver: () => boolean): Promise<void> {
    while (performance.now() < endMs && !isOver()) {
      this.burst();
      await delay(this.random.between(0, ambushMs));
      this.begin();
      if (this.random.chance(doubleChance)) this.begin();
      await Promise.all(this.underWay);
      const pauseEndMs = performance.now() + this.random.between(...calmMs);
      while (performance.now() < Math.min(pauseEndMs, endMs) && !isOver()) await delay(100);
    }
    await Promise.all(this.underWay);
  }

  private begin(): void {
    if (this.round.length === 0) this.round = shuffled(this.faults, this.random);
    const at = this.round.findIndex(({ parts }) => !parts.some((part) => this.struck.has(part)));
    const [fault] = at < 0 ? [] : this.round.splice(at, 1);
    if (fault === undefined) return;
    const strike = this.strike(fault).finally(() => this.underWay.delete(strike));
    this.underWay.add(strike);
  }

  private async strike(fault: LossFault): Promise<void> {
    const fromMs = Math.round(performance.now() - this.startMs);
    for (const part of fault.parts) this.struck.add(part);
    await fault.strike(this.random, this.burst);
    for (const part of fault.parts) this.struck.delete(part);
    const toMs = Math.round(performance.now() - this.startMs);
    this.done.push({ fault: fault.name, fromMs, toMs });
  }
}

function shuffled<Item>(items: readonly Item[], random: SeededRandom): Item[] {
  return items
    .map((item) => ({ item, at: random.next() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

export function nodeFaults(nodes: KeptNodes): LossFault[] {
  const parts = ["node"];
  return [
    {
      parts,
      name: "node killed",
      strike: (random) => nodes.kill([random.pick(nodes.names)], random.between(0, 4_000)),
    },
    {
      parts,
      name: "two nodes killed",
      strike: (random) => {
        const left = random.pick(nodes.names);
        const names = nodes.names.filter((name) => name !== left).slice(0, 2);
        return nodes.kill(names, random.between(0, 4_000));
      },
    },
    {
      parts,
      name: "node stopped past its lease",
      strike: (random) => nodes.stopFor(random.pick(nodes.names), pastLeaseMs(random)),
    },
    {
      parts,
      name: "node stopped about as long as its lease",
      strike: (random) =>
        nodes.stopFor(random.pick(nodes.names), leaseMs * random.between(0.5, 1.3)),
    },
  ];
}

export function natsFaults({ nats }: Platform): LossFault[] {
  return [
    {
      parts: ["nats"],
      name: "NATS killed",
      strike: async (random) => {
        nats.kill("SIGKILL");
        await delay(random.between(0, 8_000));
        await nats.restart();
      },
    },
    {
      parts: ["nats"],
      name: "NATS stopped",
      strike: async (random) => {
        nats.kill("SIGSTOP");
        await delay(random.between(500, 6_000));
        nats.kill("SIGCONT");
      },
    },
  ];
}

function pastLeaseMs(random: SeededRandom): number {
  return leaseMs + leaseMarginMs + random.between(1_000, 4_000);
}

/** Redis has no persistence: each start is an empty one. */
export function redisFaults(redis: ServerProcess): LossFault[] {
  return [
    {
      parts: ["redis"],
      name: "Redis killed",
      strike: (random) => restartLater(redis, random, 4_000),
    },
    { parts: ["redis"], name: "Redis stopped", strike: (random) => stopFor(redis, random, 6_000) },
    {
      parts: ["redis"],
      name: "Redis flushed",
      strike: async () => void (await sendRedis(redis.port, "FLUSHALL")),
    },
  ];
}

export function mariadbFaults(mariadb: ServerProcess, nodes: KeptNodes): LossFault[] {
  return [
    {
      parts: ["mariadb"],
      name: "MariaDB killed",
      strike: (random) => restartLater(mariadb, random, 5_000),
    },
    {
      parts: ["mariadb"],
      name: "MariaDB stopped",
      strike: (random) => stopFor(mariadb, random, 12_000),
    },
    {
      parts: ["mariadb", "node"],
      name: "node stopped past its lease while its commits wait",
      // What waited is sent when it goes on, though others have those shards by then: only
      // the fence is in its way. Within the 5 s that a commit may take, or it is given up.
      strike: async (random, burst) => {
        mariadb.signal("SIGSTOP");
        burst();
        await delay(100);
        const stoppedMs = leaseMs + leaseMarginMs + random.between(300, 750);
        const stopped = nodes.stopFor(random.pick(nodes.names), stoppedMs);
        await delay(50);
        mariadb.signal("SIGCONT");
        await stopped;
      },
    },
  ];
}

async function restartLater(server: ServerProcess, random: SeededRandom, mostMs: number) {
  await server.crash();
  await delay(random.between(0, mostMs));
  await server.restart();
}

async function stopFor(server: ServerProcess, random: SeededRandom, mostMs: number) {
  server.signal("SIGSTOP");
  await delay(random.between(500, mostMs));
  server.signal("SIGCONT");
}
