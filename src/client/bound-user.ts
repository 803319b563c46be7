/**
 * A further user, of this app or another, bound to the device's connection: with handlers,
 * a position and acknowledgements of its own. It comes back with each new connection, and by
 * itself when it alone was ended.
 *
 *   connecting ──(token, bind, attached)──▶ attached
 *      ▲  ▲                                    │ ended with 4000-4499, or not taken
 *      │  └──────── waiting (backoff) ◀────────┤
 *      └── the connection is gone ◀────────────┤
 *   stopped ◀── ended, refused: 4500-4999 ─────┘        unbind() ──▶ idle, for good
 *
 * Where the device is stopped, and no connection is left, it is `stranded`, which the app sees
 * as `stopped`; from there it comes back with the device.
 */
import type { Cancel } from "../base/clock.js";
import { closeCodeNamed, mayComeBack } from "../protocol/close-codes.js";
import { type AttachedInfo, clientKinds } from "../protocol/frames.js";
import type { Position } from "../protocol/position.js";
import { AppHandlers } from "./app-handlers.js";
import { Attach } from "./attach.js";
import type { DeviceState } from "./connection-phase.js";
import type { DeviceEvents, DeviceListener, MessageHandler, Unsubscribe } from "./device-events.js";
import { DeviceMemory } from "./device-memory.js";
import type { BindOptions, BoundSession } from "./device-options.js";
import type { DeviceParts } from "./device-parts.js";
import type { EdgeConnection, SessionFrame } from "./edge-connection.js";
import { HeldMessages } from "./held-messages.js";
import { signInOf } from "./hello.js";
import { isCovered } from "./message-chain.js";
import { Openings } from "./openings.js";
import { closeHintMs, ReconnectPace, refusalHintMs } from "./reconnect-pace.js";
import type { AttachedFrame } from "./server-frames.js";
import { accountName, accountOf } from "./token-account.js";
import { fetchToken } from "./token-fetch.js";
import { TokenRefresh, tokenTimeoutMs } from "./token-refresh.js";
import { type CallOptions, UplinkCalls } from "./uplink-calls.js";
import { UserInbox } from "./user-inbox.js";

const attachTimeoutMs = 15_000;
const stableAfterMs = 10_000;

type Phase =
  | { readonly name: "idle" }
  | { readonly name: "connecting"; readonly index?: number; readonly cancel?: Cancel }
  | {
      readonly name: "attached";
      readonly index: number;
      readonly attach: Attach;
      readonly info: AttachedInfo;
      readonly isResumed: boolean;
      readonly cancel: Cancel;
    }
  | {
      readonly name: "waiting";
      readonly retryInMs: number;
      readonly reason: string;
      readonly cancel: Cancel;
    }
  | (Stop & { readonly name: "stopped" })
  | (Stop & { readonly name: "stranded" });

/** Why something does not come back by itself. */
export interface Stop {
  readonly code: number;
  readonly reason: string;
}

/** What it has of the connection that it shares. */
export interface Seats {
  readonly connection: EdgeConnection | undefined;
  /** An index that nobody uses; undefined where all are in use. */
  take(user: BoundUser): number | undefined;
  /** Says to the edge that the session there is over. */
  leave(index: number): void;
  /** For good. */
  forget(user: BoundUser): void;
}

export class BoundUser implements BoundSession {
  private phase: Phase;
  /** Made when a token, or else the edge, says who it is. */
  private inbox: UserInbox | undefined;
  private readonly app: AppHandlers;
  readonly calls: UplinkCalls;
  private readonly openings = new Openings();
  private readonly pace: ReconnectPace;
  private readonly refresh: TokenRefresh;

  constructor(
    private readonly options: BindOptions,
    private readonly parts: DeviceParts,
    private readonly seats: Seats,
    stop: Stop | undefined,
  ) {
    this.phase = stop === undefined ? { name: "connecting" } : stranded(stop);
    this.app = new AppHandlers(options);
    this.calls = new UplinkCalls(parts.clock);
    this.refresh = new TokenRefresh(options, {
      ...{ clock: parts.clock, random: parts.random },
      onFailed: (cause) => this.app.report("TOKEN", "getToken failed on a live connection", cause),
    });
    this.pace = new ReconnectPace(parts.clock, parts.random);
  }

  get state(): DeviceState {
    return stateOf(this.phase);
  }

  get position(): Position | undefined {
    return this.inbox?.memory.position;
  }

