/**
 * Devices of a recorded load, on the SDK as it is shipped: steady ones, slow ones, ones
 * that come and go, ones that stay away once they were cut off, until they are called
 * back, and ones that never acknowledge until they are told to.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Device } from "../../src/client/device-client.js";
import { EdgeSockets } from "./edge-sockets.js";
import { memoryStorage, type Platform } from "./platform.js";
import type { Body, RecordedHistory } from "./recorded-history.js";
import { until } from "./until.js";

export type Habit = "steady" | "slow" | "restless" | "fickle" | "silent";

export interface RecordedDevice {
  readonly uid: string;
  readonly name: string;
  readonly habit: Habit;
  readonly device: Device;
}

const slowMs = 20;
/** A restless one stays and stays away for so long each, give or take a half. */
const restlessMs = 600;
const never = { messagesMax: Number.MAX_SAFE_INTEGER, delayMs: 3_600_000 };
const soon = { messagesMax: 32, delayMs: 50 };

export class RecordedDevices {
  readonly all: RecordedDevice[] = [];
  readonly sockets: EdgeSockets;
  private readonly storages = new Map<string, ReturnType<typeof memoryStorage>>();
  private readonly walks: Promise<void>[] = [];
  private isWalking = true;

  constructor(
    private readonly platform: Platform,
    private readonly history: RecordedHistory,
  ) {
    this.sockets = new EdgeSockets(platform, [...platform.nodes.keys()]);
  }

  get areAttached(): boolean {
    return this.all.every(({ device }) => device.state.name === "attached");
  }

  async untilAttached(): Promise<void> {
    await until("all devices are attached", () => this.areAttached).catch((error: Error) => {
      const others = this.all.filter(({ device }) => device.state.name !== "attached");
      const states = others.map(({ uid, name, device }) => {
        return `${uid}/${name} ${JSON.stringify(device.state)}`;
      });
      throw new Error(`${error.message}: ${states.join(", ")}`);
    });
  }

  /** Sockets that the devices opened which had no reason of their own to. */
  get openedByResting(): number {
    return this.all
      .filter(({ habit }) => habit !== "restless")
      .reduce((sum, { uid, name }) => sum + this.sockets.openedBy(`${uid}/${name}`), 0);
  }

  add(uid: string, name: string, habit: Habit): void {
    this.history.addDevice(uid, name);
    this.all.push({ uid, name, habit, device: this.connect(uid, name, habit) });
  }

  /** The restless ones come and go from now on. */
  stir(): void {
    for (const recorded of this.all) {
      if (recorded.habit === "restless") this.walks.push(this.walk(recorded));
    }
  }

  /** The silent ones acknowledge from now on, the restless ones stay; who left is not back. */
  async calm(): Promise<void> {
    this.isWalking = false;
    await Promise.all(this.walks);
    for (const [at, { uid, name, habit, device }] of this.all.entries()) {
      if (habit === "restless") device.connect();
      if (habit !== "silent") continue;
      device.close();
      this.all[at] = { uid, name, habit, device: this.connect(uid, name, "steady") };
    }
  }

  /** Who was cut off and left comes back. */
  recall(): void {
    for (const { device } of this.all) device.connect();
  }

  close(): void {
    this.isWalking = false;
    for (const { device } of this.all) device.close();
  }

  private connect(uid: string, name: string, habit: Habit): Device {
    const key = `${uid}/${name}`;
    const storage = this.storages.get(key) ?? memoryStorage();
    this.storages.set(key, storage);
    const device: Device = this.platform.device(uid, {
      device: name,
      onState: (state) => {
        if (habit === "fickle" && state.name === "waiting" && this.isWalking) device.close();
      },
      storage,
      urls: rotated(this.sockets.urls, this.all.length),
      socket: this.sockets.socketOf(key),
      acks: habit === "silent" ? never : soon,
      onMessage: ({ id, body }) => {
        const { publisher, number } = body as Body;
        this.history.noteShown(uid, name, { publisher, number, id, atMs: performance.now() });
        return habit === "slow" ? delay(slowMs) : undefined;
      },
    });
    return device;
  }

  private async walk({ device }: RecordedDevice): Promise<void> {
    while (this.isWalking) {
      await delay(restlessMs * (0.5 + Math.random()));
      if (!this.isWalking) return;
      if (device.state.name === "idle") device.connect();
      else device.close();
    }
  }
}

/** So that the devices' first edges differ. */
function rotated(urls: readonly string[], by: number): string[] {
  const at = by % urls.length;
  return [...urls.slice(at), ...urls.slice(0, at)];
}
