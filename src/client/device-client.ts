/**
 * The SDK for devices: one signed-in user on one installation, in a browser or in
 * Node. It connects, takes each push once and in order, acknowledges what the app
 * took, and comes back by itself. docs/protocol.md is what it speaks;
 * connection-phase.ts draws its states.
 *
 *   const device = createDevice({
 *     url: "wss://push.example.com/connect",
 *     getToken: async () => (await fetch("/push-token")).text(),
 *     onMessage: (message) => show(message.body),
 *   });
 *   device.connect();
 *
 * Invariant: at most one connection is alive, and it is the phase's.
 */
import type { Cancel, Clock } from "../base/clock.js";
import { type Random, randomToken } from "../base/random.js";
import { mayComeBack } from "../protocol/close-codes.js";
import { clientKinds, protocolVersion } from "../protocol/frames.js";
import type { Position } from "../protocol/position.js";
import type { AckLimits } from "./ack-batcher.js";
import { AddressBook } from "./address-book.js";
import { Attach } from "./attach.js";
import {
  connectionOf,
  type DeviceState,
  deviceState,
  leavePhase,
  type Phase,
} from "./connection-phase.js";
import { DeviceMemory } from "./device-memory.js";
import { deviceMessage } from "./device-message.js";
import { type Device, DeviceError, type DeviceOptions } from "./device-options.js";
import type { DeviceSocketConstructor } from "./device-socket.js";
import {
  type ConnectionEnd,
  clientCloseCodes,
  EdgeConnection,
  type SessionFrame,
} from "./edge-connection.js";
import { EdgeFinder, type EdgePlace } from "./edge-finder.js";
import { Intake } from "./intake.js";
import type { NetworkSource, NetworkType } from "./network-source.js";
import {
  platformClock,
  platformFetch,
  platformNetwork,
  platformRandom,
  platformStorage,
} from "./platform.js";
import { closeHintMs, ReconnectPace, sendsElsewhere } from "./reconnect-pace.js";
import type { AttachedFrame, PassingFrame, RecalledFrame } from "./server-frames.js";
import { accountName, accountOfToken } from "./token-account.js";
import { fetchToken } from "./token-fetch.js";

export type { DeviceState } from "./connection-phase.js";
export type { DeviceMessage } from "./device-message.js";
export { type Device, DeviceError, type DeviceOptions } from "./device-options.js";
export type { DeviceSocket, DeviceSocketConstructor } from "./device-socket.js";
export type { DeviceStorage } from "./device-storage.js";
export type { NetworkSource, NetworkType } from "./network-source.js";

/** Throws when no URL or no WebSocket is there to use; connects only by `connect()`. */
export function createDevice(options: DeviceOptions): Device {
  return new DeviceClient(options);
}

const tokenTimeoutMs = 30_000;
const attachTimeoutMs = 15_000;
/** An attach that lasted so long ends the backoff. */
const stableAfterMs = 10_000;
const deviceIdLength = 20;
/** A network that comes and goes hurries nobody more often. */
const hurryEveryMs = 5_000;

class DeviceClient implements Device {
  private phase: Phase = { name: "idle" };
  private readonly socket: DeviceSocketConstructor;
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly ackLimits: AckLimits;
  private readonly pace: ReconnectPace;
  private readonly memory: DeviceMemory;
  private readonly intake: Intake;
  private readonly network: NetworkSource;
  private readonly finder: EdgeFinder;
  /** What the platform said last; a change is what differs from it. */
  private networkNow: NetworkType = "unknown";
  private ignoreNetwork: Cancel | undefined;
  private hurriedAtMs = Number.NEGATIVE_INFINITY;
  private isFetchingToken = false;

  constructor(private readonly options: DeviceOptions) {
    const urls = options.urls ?? (options.url === undefined ? [] : [options.url]);
    const { dispatcher } = options;
    if (urls.length === 0 && dispatcher === undefined) {
      throw new TypeError("createDevice needs a url, urls or a dispatcher");
    }
    const socket = options.socket ?? globalThis.WebSocket;
    if (socket === undefined) {
      throw new TypeError("no global WebSocket here: pass `socket`, in Node the one of `ws`");
    }
    this.socket = socket;
    this.clock = options.clock ?? platformClock;
    this.random = options.random ?? platformRandom;
    this.ackLimits = { messagesMax: 32, delayMs: 50, ...options.acks };
    this.pace = new ReconnectPace(this.clock, this.random, options.backoff);
    const storage = options.storage ?? platformStorage();
    const prefix = options.storagePrefix ?? "belfry.";
    const onStorageFailed = (cause: unknown) => this.report("STORAGE", "the storage failed", cause);
    this.memory = new DeviceMemory(storage, prefix, onStorageFailed);
    this.network = options.network ?? platformNetwork();
    const isSecure =
      dispatcher?.startsWith("https:") ?? urls.every((url) => url.startsWith("wss:"));
    this.finder = new EdgeFinder({
      clock: this.clock,
      random: this.random,
      book: new AddressBook(storage, prefix, urls, isSecure, onStorageFailed),
      pace: this.pace,
      network: this.network,
      dispatcher,
      fetch: options.fetch ?? platformFetch,
      onFailed: (reason) => this.report("DISPATCHER", reason),
    });
    this.intake = new Intake(this.memory, options.onMessage, (cause) => this.onRejected(cause));
  }