  on<Name extends keyof DeviceEvents>(name: Name, listener: DeviceListener<Name>): Unsubscribe {
    return this.app.on(name, listener);
  }

  onType(type: string, handler: MessageHandler): Unsubscribe {
    return this.app.onType(type, handler);
  }

  call(route: string, body: unknown, options?: CallOptions): Promise<unknown> {
    return this.calls.call(route, body, options);
  }

  opened(id: string): void {
    this.openings.note(id);
  }

  unbind(): void {
    if (this.phase.name === "idle") return;
    this.leaveSeat();
    this.enter({ name: "idle" });
    this.close();
    this.seats.forget(this);
  }

  /** The device is told to connect. */
  open(): void {
    this.inbox?.presenter.open();
  }

  /** With the device: until it connects again the app is given nothing. */
  close(): void {
    this.inbox?.close();
    this.calls.close();
  }

  /** There is a connection to be bound to. */
  onConnected(): void {
    if (this.phase.name !== "connecting" && this.phase.name !== "waiting") return;
    // What an edge asked for holds on the next connection too.
    if (this.pace.heldMs > 0) this.wait("an edge asked to wait");
    else void this.ask();
  }

  /** It is gone, and comes again; with `stop` only when the app connects the device. */
  onLost(stop: Stop | undefined): void {
    const { name } = this.phase;
    if (name === "idle" || name === "stopped") return;
    if (stop === undefined) this.enter({ name: "connecting" });
    else if (name !== "stranded") this.enter(stranded(stop));
  }

  flush(): void {
    if (this.phase.name === "attached") this.phase.attach.flush();
  }

  onFront(): void {
    this.inbox?.presenter.onFront();
  }

  onFrame(frame: SessionFrame): void {
    const { phase } = this;
    switch (frame.kind) {
      case "attached":
        this.onAttached(frame);
        return;
      case "message":
        if (phase.name === "attached") phase.attach.onMessage(frame);
        return;
      case "passing":
        this.inbox?.onPassing(frame);
        return;
      case "recalled":
        this.inbox?.onRecalled(frame);
        return;
      case "answer":
        this.calls.onAnswer(frame.call, frame.code, frame.value);
        return;
      case "tokenWanted":
        this.refresh.send(this.sendWhileHere(frame.session), frame.session);
        return;
      case "refused":
        this.app.report("REFUSED", `${frame.code}: ${frame.message}`);
        if (phase.name === "connecting") this.onRefused(frame.code, frame.message);
        else {
          const way = this.sendWhileHere(frame.session);
          this.refresh.refused(way, frame.session, frame.code, frame.message);
        }
        return;
      case "ended":
        this.onEnded(frame.code, frame.name);
        return;
    }
  }

  private async ask(): Promise<void> {
    const phase: Phase = { name: "connecting" };
    this.enter(phase);
    const { connection } = this.seats;
    if (connection === undefined) return;
    if (!connection.canTake(clientKinds.bind)) {
      this.app.report("REFUSED", "this edge takes one session a connection");
      return;
    }
    let token: string;
    try {
      token = await fetchToken(this.options, this.parts.clock, tokenTimeoutMs);
    } catch (cause) {
      if (this.phase !== phase) return;
      this.app.report("TOKEN", "getToken failed", cause);
      this.wait("no token");
      return;
    }
    if (this.phase !== phase) return;
    const account = accountOf(this.options, token);
    if (account !== undefined) {
      this.inbox ??= this.openInbox(account);
      await this.inbox.expect(account);
    }
    if (this.phase === phase) this.bind(connection, token);
  }

  private bind(connection: EdgeConnection, token: string): void {
    const { clock, memory: own } = this.parts;
    const index = this.seats.take(this);
    if (index === undefined) {
      this.wait("the connection carries as many sessions as it may");
      return;
    }
    const cancel = clock.after(attachTimeoutMs, () => this.again("no attach in time"));
    this.phase = { name: "connecting", index, cancel };
    // One installation, whoever is signed in on it.
    const connect = own.nextConnect(Math.floor(clock.wallMs()));
    const device = this.options.device ?? own.device;
    const who = signInOf(token, this.options, this.inbox?.memory);
    connection.send([clientKinds.bind, index, { ...who, connect, device }]);
  }

