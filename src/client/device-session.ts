/**
 * A device's own session and the connection that carries it, from phase to phase:
 * connection-phase.ts draws them. Others may be bound to the connection.
 *
 * Invariant: at most one connection is alive, and it is the phase's.
 */
import { closeCodes, mayComeBack } from "../protocol/close-codes.js";
import type { Position } from "../protocol/position.js";
import { AppHandlers } from "./app-handlers.js";
import { Attach } from "./attach.js";
import { BoundUsers } from "./bound-users.js";
import {
  connectionOf,
  type DeviceState,
  deviceState,
  leavePhase,
  type Phase,
  type StoppedPhase,
} from "./connection-phase.js";
import type { DeviceEvents, DeviceListener, MessageHandler, Unsubscribe } from "./device-events.js";
import type { BindOptions, BoundSession, Device, DeviceOptions } from "./device-options.js";
import { type DeviceParts, makeParts } from "./device-parts.js";
import type { Directive } from "./directive.js";
import type { EdgeAddress } from "./dispatcher-answer.js";
import {
  type ConnectionEnd,
  clientCloseCodes,
  EdgeConnection,
  type SessionFrame,
} from "./edge-connection.js";
import type { EdgePlace } from "./edge-finder.js";
import { EdgeTelling } from "./edge-telling.js";
import { helloOf } from "./hello.js";
import { Impatience } from "./impatience.js";
import { isCovered } from "./message-chain.js";
import { nextAttempt } from "./next-attempt.js";
import { Openings } from "./openings.js";
import { closeHintMs, refusalHintMs, sendsElsewhere } from "./reconnect-pace.js";
import type { AttachedFrame, EndedFrame } from "./server-frames.js";
import { isWayGone, type Seen } from "./surroundings.js";
import { accountName } from "./token-account.js";
import { TokenRefresh } from "./token-refresh.js";
import { type CallOptions, leaveAll, UplinkCalls } from "./uplink-calls.js";
import { UserInbox } from "./user-inbox.js";

const attachTimeoutMs = 15_000;
/** An attach that lasted so long ends the backoff. */
const stableAfterMs = 10_000;
/** Who is to move waits so long for answers to calls: half of what an edge gives it. */
const callGraceMs = 5_000;

export class DeviceSession implements Device {
  private phase: Phase = { name: "idle" };
  private readonly parts: DeviceParts;
  private readonly app: AppHandlers;
  private readonly calls: UplinkCalls;
  private readonly openings = new Openings();
  private readonly inbox: UserInbox;
  private readonly impatience: Impatience;
  private readonly telling: EdgeTelling;
  private readonly bound: BoundUsers;
  private readonly refresh: TokenRefresh;

  constructor(private readonly options: DeviceOptions) {
    this.app = new AppHandlers(options);
    this.parts = makeParts(options, {
      report: (code, message, cause) => this.app.report(code, message, cause),
      onSurroundings: (now, before) => this.onSurroundings(now, before),
    });
    const { parts, app, openings } = this;
    const { clock, memory, held } = parts;
    const onRejected = () => this.onRejected();
    this.inbox = new UserInbox({ parts, memory, held, app, openings, onRejected });
    this.impatience = new Impatience(clock);
    this.calls = new UplinkCalls(clock);
    this.bound = new BoundUsers(this.parts);
    this.refresh = new TokenRefresh(options, {
      ...{ clock, random: this.parts.random },
      onFailed: (cause) => this.app.report("TOKEN", "getToken failed on a live connection", cause),
    });
    this.telling = new EdgeTelling(parts.heartbeats, parts.surroundings);
  }

  get state(): DeviceState {
    return deviceState(this.phase);
  }

  get position(): Position | undefined {
    return this.parts.memory.position;
  }

  connect(): void {
    this.parts.surroundings.start();
    this.inbox.presenter.open();
    this.bound.open();
    const { name } = this.phase;
    if (name !== "idle" && name !== "waiting" && name !== "stopped") return;
    if (connectionOf(this.phase) !== undefined) this.replace({ name: "idle" });
    // An app may be impatient, but not with a server that asked for time, nor in a circle.
    const isHeld = this.parts.pace.heldMs > 0;
    if (!isHeld && this.impatience.mayConnect()) this.prepare();
    else if (name !== "waiting") this.wait(isHeld ? "a server asked to wait" : "told to again");
  }

  close(): void {
    this.parts.surroundings.stop();
    this.replace({ name: "idle" });
    this.inbox.close();
    this.calls.close();
    this.bound.close();
    this.parts.pace.reset();
  }

