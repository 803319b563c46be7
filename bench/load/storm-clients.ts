/**
 * Many devices in one process that lose their edge together, and come back as their
 * manners have it: like the SDK, whose own pace decides when, or at once and as often
 * as it takes. Lean, so that the load leaves the processor to what is under load.
 *
 * Invariant: a device has one socket at most, or one timer.
 */
import { setPriority } from "node:os";
import { setImmediate as atOnce } from "node:timers";
import { retryAfterMs } from "../../src/base/retry-after.js";
import { closeHintMs, ReconnectPace } from "../../src/client/reconnect-pace.js";
import { JwtTokens } from "../../src/drivers/jwt-tokens.js";
import { systemClock, systemRandom } from "../../src/drivers/system-clock.js";
import type { AppSecret } from "../../src/ports/tokens.js";
import type { Position } from "../../src/protocol/position.js";
import { Latencies, type LatencySummary, sharedMs } from "../harness/latency.js";
import { serve } from "../harness/worker-process.js";
import { AckBatches, type AckPolicy } from "./ack-batches.js";
import { ArrivalCheck, type ArrivalCounts, type Arrived } from "./arrival-check.js";
import { BelfryDevice } from "./belfry-device.js";
import { readBody } from "./body.js";
import type { Device, DeviceEvents } from "./device.js";
import type { LeanEnd } from "./lean-websocket.js";

export type Manners = "sdk" | "rude";

export interface StormOptions {
  readonly url: string;
  readonly app: string;
  readonly secret: AppSecret;
  readonly uids: readonly string[];
  readonly acks: AckPolicy;
  /** Of this process among the machine's: real clients take none of an edge's processor. */
  readonly niceness: number;
}

export interface StormCounts extends ArrivalCounts {
  readonly attached: number;
  readonly delivered: number;
  readonly frameErrors: number;
}

/** Since the storm began. */
export interface Storm {
  readonly attempts: number;
  /** When each device was back, in their order; of some devices several times. */
  readonly backMs: readonly number[];
  /** What ended connections and attempts, and how often. */
  readonly ends: Readonly<Record<string, number>>;
}

const connectingMax = 64;
/** The SDK's: without an attach by then the attempt has failed. */
const attachTimeoutMs = 15_000;
/** The SDK's: an attach that lasted so long ends the backoff. */
const stableAfterMs = 10_000;
const sweepEveryMs = 500;
const tokenSeconds = 3_600;

class StormDevice {
  readonly pace = new ReconnectPace(systemClock, systemRandom);
  current: BelfryDevice | undefined;
  position: Position | undefined;
  connects = 0;
  isAttached = false;
  sinceMs = 0;

  constructor(
    readonly user: number,
    readonly token: string,
  ) {}
}

class StormClients implements DeviceEvents {
  private readonly tokens = new JwtTokens({ find: () => undefined });
  private readonly check = new ArrivalCheck();
  private readonly latencies = new Latencies();
  private readonly acks: AckBatches;
  private readonly devices: StormDevice[] = [];
  private manners: Manners = "sdk";
  private startMs = 0;
  private attempts = 0;
  private backMs: number[] = [];
  private readonly ends = new Map<string, number>();
  private attached = 0;
  private delivered = 0;
  private frameErrors = 0;
  private isClosing = false;

  constructor(private readonly options: StormOptions) {
    this.acks = new AckBatches(options.acks);
    setInterval(() => this.sweep(), sweepEveryMs);
  }

  /** All are attached when it resolves. */
  async connect(): Promise<void> {
    const { uids } = this.options;
    let next = 0;
    const worker = async () => {
      while (next < uids.length) await this.connectFirst(next++);
    };
    await Promise.all(Array.from({ length: connectingMax }, worker));
  }

  private async connectFirst(user: number): Promise<void> {
    const { app, secret, uids } = this.options;
    const uid = uids[user] ?? "";
    const exp = Math.floor(Date.now() / 1_000) + tokenSeconds;
    const token = await this.tokens.sign({ app, sub: uid, exp, jti: uid }, secret);
    const device = new StormDevice(user, token);
    this.devices.push(device);
    this.open(device);
    await device.current?.ready;
  }

