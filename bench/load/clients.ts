/**
 * Many devices in one process, on lean WebSockets: take messages, check the
 * publisher's numbers, acknowledge as the SDK does (after so many messages, or so
 * long after the first that waits), answer pings.
 */
import { JwtTokens } from "../../src/drivers/jwt-tokens.js";
import type { AppSecret } from "../../src/ports/tokens.js";
import { Latencies, type LatencySummary, sharedMs } from "../harness/latency.js";
import { serve } from "../harness/worker-process.js";
import { AckBatches, type AckPolicy } from "./ack-batches.js";
import { ArrivalCheck, type ArrivalCounts } from "./arrival-check.js";
import { BareDevice } from "./bare-device.js";
import { BelfryDevice } from "./belfry-device.js";
import { readBody } from "./body.js";
import type { Device, DeviceEvents } from "./device.js";
import { GreetedDevice, greetings } from "./greeted-device.js";

export interface ClientsOptions {
  /**
   * belfry: hello with a token. bare: the user's number in the path, no more. The others are
   * of servers that are compared with: the same token as they take it.
   */
  readonly speech: "belfry" | "bare" | keyof typeof greetings;
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
  /** So many are under way at once (64). */
  readonly connectingMax?: number;
}

const connectingMaxDefault = 64;
const tokenSeconds = 3_600;

class Clients implements DeviceEvents {
  private devices: Device[] = [];
  private readonly signed = new Map<string, string>();
  private readonly check = new ArrivalCheck();
  private readonly latencies = new Latencies();
  /** Since it was asked for last. */
  private readonly lately = new Latencies();
  private readonly tokens = new JwtTokens({ find: () => undefined });
  private readonly acks: AckBatches;
  private connected = 0;
  private delivered = 0;
  private frameErrors = 0;
  private lost = 0;
  private firstLoss = "";
  private isClosing = false;

  constructor(private readonly options: ClientsOptions) {
    this.acks = new AckBatches(options.acks);
  }

  async connect(range: UserRange): Promise<void> {
    const { uids, from, connectingMax = connectingMaxDefault } = range;
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
    const { speech, urls } = this.options;
    const url = urls[user % urls.length] ?? "";
    if (speech === "bare") {
      await this.add(new BareDevice(url, user, this));
      return;
    }
    const token = this.signed.get(uid) ?? (await this.sign(uid));
    if (speech === "belfry") await this.add(new BelfryDevice(url, token, this));
    else await this.add(new GreetedDevice(url, token, greetings[speech], this));
  }

  private sign(uid: string): Promise<string> {
    const { app, secret } = this.options;
    const exp = Math.floor(Date.now() / 1_000) + tokenSeconds;
    return this.tokens.sign({ app, sub: uid, exp, jti: uid }, secret);
  }

  /** Before they connect, so that it takes none of that time. */
  async signAll(uids: readonly string[]): Promise<void> {
    for (const uid of uids) this.signed.set(uid, await this.sign(uid));
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
    this.acks.note(device);
  }

  onRepeat(device: Device): void {
    this.acks.note(device);
  }

  /** For what comes from now on; call it when nothing waits for its ack. */
  setAcks(acks: AckPolicy): void {
    this.acks.policy = acks;
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

  counts(): ClientsCounts {
    const { connected, delivered, frameErrors, lost, firstLoss } = this;
    const { acked } = this.acks;
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

  /** Others may connect afterwards; resolves when all are gone from here. */
  async leave(): Promise<void> {
    this.close();
    await new Promise((resolve) => setImmediate(resolve));
    this.devices = [];
    this.connected = 0;
    this.isClosing = false;
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
  signAll: (uids: readonly string[]) => current().signAll(uids),
  connect: (range: UserRange) => current().connect(range),
  leave: () => current().leave(),
  counts: () => current().counts(),
  setAcks: (acks: AckPolicy) => current().setAcks(acks),
  startLatencies: () => current().startLatencies(),
  latencies: () => current().latencySummary(),
  takeLately: () => current().takeLately(),
  close: () => current().close(),
});