  isNew(id: string): boolean {
    const { memory } = this.parts;
    void memory.load();
    if (memory.hasSeen(id)) return false;
    memory.see(id);
    memory.saveSeen();
    return true;
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

  bind(options: BindOptions): BoundSession {
    return this.bound.bind(options);
  }

  opened(id: string): void {
    this.openings.note(id);
  }

  private prepare(): void {
    const phase: Phase = { name: "preparing" };
    this.enter(phase);
    this.seek(phase).catch((cause) => {
      this.app.report("CONNECTION", "an adapter of the platform failed", cause);
      if (this.phase === phase) this.wait("an adapter failed");
    });
  }

  private async seek(phase: Phase): Promise<void> {
    const { options, parts, inbox, app } = this;
    const from = { options, parts, inbox, app };
    const attempt = await nextAttempt(from, () => this.phase === phase);
    if (attempt === undefined) return;
    if ("wait" in attempt) this.wait(attempt.wait);
    else this.open(attempt.token, attempt.place);
  }

  private open(token: string, place: EdgePlace): void {
    const { url } = place;
    const { memory, clock } = this.parts;
    try {
      const connection: EdgeConnection = new EdgeConnection({
        url,
        socket: this.parts.socket,
        protocol: this.options.protocol ?? "belfry.v1",
        clock,
        attachTimeoutMs,
        hello: () => ({ ...helloOf(token, this.options, memory, clock), ...this.telling.hello() }),
        silence: this.telling.watch(place.network, () => connectionOf(this.phase)),
        onWelcome: ({ serverTimeMs }) => {
          memory.noteServerTime(serverTimeMs);
          this.bound.onConnected(connection);
        },
        onFrame: (frame) => this.onFrame(connection, frame),
        onEnd: (end) => this.onEnd(connection, end),
      });
      this.enter({ name: "greeting", connection, place });
    } catch (cause) {
      this.app.report("CONNECTION", `no connection to ${url}`, cause);
      this.wait("no connection");
    }
  }

  private onFrame(connection: EdgeConnection, frame: SessionFrame): void {
    const { phase } = this;
    if (connectionOf(phase) !== connection || this.bound.onFrame(frame)) return;
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
        this.inbox.onPassing(frame);
        return;
      case "recalled":
        this.inbox.onRecalled(frame);
        return;
      case "directive":
        this.onDirective(connection, frame.directive);
        return;
      case "answer":
        this.calls.onAnswer(frame.call, frame.code, frame.value);
        return;
      case "tokenWanted":
        this.refresh.send(connection, frame.session);
        return;
      case "refused":
        this.app.report("REFUSED", `${frame.code}: ${frame.message}`);
        if (phase.name === "greeting") {
          this.parts.pace.hold(refusalHintMs(frame.code, frame.message));
          connection.end(clientCloseCodes.ATTACH_REFUSED, frame.code);
        } else {
          this.refresh.refused(connection, frame.session, frame.code, frame.message);
        }
        return;
      case "ended":
        this.onEnded(connection, frame);
        return;
    }
  }

  /** The device's own session; what else is bound to the connection goes on. */
  private onEnded(connection: EdgeConnection, { code, name }: EndedFrame): void {
    this.parts.pace.hold(closeHintMs(code, name));
    // To come back it needs a hello, and that a connection.
    if (this.mayReturn(code)) connection.end(clientCloseCodes.ATTACH_REFUSED, name);
    else this.enter({ name: "stopped", code, reason: name, connection });
  }

  private onAttached(connection: EdgeConnection, frame: AttachedFrame): void {
    const { phase } = this;
    if (phase.name !== "greeting" && phase.name !== "attached") return;
    const { place } = phase;
    const earlier = phase.name === "attached" ? phase.attach : undefined;
    // Before the new attach moves the position.
    const isResumed = phase.name === "attached" ? phase.isResumed : this.resumes(frame);
    const account = accountName(frame.info.app, frame.info.uid);
    const context = {
      clock: this.parts.clock,
      ackLimits: this.parts.ackLimits,
      intake: this.inbox.intake,
      send: (ack: readonly unknown[]) => connection.send(ack),
      onAck: () => this.parts.memory.saveSeen(),
      onBroken: (reason: string) => connection.end(clientCloseCodes.RECEIVING_BROKEN, reason),
    };
    const attach = new Attach(frame.session, frame.base, account, context, earlier);
    if (connectionOf(this.phase) !== connection) {
      attach.stop();
      return;
    }
    const cancelStable = this.parts.clock.after(stableAfterMs, () => this.parts.pace.reset());
    if (earlier === undefined) {
      this.parts.finder.worked(place);
      this.telling.onAttached(connection);
      this.calls.onAttached(connection, frame.session);
      this.openings.onAttached(connection, frame.session);
    }
    const { info } = frame;
    this.enter({ name: "attached", connection, place, attach, info, isResumed, cancelStable });
  }

  /** What it has goes on: nothing between was taken by a page that shares the name, or lost. */
  private resumes({ base, info }: AttachedFrame): boolean {
    const position = this.parts.memory.positionOf(accountName(info.app, info.uid));
    return isCovered(base, position);
  }

  private onDirective(connection: EdgeConnection, directive: Directive): void {
    switch (directive.do) {
      case "heartbeat":
        connection.beatEvery(directive.heartbeatMs);
        return;
      case "reconnect": {
        const { afterMs, spreadMs, edges } = directive;
        const delayMs = afterMs + this.parts.random.next() * spreadMs;
        const move = () => this.moveOn(connection, edges);
        const calls = () => [this.calls, ...this.bound.calls];
        const leave = () => leaveAll(calls(), this.parts.clock, callGraceMs, move);
        connection.planIn(delayMs, leave);
        return;
      }
      case "kick":
        this.replace({ name: "stopped", code: clientCloseCodes.KICKED, reason: directive.reason });
        return;
      case "config":
        this.app.tell("config", directive.config);
        return;
    }
  }