  get state(): DeviceState {
    return deviceState(this.phase);
  }

  get position(): Position | undefined {
    return this.memory.position;
  }

  connect(): void {
    if (this.ignoreNetwork === undefined) {
      this.networkNow = this.network.current();
      this.ignoreNetwork = this.network.onChange(() => this.onNetwork());
    }
    const { name } = this.phase;
    if (name !== "idle" && name !== "waiting" && name !== "stopped") return;
    // An app may be impatient, but not with a server that asked for time.
    if (this.pace.heldMs === 0) void this.prepare();
    else if (name !== "waiting") this.wait("a server asked to wait");
  }

  close(): void {
    this.ignoreNetwork?.();
    this.ignoreNetwork = undefined;
    if (this.phase.name === "attached") this.phase.attach.flush();
    const connection = connectionOf(this.phase);
    this.enter({ name: "idle" });
    connection?.end(clientCloseCodes.DONE, "");
    this.intake.drop();
    this.pace.reset();
  }

  private async prepare(): Promise<void> {
    const phase: Phase = { name: "preparing" };
    this.enter(phase);
    await this.memory.load();
    if (this.phase !== phase) return;
    let token: string;
    try {
      token = await fetchToken(this.options.getToken, this.clock, tokenTimeoutMs);
    } catch (cause) {
      if (this.phase !== phase) return;
      this.report("TOKEN", "getToken failed", cause);
      return this.wait("no token");
    }
    if (this.phase !== phase) return;
    const place = await this.finder.find(token, this.nameDevice());
    if (this.phase !== phase) return;
    if ("wait" in place) this.wait(place.wait);
    else this.open(token, place);
  }

  private open(token: string, place: EdgePlace): void {
    const { url } = place;
    try {
      const connection: EdgeConnection = new EdgeConnection({
        url,
        socket: this.socket,
        protocol: this.options.protocol ?? "belfry.v1",
        clock: this.clock,
        attachTimeoutMs,
        hello: () => this.hello(token),
        onFrame: (frame) => this.onFrame(connection, frame),
        onEnd: (end) => this.onEnd(connection, end),
      });
      this.enter({ name: "greeting", connection, place });
    } catch (cause) {
      this.report("CONNECTION", `no connection to ${url}`, cause);
      this.wait("no connection");
    }
  }

  private nameDevice(): string {
    const { options, memory } = this;
    if (options.device !== undefined) memory.device = options.device;
    return memory.device ?? memory.nameDevice(randomToken(this.random, deviceIdLength));
  }

  private hello(token: string): Record<string, unknown> {
    const { options, memory } = this;
    const position = memory.positionOf(accountOfToken(token));
    return {
      v: protocolVersion,
      token,
      device: memory.device,
      connect: memory.nextConnect(Math.floor(this.clock.wallMs())),
      start: options.start ?? "new",
      ...(options.platform === undefined ? {} : { platform: options.platform }),
      ...(position === undefined ? {} : { position: [position.generation, position.seq] }),
    };
  }

  private onFrame(connection: EdgeConnection, frame: SessionFrame): void {
    const { phase } = this;
    if (connectionOf(phase) !== connection) return;
    switch (frame.kind) {
      case "attached":
        this.onAttached(connection, frame);
        return;
      case "message":
        if (phase.name === "attached" && frame.session === phase.attach.session) {
          phase.attach.onMessage(frame);
        }
        return;
      case "passing":
        this.onPassing(frame);
        return;
      case "recalled":
        this.onRecalled(frame);
        return;
      case "tokenWanted":
        return void this.sendToken(connection, frame.session);
      case "refused":
        this.report("REFUSED", `${frame.code}: ${frame.message}`);
        if (phase.name === "greeting") {
          connection.end(clientCloseCodes.ATTACH_REFUSED, frame.code);
        }
        return;
    }
  }

