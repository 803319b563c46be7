/**
 * The clients of a loss test, on the SDK as it is shipped. Some stay, some come and go,
 * some vanish with their machine and come back on the same storage as a new object, some
 * refuse a message now and then, and some never come until the end.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Device, DeviceMessage } from "../../src/client/device-client.js";
import { SeededRandom } from "../sim/seeded-random.js";
import { EdgeSockets } from "./edge-sockets.js";
import type { LossLedger } from "./loss-ledger.js";
import { memoryStorage, type Platform } from "./platform.js";

const habits = ["steady", "restless", "vanishing", "slow", "roaming", "refusing", "late"] as const;
export type LossHabit = (typeof habits)[number];

/** How long one stays and stays away, from and to. */
const stays: Partial<Record<LossHabit, readonly [staysMs: number, awayMs: number]>> = {
  restless: [800, 600],
  vanishing: [2_500, 300],
  roaming: [3_000, 12_000],
};
const slowMs = 15;
const refusesEvery = 60;
const acks = { messagesMax: 32, delayMs: 50 };

interface LossDevice {
  readonly uid: string;
  readonly name: string;
  readonly habit: LossHabit;
  device: Device;
}

export function habitOf(index: number): LossHabit {
  return habits[index % habits.length] ?? "steady";
}

export class LossDevices {
  readonly all: LossDevice[] = [];
  readonly sockets: EdgeSockets;
  private readonly storages = new Map<string, ReturnType<typeof memoryStorage>>();
  private readonly walks: Promise<void>[] = [];
  private readonly random: SeededRandom;
  private isWalking = true;

  constructor(
    private readonly platform: Platform,
    private readonly ledger: LossLedger,
    seed: number,
  ) {
    this.random = new SeededRandom(seed + 1);
    this.sockets = new EdgeSockets(platform, [...platform.nodes.keys()]);
  }

  get areAttached(): boolean {
    return this.all.every(({ device }) => device.state.name === "attached");
  }

  /** A late one is known from now on, and comes with `gather`. */
  add(uid: string, name: string, habit: LossHabit): void {
    this.ledger.addDevice(uid, name);
    if (habit !== "late")
      this.all.push({ uid, name, habit, device: this.connect(uid, name, habit) });
  }

  stir(): void {
    for (const each of this.all) {
      if (stays[each.habit] !== undefined) this.walks.push(this.walk(each));
    }
  }

  /** Nobody comes and goes any more; who was away is back. */
  async calm(): Promise<void> {
    this.isWalking = false;
    await Promise.all(this.walks);
    for (const { device } of this.all) device.connect();
  }

  /** Those who never came. */
  gather(uids: readonly string[]): void {
    for (const uid of uids) {
      const device = this.connect(uid, "phone", "steady");
      this.all.push({ uid, name: "phone", habit: "late", device });
    }
  }

  close(): void {
    this.isWalking = false;
    for (const { device } of this.all) device.close();
  }

  private connect(uid: string, name: string, habit: LossHabit): Device {
    const key = `${uid}/${name}`;
    const storage = this.storages.get(key) ?? memoryStorage();
    this.storages.set(key, storage);
    const urls = this.sockets.urls;
    const at = this.all.length % urls.length;
    return this.platform.device(uid, {
      device: name,
      storage,
      urls: [...urls.slice(at), ...urls.slice(0, at)],
      socket: this.sockets.socketOf(key),
      acks,
      onMessage: (message) => this.take(uid, name, habit, message),
    });
  }

  private take(
    uid: string,
    device: string,
    habit: LossHabit,
    { id, body, position }: DeviceMessage,
  ): void | Promise<void> {
    if (habit === "refusing" && this.isWalking && this.random.below(refusesEvery) === 0) {
      throw new Error("not now");
    }
    const { publisher, number } = body as { publisher: string; number: number };
    const seq = position?.seq ?? 0;
    this.ledger.noteShown(uid, device, { publisher, number, id, seq, wallMs: Date.now() });
    return habit === "slow" ? delay(slowMs) : undefined;
  }

  private async walk(each: LossDevice): Promise<void> {
    const { uid, name, habit } = each;
    const [staysMs, awayMs] = stays[habit] ?? [0, 0];
    while (this.isWalking) {
      await this.forAWhile(staysMs);
      if (!this.isWalking) return;
      if (habit === "vanishing") this.sockets.cut(`${uid}/${name}`);
      each.device.close();
      await this.forAWhile(awayMs);
      if (habit === "vanishing") each.device = this.connect(uid, name, habit);
      else each.device.connect();
    }
  }

  /** Give or take a half; at most half a second longer when the walk ends. */
  private async forAWhile(ms: number): Promise<void> {
    const endMs = performance.now() + ms * this.random.between(0.5, 1.5);
    while (this.isWalking && performance.now() < endMs) {
      await delay(Math.min(500, Math.max(1, endMs - performance.now())));
    }
  }
}
