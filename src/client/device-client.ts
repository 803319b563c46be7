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
import type { Clock } from "../base/clock.js";
import { type Random, randomToken } from "../base/random.js";
import { mayComeBack } from "../protocol/close-codes.js";
import { clientKinds, protocolVersion, type Start } from "../protocol/frames.js";
import type { Position } from "../protocol/position.js";
import type { AckLimits } from "./ack-batcher.js";
import { Attach } from "./attach.js";
import { Backoff, type BackoffLimits } from "./backoff.js";
import {
  connectionOf,
  type DeviceState,
  deviceState,
  leavePhase,
  type Phase,
} from "./connection-phase.js";
import { DeviceMemory } from "./device-memory.js";
import { type DeviceMessage, deviceMessage } from "./device-message.js";
import type { DeviceSocketConstructor } from "./device-socket.js";
import type { DeviceStorage } from "./device-storage.js";
import {
  type ConnectionEnd,
  clientCloseCodes,
  EdgeConnection,
  type SessionFrame,
} from "./edge-connection.js";
import { Intake } from "./intake.js";
import { platformClock, platformRandom, platformStorage } from "./platform.js";
import type { AttachedFrame, PassingFrame, RecalledFrame } from "./server-frames.js";
import { accountName, accountOfToken } from "./token-account.js";
import { fetchToken } from "./token-fetch.js";

export type { DeviceState } from "./connection-phase.js";
export type { DeviceMessage } from "./device-message.js";
export type { DeviceSocket, DeviceSocketConstructor } from "./device-socket.js";
export type { DeviceStorage } from "./device-storage.js";

export interface DeviceOptions {
  /** Where edges listen, `ws://` or `wss://`; with several, each attempt takes the next. */
  readonly url?: string;
  readonly urls?: readonly string[];
  /**
   * A token that is good now; asked before every connect, and when the edge says that
   * one is about to expire. No answer within 30 s counts as a failure and is retried.
   */
  readonly getToken: () => Promise<string>;
  /**
   * Takes one message; the next comes when this one returned or its promise resolved,
   * and only then is it acknowledged. When it throws or rejects, the message and all
   * behind it stay unacknowledged: the device reconnects after a backoff and gets them
   * again in order, until the platform sets the message aside.
   */
  readonly onMessage: (message: DeviceMessage) => void | Promise<void>;
  /** Takes an at-most-once message (QoS 0): no position, no ack, no second delivery. */
  readonly onPassing?: (message: DeviceMessage) => void;
  /**
   * The service took this message back: remove it from what is shown. One that the app was
   * not given yet it will not be given; one that it took while away is not told of.
   */
  readonly onRecall?: (id: string) => void;
  readonly onState?: (state: DeviceState) => void;
  /** What went wrong and was dealt with; for logs. */
  readonly onError?: (error: DeviceError) => void;
  /** Names this installation, 1 to 64 bytes; made once and stored unless given. */
  readonly device?: string;
  /** What it runs on, such as `ios` or `web`, 1 to 64 bytes; pushes may target it. */
  readonly platform?: string;
  /** Where a device that was never seen starts: with what comes (default), all, or the last n. */
  readonly start?: Start;
  /** Default: localStorage where there is one, else memory, which a restart forgets. */
  readonly storage?: DeviceStorage;
  /** Stands before each key in the storage (`device`, `connect`, `position`, `seen`). */
  readonly storagePrefix?: string;
  /** Default: the global WebSocket. Node 20 has none: pass the one of the package `ws`. */
  readonly socket?: DeviceSocketConstructor;
  /** Binary by default; the JSON form is for looking at it. */
  readonly protocol?: "belfry.v1" | "belfry.v1.json";
  /** Default: after 32 messages, or 50 ms after the first. The edge's window is 64. */
  readonly acks?: Partial<AckLimits>;
  /** Default: the first wait is in [0, 500 ms), doubling to at most 30 s. */
  readonly backoff?: Partial<BackoffLimits>;
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface Device {
  /** Connects now, from every state that does not already; returns at once. */
  connect(): void;
  /** Acknowledges what was taken, ends the connection and stays away until `connect()`. */
  close(): void;
  readonly state: DeviceState;
  /** The last position that the app took; undefined before the first attach. */
  readonly position: Position | undefined;
}

/** - TOKEN: `getToken` failed. CONNECTION: a connection ended or could not be made.
 *  - HANDLER: `onMessage`, `onPassing` or `onState` threw. STORAGE: it could not be
 *    read or written. REFUSED: the edge refused a token or the attach. */
export class DeviceError extends Error {
  override readonly name = "DeviceError";