  /** Acknowledges what was taken, and is back at once: nothing failed. */
  private moveOn(connection: EdgeConnection, edges: readonly EdgeAddress[]): void {
    if (connectionOf(this.phase) !== connection) return;
    const { finder, pace } = this.parts;
    finder.move(edges);
    if (this.phase.name === "stopped") {
      // Whoever is bound could go on only behind a hello, which would wake what was stopped.
      this.rest(connection, this.phase);
      return;
    }
    // Again before an attach has lasted: two edges that send clients to each other.
    const isFirst = pace.attempts === 0;
    const delayMs = pace.nextMs();
    this.flush();
    if (isFirst) this.prepare();
    else this.wait("told to move again", delayMs);
    connection.end(clientCloseCodes.TOLD_TO_MOVE, "told to move");
  }

  /** Its own session stays stopped, and now without the connection that others were bound to. */
  private rest(connection: EdgeConnection, { code, reason }: StoppedPhase): void {
    this.flush();
    this.enter({ name: "stopped", code, reason });
    connection.end(clientCloseCodes.TOLD_TO_MOVE, "told to move");
  }

  /** Leaves a connection for `phase`; its end is no news then. */
  private replace(phase: Phase): void {
    const connection = connectionOf(this.phase);
    this.flush();
    this.enter(phase);
    if (phase.name !== "stopped") connection?.end(clientCloseCodes.DONE, "");
    else connection?.end(phase.code, phase.reason);
  }

  /** The app did not take a message: come back for it, and for all behind it. */
  private onRejected(): void {
    // Of a session that was stopped it comes with the next one; others need the connection.
    if (this.phase.name === "stopped") return;
    connectionOf(this.phase)?.end(clientCloseCodes.HANDLER_FAILED, "the app took it not");
  }

  private onEnd(connection: EdgeConnection, end: ConnectionEnd): void {
    const { code, reason, retryAfterMs } = end;
    const { phase } = this;
    if (connectionOf(phase) !== connection) return;
    if ("place" in phase && sendsElsewhere(code)) this.parts.finder.leave(phase.place.network);
    this.app.report("CONNECTION", `the connection ended with ${code} ${reason}`.trimEnd());
    if (phase.name === "stopped") {
      this.enter({ name: "stopped", code: phase.code, reason: phase.reason });
      return;
    }
    this.parts.pace.hold(Math.max(closeHintMs(code, reason), retryAfterMs ?? 0));
    if (this.mayReturn(code)) this.wait(reason || `closed with ${code}`);
    else this.enter({ name: "stopped", code, reason });
  }

  private mayReturn(code: number): boolean {
    // Not replaced: an earlier start counted by a clock that was ahead of ours.
    const isBehind = this.phase.name === "greeting" && this.parts.memory.isCounterBehind;
    return mayComeBack(code) || (isBehind && code === closeCodes.REPLACED.code);
  }

  /** The network changed, or somebody looks or looks away. */
  private onSurroundings(now: Seen, before: Seen): void {
    if (isWayGone(now.network, before.network)) {
      const reason = `network ${now.network}`;
      connectionOf(this.phase)?.end(clientCloseCodes.NETWORK_CHANGED, reason);
    }
    if (now.app === "front") {
      this.inbox.presenter.onFront();
      this.bound.onFront();
    }
    if (now.network !== before.network && now.network !== "none") this.hurry();
    const connection = connectionOf(this.phase);
    if (connection !== undefined) this.telling.tell(connection);
    // A page in the background may be gone without a word.
    if (now.app === "background") this.flush();
  }

  private flush(): void {
    if (this.phase.name === "attached") this.phase.attach.flush();
    this.bound.flush();
  }

  /** At most once in five seconds, however often the network comes and goes. */
  private hurry(): void {
    const { phase } = this;
    if (phase.name !== "waiting" || !this.impatience.mayHurry()) return;
    this.wait(phase.reason, this.parts.pace.soonMs());
  }

  private wait(reason: string, delayMs = this.parts.pace.nextMs()): void {
    const retryInMs = Math.ceil(delayMs);
    const cancelRetry = this.parts.clock.after(retryInMs, () => this.prepare());
    this.enter({ name: "waiting", retryInMs, reason, cancelRetry });
  }

  private enter(phase: Phase): void {
    const { name } = this.phase;
    leavePhase(this.phase);
    if (phase.name !== "attached") {
      this.calls.onLost();
      this.openings.onLost();
      this.refresh.stop();
    }
    if (connectionOf(phase) === undefined) {
      this.bound.onLost(phase.name === "stopped" ? phase : undefined);
    }
    this.phase = phase;
    // The app sees `preparing` and `greeting` as one.
    if (name === "preparing" && phase.name === "greeting") return;
    this.app.tell("state", deviceState(phase));
  }
}