  private onAttached({ session, base, info }: AttachedFrame): void {
    const { phase } = this;
    const { connection } = this.seats;
    if (connection === undefined) return;
    if (phase.name !== "connecting" && phase.name !== "attached") return;
    const earlier = phase.name === "attached" ? phase.attach : undefined;
    const account = accountName(info.app, info.uid);
    this.inbox ??= this.openInbox(account);
    const { memory, intake } = this.inbox;
    // Before the new attach moves the position.
    const isGoingOn = isCovered(base, memory.positionOf(account));
    const isResumed = phase.name === "attached" ? phase.isResumed : isGoingOn;
    const context = {
      clock: this.parts.clock,
      ackLimits: this.parts.ackLimits,
      intake,
      send: (ack: readonly unknown[]) => connection.send(ack),
      onAck: () => memory.saveSeen(),
      onBroken: (reason: string) => this.again(reason),
    };
    const attach = new Attach(session, base, account, context, earlier);
    if (this.phase !== phase) {
      attach.stop();
      return;
    }
    const cancel = this.parts.clock.after(stableAfterMs, () => this.pace.reset());
    this.enter({ name: "attached", index: session, attach, info, isResumed, cancel });
    if (earlier !== undefined) return;
    this.calls.onAttached(connection, session);
    this.openings.onAttached(connection, session);
  }

  private onEnded(code: number, name: string): void {
    this.app.report("CONNECTION", `the session ended with ${code} ${name}`);
    this.pace.hold(closeHintMs(code, name));
    if (mayComeBack(code)) this.wait(name);
    else this.enter({ name: "stopped", code, reason: name });
  }

  /** Before it was attached: with another token perhaps, which only the app can have. */
  private onRefused(name: string, message: string): void {
    const code = closeCodeNamed(name);
    this.pace.hold(refusalHintMs(name, message));
    if (code === undefined || mayComeBack(code)) this.wait(name);
    else this.enter({ name: "stopped", code, reason: name });
  }

  /** To a session that is still the one which was asked: another must not get its token. */
  private sendWhileHere(session: number): { send(frame: readonly unknown[]): unknown } {
    const { connection } = this.seats;
    return {
      send: (frame) => {
        const { phase } = this;
        const isHere = phase.name === "attached" && phase.index === session;
        if (isHere && this.seats.connection === connection) connection?.send(frame);
      },
    };
  }

  /** This session alone cannot go on: bound anew, it gets again what was not taken. */
  private again(reason: string): void {
    this.leaveSeat();
    this.wait(reason);
  }

  private leaveSeat(): void {
    const { phase } = this;
    this.flush();
    if ((phase.name === "connecting" || phase.name === "attached") && phase.index !== undefined) {
      this.seats.leave(phase.index);
    }
  }

  private wait(reason: string): void {
    const retryInMs = Math.ceil(this.pace.nextMs());
    const cancel = this.parts.clock.after(retryInMs, () => void this.ask());
    this.enter({ name: "waiting", retryInMs, reason, cancel });
  }

  private enter(phase: Phase): void {
    const before = this.phase;
    if ("cancel" in before) before.cancel?.();
    if (before.name === "attached") before.attach.stop();
    if (phase.name !== "attached") {
      this.calls.onLost();
      this.openings.onLost();
      this.refresh.stop();
    }
    this.phase = phase;
    if (before.name !== "connecting" || phase.name !== "connecting") {
      this.app.tell("state", stateOf(phase));
    }
  }

  /** With a place of its own in the storage: nobody else's is written over. */
  private openInbox(account: string): UserInbox {
    const { parts, app, openings } = this;
    const { storage, prefix } = parts;
    const own = `${prefix}${account}.`;
    const onFailed = (cause: unknown) => app.report("STORAGE", "the storage failed", cause);
    const memory = new DeviceMemory(storage, own, onFailed);
    const held = new HeldMessages(storage, own);
    const onRejected = () => {
      if (this.phase.name === "attached") this.again("the app took it not");
    };
    const inbox = new UserInbox({ parts, memory, held, app, openings, onRejected });
    inbox.presenter.open();
    // Within the turn where the storage answers at once.
    void memory.load();
    return inbox;
  }
}

function stranded({ code, reason }: Stop): Phase {
  return { name: "stranded", code, reason: `the device is stopped: ${reason}` };
}

function stateOf(phase: Phase): DeviceState {
  switch (phase.name) {
    case "attached":
      return { ...phase.info, name: "attached", isResumed: phase.isResumed };
    case "waiting":
      return { name: "waiting", retryInMs: phase.retryInMs, reason: phase.reason };
    case "connecting":
      return { name: "connecting" };
    case "stranded":
      return { name: "stopped", code: phase.code, reason: phase.reason };
    default:
      return phase;
  }
}