  constructor(
    readonly code: "TOKEN" | "CONNECTION" | "HANDLER" | "STORAGE" | "REFUSED",
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** Throws when no URL or no WebSocket is there to use; connects only by `connect()`. */
export function createDevice(options: DeviceOptions): Device {
  return new DeviceClient(options);
}

const tokenTimeoutMs = 30_000;
const attachTimeoutMs = 15_000;
/** An attach that lasted so long ends the backoff. */
const stableAfterMs = 10_000;
const deviceIdLength = 20;

class DeviceClient implements Device {
  private phase: Phase = { name: "idle" };
  private readonly urls: readonly string[];
  private readonly socket: DeviceSocketConstructor;
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly ackLimits: AckLimits;
  private readonly backoff: Backoff;
  private readonly memory: DeviceMemory;
  private readonly intake: Intake;
  private attempts = 0;
  /** Where an edge sent this device, to be tried before its own addresses. */
  private movedTo: string[] = [];
  private isFetchingToken = false;

  constructor(private readonly options: DeviceOptions) {
    this.urls = options.urls ?? (options.url === undefined ? [] : [options.url]);
    if (this.urls.length === 0) throw new TypeError("createDevice needs a url, or urls");
    const socket = options.socket ?? globalThis.WebSocket;
    if (socket === undefined) {
      throw new TypeError("no global WebSocket here: pass `socket`, in Node the one of `ws`");
    }
    this.socket = socket;
    this.clock = options.clock ?? platformClock;
    this.random = options.random ?? platformRandom;
    this.ackLimits = { messagesMax: 32, delayMs: 50, ...options.acks };
    this.backoff = new Backoff(this.random, { baseMs: 500, capMs: 30_000, ...options.backoff });
    const storage = options.storage ?? platformStorage();
    this.memory = new DeviceMemory(storage, options.storagePrefix ?? "belfry.", (cause) => {
      this.report("STORAGE", "the storage failed", cause);
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
    const { name } = this.phase;
    if (name === "idle" || name === "waiting" || name === "stopped") void this.prepare();
  }

  close(): void {
    if (this.phase.name === "attached") this.phase.attach.flush();
    const connection = connectionOf(this.phase);
    this.enter({ name: "idle" });
    connection?.end(clientCloseCodes.DONE, "");
    this.intake.drop();
    this.backoff.reset();
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
    if (this.phase === phase) this.open(token);
  }

  private open(token: string): void {
    const own = () => this.urls[this.attempts++ % this.urls.length] as string;
    const url = this.movedTo.shift() ?? own();
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
      this.enter({ name: "greeting", connection });
    } catch (cause) {
      this.report("CONNECTION", `no connection to ${url}`, cause);
      this.wait("no connection");
    }
  }

  private hello(token: string): Record<string, unknown> {
    const { options, memory } = this;
    if (options.device !== undefined) memory.device = options.device;
    else if (memory.device === undefined) {
      memory.nameDevice(randomToken(this.random, deviceIdLength));
    }
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
      case "directive":
        this.onMove(connection, frame.urls);
        return;
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
    const cancelStable = this.clock.after(stableAfterMs, () => this.backoff.reset());
    this.enter({ name: "attached", connection, attach, info: frame.info, cancelStable });
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

  /** At once: the edge tells one client after the other. What is taken is acknowledged first. */
  private onMove(connection: EdgeConnection, urls: readonly string[]): void {
    if (this.phase.name === "attached") this.phase.attach.flush();
    this.movedTo = [...urls];
    // Before the end, which would be the end of a connection that is still wanted.
    void this.prepare();
    connection.end(clientCloseCodes.TOLD_TO_MOVE, "told to move");
  }

  private onEnd(connection: EdgeConnection, { code, reason }: ConnectionEnd): void {
    if (connectionOf(this.phase) !== connection) return;
    this.report("CONNECTION", `the connection ended with ${code} ${reason}`.trimEnd());
    if (mayComeBack(code)) this.wait(reason || `closed with ${code}`);
    else this.enter({ name: "stopped", code, reason });
  }

  private wait(reason: string): void {
    const retryInMs = Math.ceil(this.backoff.nextMs());
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
