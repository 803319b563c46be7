/**
 * One WebSocket on one edge, and the first session bound to it, which its hello signed in:
 * most connections have no other.
 *
 *   fresh ──hello──▶ verifying ──token good──▶ attaching ──▶ … (bound-session.ts)
 *
 * Further ones are bound and unbound while it lives (bindings.ts); each is an actor beside
 * it (further-session.ts), to which it passes on what the client says of it.
 *
 * Invariant: it is closed when nothing is bound to it any more. What ends one session ends
 * no other one.
 */
import { type Result, refused } from "../src/base/result.js";
import type { ConnectionId } from "../src/ports/edge-transport.js";
import type { Claims, TokenError } from "../src/ports/tokens.js";
import type { ClientSurroundings } from "../src/protocol/client-surroundings.js";
import { type CloseName, closeCodes } from "../src/protocol/close-codes.js";
import {
  type Bind,
  type ClientFrame,
  clientFrameBytesMax,
  endedFrame,
  firstSession,
  type Hello,
  protocolVersion,
  refusedFrame,
  takenKinds,
  welcomeFrame,
} from "../src/protocol/frames.js";
import { appOfKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { tellAgainMs } from "./app-states.js";
import { Bindings } from "./bindings.js";
import { type BoundMessage, BoundSession, fresh, verifying } from "./bound-session.js";
import type { AppStateTick, Closed, SessionEnded } from "./edge-messages.js";
import { type SignIn, signIn } from "./sign-in.js";

interface HelloVerified {
  readonly kind: "HelloVerified";
  readonly result: Result<Claims, TokenError>;
  readonly hello: Hello;
}

interface BindVerified {
  readonly kind: "BindVerified";
  readonly result: Result<Claims, TokenError>;
}

type OwnMessage = HelloVerified | BindVerified | SessionEnded | Closed;

const connectionKind: ActorKind = {
  name: "connection",
  mailbox: { max: 1_024, onFull: "reject" },
  restart: "temporary",
};

/** As of a close: the client is done. */
const unbound = { code: 1_000, name: "UNBOUND" };

const refusalMeanings = {
  BAD_INDEX: "the index of a bound session is 1 to 15",
  INDEX_IN_USE: "a session is bound under this index",
  TOO_MANY: "the connection carries as many sessions as it may",
  RATE_LIMITED: "binds come too fast",
};

export class Connection extends BoundSession<OwnMessage> {
  /** Undefined until the first bind. */
  private bindings: Bindings | undefined = undefined;

  get kind(): ActorKind {
    return connectionKind;
  }

  get carrier(): ConnectionId {
    return this.id;
  }

  get isOneOfSeveral(): boolean {
    return this.hasFurther;
  }

  protected get index(): number {
    return firstSession;
  }

  protected override stopping(): void {
    for (const { number } of this.bindings?.all ?? []) this.edge.endFurther(number);
    this.leaveFirst();
  }

  receive(message: BoundMessage | OwnMessage): void {
    switch (message.kind) {
      case "ReceiveFrame":
        this.onFrame(message.frame);
        return;
      case "HelloVerified":
        this.onHelloVerified(message.result, message.hello);
        return;
      case "BindVerified":
        this.onBindVerified(message.result);
        return;
      case "SessionEnded":
        this.onSessionEnded(message);
        return;
      case "AppStateTick":
        this.onAppStateTick(message);
        return;
      case "Closed":
        this.stopSelf();
        return;
      default:
        this.onBoundMessage(message);
    }
  }

  private onFrame(frame: ClientFrame): void {
    if (frame.kind === "hello") {
      this.onHello(frame);
      return;
    }
    if (this.phase === fresh) {
      this.edge.close(this.id, "HELLO_FIRST");
      return;
    }
    if (frame.kind === "pong") return;
    if (frame.kind === "tell") this.onTell(frame.now);
    else if (frame.kind === "bind") this.onBind(frame);
    else if (frame.kind === "unbind") this.onUnbind(frame.session);
    else if (frame.session === firstSession) this.onSessionFrame(frame);
    else this.edge.passOn(this.bindings?.at(frame.session)?.number, frame);
  }

  /** Who looks at the app looks at all that is bound here. */
  private onTell(now: ClientSurroundings): void {
    if (!this.edge.isOpen(this.id)) return;
    const isChanged = this.edge.hearTell(this.id, now);
    if (!isChanged || !this.edge.appStates.beginTelling(this.id)) return;
    const tick: AppStateTick = { kind: "AppStateTick" };
    this.tellAppStates(tick);
    this.timer(tellAgainMs, tick);
  }

  private onAppStateTick(tick: AppStateTick): void {
    if (this.edge.appStates.tellAgain(this.id)) this.timer(tellAgainMs, tick);
    this.tellAppStates(tick);
  }

  private tellAppStates(tick: AppStateTick): void {
    this.tellAppState();
    for (const { number } of this.bindings?.all ?? []) this.edge.children.tell(number, tick);
  }

  // ---- the first session ----

  private onHello(hello: Hello): void {
    if (this.phase !== fresh) {
      this.edge.close(this.id, "BAD_FRAME", "a second hello");
      return;
    }
    this.phase = verifying;
    this.edge.noteHello(this.id);
    const { token } = hello;
    const done = (result: HelloVerified["result"]) =>
      ({ kind: "HelloVerified", result, hello }) as const;
    this.pipe(this.verified(token, holderOf(hello)), done);
  }

  private onHelloVerified(result: Result<Claims, TokenError>, hello: Hello): void {
    // Its slot may be another's by now.
    if (!this.edge.isOpen(this.id)) return;
    const known = result.ok ? this.knowSession(result.value, hello) : result;
    if (!known.ok) {
      this.edge.close(this.id, known.code, known.message);
      return;
    }
    const { session, device, options } = known.value;
    this.sessionIs(session, device, options);
    this.noteSignIn(this.id, known.value);
    this.sendWelcome(this.edge.greet(this.id, hello));
    this.edge.attaches.push(this.id);
    this.verifyNextBind();
  }

  /** Counts it for its app, where it is not refused. */
  private knowSession(claims: Claims, hello: Hello) {
    const { node, apps, unattached } = this.edge;
    const known = signIn(claims, hello, node.clock.wallMs());
    if (!known.ok) return known;
    if (unattached.isFull(known.value.session)) {
      return refused("QUOTA_EXCEEDED" as const, "too many of this user wait for their attach");
    }
    if (apps.admit(claims.app)) return known;
    return refused("QUOTA_EXCEEDED" as const, closeCodes.QUOTA_EXCEEDED.meaning);
  }

  private noteSignIn(number: ConnectionId, { connect, expiresAtMs, routes }: SignIn): void {
    this.edge.noteConnect(number, connect);
    this.edge.noteTokenExpiry(number, expiresAtMs);
    this.edge.calls.routes.set(number, routes);
  }

  private leaveFirst(): void {
    const { session } = this;
    if (session === undefined) return;
    this.edge.apps.leave(decodeToken(appOfKey(session)) ?? "");
    this.leave();
  }

  protected end(name: CloseName, reason?: string): void {
    if (this.hasFurther) this.endFirst((closeCodes[name] ?? closeCodes.INTERNAL).code, name);
    else this.edge.close(this.id, name, reason);
  }

  private endFirst(code: number, name: string): void {
    this.leaveFirst();
    this.edge.noteTokenExpiry(this.id, 0);
    this.edge.attaches.forget(this.id);
    this.sendFrame(endedFrame(firstSession, code, name));
  }

  // ---- further ones ----

  private get hasFurther(): boolean {
    return this.bindings !== undefined && this.bindings.size > 0;
  }

  private get hasFirst(): boolean {
    return this.phase === verifying || this.session !== undefined;
  }

  private onBind(bind: Bind): void {
    const { limits, clock } = this.edge.node;
    this.bindings ??= new Bindings();
    const max = limits.sessionsPerConnectionMax - (this.hasFirst ? 1 : 0);
    const rate = { perSecond: limits.bindsPerSecond, burst: limits.bindsBurst };
    const isTooMuch = this.phase === verifying && this.bindings.isTooMuchUnvouched(bind);
    const refusal = isTooMuch
      ? "RATE_LIMITED"
      : this.bindings.ask(bind, max, rate, clock.monotonicMs());
    if (refusal === undefined) this.verifyNextBind();
    else this.sendFrame(refusedFrame(bind.session, refusal, refusalMeanings[refusal]));
  }

  /** One at a time, and none before it is known who is behind the connection. */
  private verifyNextBind(): void {
    const bind = this.phase === verifying ? undefined : this.bindings?.beginVerifying();
    if (bind === undefined) return;
    const holder = { device: this.device, ...holderOf(bind.hello) };
    const done = (result: BindVerified["result"]) => ({ kind: "BindVerified", result }) as const;
    this.pipe(this.verified(bind.hello.token, holder), done);
  }

  private onBindVerified(result: Result<Claims, TokenError>): void {
    if (!this.edge.isOpen(this.id)) return;
    const bind = this.bindings?.endVerifying();
    if (bind !== undefined) {
      const done = result.ok ? this.bind(bind, result.value) : result;
      if (!done.ok) this.sendFrame(refusedFrame(bind.session, done.code, done.message));
    }
    this.verifyNextBind();
    this.closeIfEmpty();
  }

  private bind({ session: index, hello }: Bind, claims: Claims) {
    const { edge } = this;
    const known = this.knowSession(claims, { ...hello, device: hello.device ?? this.device });
    if (!known.ok) return known;
    const { session: key, device, options } = known.value;
    const isBound = key === this.session || this.bindings?.isOf(key) === true;
    const number = isBound
      ? undefined
      : edge.addFurther({ carrier: this.id, index, key, device, options });
    if (number === undefined) {
      edge.apps.leave(claims.app);
      return isBound
        ? refused("ALREADY_BOUND", "this user is bound to the connection already")
        : refused("OVERLOADED", closeCodes.OVERLOADED.meaning);
    }
    this.bindings?.add({ index, number, key });
    this.noteSignIn(number, known.value);
    edge.attaches.push(number);
    return known;
  }

  private onUnbind(index: number): void {
    const isFirst = index === firstSession;
    if (isFirst ? !this.hasFirst : !this.drop(index)) {
      this.edge.unknownSessions++;
      return;
    }
    // What waits for the first one's token would be bound to nobody's connection.
    const isLast = isFirst ? this.phase === verifying || !this.hasFurther : this.isEmpty;
    if (isLast) this.edge.closeDone(this.id);
    else if (isFirst) this.endFirst(unbound.code, unbound.name);
    else this.sendFrame(endedFrame(index, unbound.code, unbound.name));
  }

  private onSessionEnded({ number, close, reason }: SessionEnded): void {
    const bound = this.bindings?.withNumber(number);
    if (bound === undefined) return;
    this.drop(bound.index);
    const { code } = closeCodes[close] ?? closeCodes.INTERNAL;
    if (this.isEmpty) this.edge.close(this.id, close, reason);
    else this.sendFrame(endedFrame(bound.index, code, close));
  }

  /** False where nothing is known at that index. */
  private drop(index: number): boolean {
    const dropped = this.bindings?.drop(index);
    if (dropped?.bound !== undefined) this.edge.endFurther(dropped.bound.number);
    return dropped?.wasThere ?? false;
  }

  private get isEmpty(): boolean {
    return !this.hasFirst && !this.hasFurther;
  }

  private closeIfEmpty(): void {
    if (this.isEmpty) this.edge.closeDone(this.id);
  }

  private sendWelcome(heartbeatMs: number): void {
    const { node } = this.edge;
    this.sendFrame(
      welcomeFrame({
        v: protocolVersion,
        node: node.nodeId,
        connection: this.id,
        heartbeatMs,
        frameBytesMax: clientFrameBytesMax,
        serverTimeMs: node.clock.wallMs(),
        takes: takenKinds,
      }),
    );
  }

  override inspect(): Record<string, unknown> {
    const further = [...(this.bindings?.all ?? [])];
    const bound = further.map(({ index, key, number }) => ({ index, session: key, number }));
    return { ...super.inspect(), ...(bound.length === 0 ? {} : { bound }) };
  }
}

function holderOf({ device, platform }: Hello) {
  return {
    ...(device === undefined ? {} : { device }),
    ...(platform === undefined ? {} : { platform }),
  };
}