  private onAttached(connection: EdgeConnection, frame: AttachedFrame): void {
    const { phase } = this;
    if (phase.name !== "greeting" && phase.name !== "attached") return;
    const { place } = phase;
    const earlier = phase.name === "attached" ? phase.attach : undefined;
    const account = accountName(frame.info.app, frame.info.uid);
    const context = {
      clock: this.clock,
      ackLimits: this.ackLimits,
      intake: this.intake,
      send: (ack: readonly unknown[]) => connection.send(ack),
      onAck: () => this.memory.saveSeen(),
      onBroken: (reason: string) => connection.end(clientCloseCodes.RECEIVING_BROKEN, reason),
    };
    const attach = new Attach(frame.session, frame.base, account, context, earlier);
    if (connectionOf(this.phase) !== connection) {
      attach.stop();
      return;
    }
    const cancelStable = this.clock.after(stableAfterMs, () => this.pace.reset());
    if (earlier === undefined) this.finder.worked(place);
    const { info } = frame;
    this.enter({ name: "attached", connection, place, attach, info, cancelStable });
  }

  private onPassing(frame: PassingFrame): void {
    if (this.memory.hasSeen(frame.id)) return;
    this.memory.see(frame.id);
    this.callApp(() => this.options.onPassing?.(deviceMessage(frame)));
  }

  /** What still waits for the app is passed over when its turn comes. */
  private onRecalled({ ids }: RecalledFrame): void {
    for (const id of ids) {
      this.memory.see(id);
      this.callApp(() => this.options.onRecall?.(id));
    }
  }

  /** The app did not take a message: come back for it, and for all behind it. */
  private onRejected(cause: unknown): void {
    this.report("HANDLER", "onMessage failed; the message will be delivered again", cause);
    connectionOf(this.phase)?.end(clientCloseCodes.HANDLER_FAILED, "the app took it not");
  }

  private async sendToken(connection: EdgeConnection, session: number): Promise<void> {
    if (this.isFetchingToken) return;
    this.isFetchingToken = true;
    try {
      const token = await fetchToken(this.options.getToken, this.clock, tokenTimeoutMs);
      connection.send([clientKinds.token, session, token]);
    } catch (cause) {
      // The edge closes when the old one expires, and the reconnect asks again.
      this.report("TOKEN", "getToken failed on a live connection", cause);
    } finally {
      this.isFetchingToken = false;
    }
  }

  private onEnd(connection: EdgeConnection, end: ConnectionEnd): void {
    const { code, reason, retryAfterMs } = end;
    const { phase } = this;
    if (connectionOf(phase) !== connection) return;
    if ("place" in phase && sendsElsewhere(code)) this.finder.leave(phase.place.network);
    this.report("CONNECTION", `the connection ended with ${code} ${reason}`.trimEnd());
    this.pace.hold(Math.max(closeHintMs(code, reason), retryAfterMs ?? 0));
    if (mayComeBack(code)) this.wait(reason || `closed with ${code}`);
    else this.enter({ name: "stopped", code, reason });
  }

  /** The device's way to the edges changed; at most one hurry in five seconds. */
  private onNetwork(): void {
    const before = this.networkNow;
    const now = this.network.current();
    this.networkNow = now;
    if (now === before) return;
    const isOther = before !== "none" && before !== "unknown" && now !== "unknown";
    if (now === "none" || isOther) {
      connectionOf(this.phase)?.end(clientCloseCodes.NETWORK_CHANGED, `network ${now}`);
    }
    const nowMs = this.clock.monotonicMs();
    if (now === "none" || nowMs - this.hurriedAtMs < hurryEveryMs) return;
    const { phase } = this;
    if (phase.name !== "waiting") return;
    this.hurriedAtMs = nowMs;
    this.wait(phase.reason, this.pace.soonMs());
  }

  private wait(reason: string, waitMs = this.pace.nextMs()): void {
    const retryInMs = Math.ceil(waitMs);
    const cancelRetry = this.clock.after(retryInMs, () => void this.prepare());
    this.enter({ name: "waiting", retryInMs, reason, cancelRetry });
  }

  private enter(phase: Phase): void {
    const { name } = this.phase;
    leavePhase(this.phase);
    this.phase = phase;
    // The app sees `preparing` and `greeting` as one.
    if (name === "preparing" && phase.name === "greeting") return;
    this.callApp(() => this.options.onState?.(deviceState(phase)));
  }

  private callApp(call: () => void): void {
    try {
      call();
    } catch (cause) {
      this.report("HANDLER", "a handler of the app threw", cause);
    }
  }

  private report(code: DeviceError["code"], message: string, cause?: unknown): void {
    try {
      this.options.onError?.(new DeviceError(code, message, { cause }));
    } catch {
      // A handler of errors that throws has nobody left to tell.
    }
  }
}
