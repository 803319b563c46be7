/**
 * Many devices in one process, on lean WebSockets: take messages, check the
 * publisher's numbers, acknowledge as the SDK does (after so many messages, or so
 * long after the first that waits), answer pings.
 */
import { JwtTokens } from "../../src/drivers/jwt-tokens.js";
import type { AppSecret } from "../../src/ports/tokens.js";
import { Latencies, type LatencySummary, sharedMs } from "../harness/latency.js";
import { serve } from "../harness/worker-process.js";
import { ArrivalCheck, type ArrivalCounts } from "./arrival-check.js";
import { BareDevice } from "./bare-device.js";
import { BelfryDevice } from "./belfry-device.js";
import { readBody } from "./body.js";
import type { Device, DeviceEvents } from "./device.js";

/** When a device acknowledges: after so many messages, or so long after the first of them. */
export interface AckPolicy {
  readonly messagesMax: number;
  readonly delayMs: number;
}

export interface ClientsOptions {
  /** belfry: hello with a token. bare: the user's number in the path, no more. */
  readonly speech: "belfry" | "bare";
  /** Users take them in turn. */
  readonly urls: readonly string[];
  readonly app: string;
  readonly secret: AppSecret;
  readonly acks: AckPolicy;
}

export interface ClientsCounts extends ArrivalCounts {
  readonly atMs: number;
  readonly connected: number;
  readonly delivered: number;
  /** Messages that acks were sent for. */
  readonly acked: number;
  readonly frameErrors: number;
  /** Closed though nobody here asked for it, and why the first one was. */
  readonly lost: number;
  readonly firstLoss: string;
}

/** A range of users, `to` not in it. */
export interface UserRange {
  readonly uids: readonly string[];
  readonly from: number;
}

const connectingMax = 64;
const ackTickMs = 5;
const tokenSeconds = 3_600;

class Clients implements DeviceEvents {
  private readonly devices: Device[] = [];
  private readonly check = new ArrivalCheck();
  private readonly latencies = new Latencies();
  /** Since it was asked for last. */
  private readonly lately = new Latencies();
  private readonly tokens = new JwtTokens({ find: () => undefined });
  private ackQueue: { device: Device; dueMs: number }[] = [];
  private acks: AckPolicy;
  private connected = 0;
  private delivered = 0;
  private acked = 0;
  private frameErrors = 0;
  private lost = 0;
  private firstLoss = "";
  private isClosing = false;

  constructor(private readonly options: ClientsOptions) {
    this.acks = options.acks;
    setInterval(() => this.flushAcks(), ackTickMs);
  }

  async connect({ uids, from }: UserRange): Promise<void> {
    let next = 0;
    const worker = async () => {
      while (next < uids.length) {
        const at = next++;
        await this.connectOne(from + at, uids[at] ?? "");
      }
    };
    await Promise.all(Array.from({ length: connectingMax }, worker));
  }

  private async connectOne(user: number, uid: string): Promise<void> {
    const { speech, urls, app, secret } = this.options;
    const url = urls[user % urls.length] ?? "";
    if (speech === "bare") {
      await this.add(new BareDevice(url, user, this));
      return;
    }
    const exp = Math.floor(Date.now() / 1_000) + tokenSeconds;
    const claims = { app, sub: uid, exp, jti: uid };
    const token = await this.tokens.sign(claims, secret);
    await this.add(new BelfryDevice(url, token, this));
  }

  private async add(device: Device): Promise<void> {
    this.devices.push(device);
    await device.ready;
    this.connected++;
  }

  onMessage(device: Device, body: Buffer): void {
    const { user, number, dueMs } = readBody(body);
    this.check.note(user, number);
    const tookMs = sharedMs() - dueMs;
    this.latencies.record(tookMs);
    this.lately.record(tookMs);
    this.delivered++;
    this.ackLater(device);
  }

  onRepeat(device: Device): void {
    this.ackLater(device);
  }

  private ackLater(device: Device): void {
    device.unacked++;
    const { messagesMax, delayMs } = this.acks;
    if (device.unacked >= messagesMax) this.ack(device);
    else if (device.unacked === 1) {
      this.ackQueue.push({ device, dueMs: performance.now() + delayMs });
    }
  }

  /** For what comes from now on; call it when nothing waits for its ack. */
  setAcks(acks: AckPolicy): void {
    this.acks = acks;
  }

  onFrameError(): void {
    this.frameErrors++;
  }

  onLost(reason: string): void {
    if (this.isClosing) return;
    this.connected--;
    this.lost++;
    if (this.lost === 1) this.firstLoss = reason;
  }

  private ack(device: Device): void {
    this.acked += device.unacked;
    device.unacked = 0;
    device.sendAck();
  }

  /** All wait equally long, so the queue is in the order of its times. */
  private flushAcks(): void {
    const nowMs = performance.now();
    let taken = 0;
    for (const { device, dueMs } of this.ackQueue) {
      if (dueMs > nowMs) break;
      taken++;
      // Acked meanwhile because there were many.
      if (device.unacked > 0) this.ack(device);
    }
    if (taken > 0) this.ackQueue = this.ackQueue.slice(taken);
  }

  counts(): ClientsCounts {
    const { connected, delivered, acked, frameErrors, lost, firstLoss } = this;
    const own = { connected, delivered, acked, frameErrors, lost, firstLoss };
    return { atMs: sharedMs(), ...own, ...this.check.counts() };
  }

  startLatencies(): void {
    this.latencies.reset();
    this.lately.reset();
  }

  takeLately(): LatencySummary {
    const summary = this.lately.summary();
    this.lately.reset();
    return summary;
  }

  latencySummary(): LatencySummary {
    return this.latencies.summary();
  }

  close(): void {
    this.isClosing = true;
    for (const device of this.devices) device.close();
  }
}

let clients: Clients | undefined;

function current(): Clients {
  if (clients === undefined) throw new Error("the clients are not set up");
  return clients;
}

serve({
  setUp(options: ClientsOptions) {
    clients = new Clients(options);
  },
  connect: (range: UserRange) => current().connect(range),
  counts: () => current().counts(),
  setAcks: (acks: AckPolicy) => current().setAcks(acks),
  startLatencies: () => current().startLatencies(),
  latencies: () => current().latencySummary(),
  takeLately: () => current().takeLately(),
  close: () => current().close(),
});