  private open(device: StormDevice): void {
    this.attempts++;
    device.connects++;
    device.sinceMs = performance.now();
    const { token, position, connects: connect } = device;
    const events: DeviceEvents = {
      onMessage: (current, body) => this.onMessage(current, body),
      onRepeat: (current) => this.onRepeat(current),
      onFrameError: () => this.onFrameError(),
      onLost: () => this.onEnd(device, current.end),
    };
    const current = new BelfryDevice(this.options.url, token, events, { position, connect });
    device.current = current;
    current.ready.then(
      () => this.onAttached(device),
      () => this.onEnd(device, current.end),
    );
  }

  private onAttached(device: StormDevice): void {
    device.isAttached = true;
    device.sinceMs = performance.now();
    this.attached++;
    this.backMs.push(sharedMs() - this.startMs);
  }

  private onEnd(device: StormDevice, end: LeanEnd | undefined): void {
    if (device.isAttached) {
      device.isAttached = false;
      device.position = device.current?.position;
      this.attached--;
    }
    device.current = undefined;
    if (this.isClosing) return;
    const { code = 0, reason = "timeout", retryAfter } = end ?? {};
    const why = code === 1006 ? reason : `closed ${code}`;
    this.ends.set(why, (this.ends.get(why) ?? 0) + 1);
    if (this.manners === "rude") {
      atOnce(() => this.open(device));
      return;
    }
    // As device-session.ts does.
    const hintMs = Math.max(closeHintMs(code, reason), retryAfterMs(retryAfter, Date.now()));
    device.pace.hold(hintMs);
    setTimeout(() => this.open(device), device.pace.nextMs());
  }

  onMessage(current: Device, body: Buffer): void {
    const { user, number, dueMs } = readBody(body);
    this.check.note(user, number);
    this.latencies.record(sharedMs() - dueMs);
    this.delivered++;
    this.acks.note(current);
  }

  onRepeat(current: Device): void {
    this.acks.note(current);
  }

  onFrameError(): void {
    this.frameErrors++;
  }

  onLost(): void {
    // Each connection tells it by itself.
  }

  private sweep(): void {
    const nowMs = performance.now();
    for (const device of this.devices) {
      const forMs = nowMs - device.sinceMs;
      if (device.isAttached && forMs > stableAfterMs) device.pace.reset();
      else if (!device.isAttached && forMs > attachTimeoutMs) device.current?.close();
    }
  }

  /** From now on; `cut`: the way to the edge breaks for all at once. */
  storm({ manners, cut }: { manners: Manners; cut: boolean }): void {
    this.manners = manners;
    this.startMs = sharedMs();
    this.attempts = 0;
    this.backMs = [];
    this.ends.clear();
    if (!cut) return;
    for (const { current } of this.devices) current?.cut();
  }

  stormSoFar(): Storm {
    const { attempts, backMs, ends } = this;
    return { attempts, backMs, ends: Object.fromEntries(ends) };
  }

  counts(): StormCounts {
    const { attached, delivered, frameErrors } = this;
    return { attached, delivered, frameErrors, ...this.check.counts() };
  }

  arrived(): Arrived {
    return this.check.arrived;
  }

  startLatencies(): void {
    this.latencies.reset();
  }

  latencySummary(): LatencySummary {
    return this.latencies.summary();
  }

  close(): void {
    this.isClosing = true;
    for (const { current } of this.devices) current?.close();
  }
}

let clients: StormClients | undefined;

function current(): StormClients {
  if (clients === undefined) throw new Error("the clients are not set up");
  return clients;
}

serve({
  setUp(options: StormOptions) {
    setPriority(options.niceness);
    clients = new StormClients(options);
  },
  connect: () => current().connect(),
  storm: (order: { manners: Manners; cut: boolean }) => current().storm(order),
  stormSoFar: () => current().stormSoFar(),
  counts: () => current().counts(),
  arrived: () => current().arrived(),
  startLatencies: () => current().startLatencies(),
  latencies: () => current().latencySummary(),
  close: () => current().close(),
});
