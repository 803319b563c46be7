/**
 * One session bound to a client's connection: which owner serves it, and the position that
 * was last put on the wire for it. The connection itself is its first one (connection.ts),
 * further ones stand beside it (further-session.ts).
 *
 *   attaching ──Attached──▶ serving        fresh, verifying: before it is known who it is
 *       ▲                      │           ended: over, while the connection goes on
 *       └──── owner changed ◀──┘
 *
 * Invariant: a stored message goes on the wire only when its prev is the last one
 * sent here, so that a lost hop can never be acked over.
 */
import { ignoreUnknown, unreachable } from "../src/base/assert.js";
import { type Result, refused } from "../src/base/result.js";
import type { ConnectionId } from "../src/ports/edge-transport.js";
import type { Claims, TokenError, TokenHolder } from "../src/ports/tokens.js";
import type { CallFrame } from "../src/protocol/call-frames.js";
import type { CloseName } from "../src/protocol/close-codes.js";
import {
  attachedFrame,
  type ClientFrame,
  encodeFrame,
  messageFrame,
  passingFrame,
  recalledFrame,
  refusedFrame,
} from "../src/protocol/frames.js";
import type {
  Attached,
  CloseConnection,
  Deliver,
  DeliverPassing,
  FromEdge,
  Recalled,
  ToSession,
  WrongOwner,
} from "../src/protocol/messages.js";
import type { Position } from "../src/protocol/position.js";
import { type SessionKey, type Shard, shardOfKey } from "../src/protocol/shards.js";
import { Actor } from "../src/runtime/actor.js";
import { addressOn } from "../src/runtime/address.js";
import type { EdgeContext } from "./edge-context.js";
import type { AppStateTick, AttachTick, ReceiveFrame } from "./edge-messages.js";
import { nodeNameOf } from "./placement-view.js";
import { type AttachOptions, attachedInfo, sessionOf } from "./sign-in.js";

/** Of a fresh token for the session that it has. */
interface TokenRefreshed {
  readonly kind: "TokenRefreshed";
  readonly result: Result<Claims, TokenError>;
}

export type BoundMessage =
  | ReceiveFrame
  | AttachTick
  | TokenRefreshed
  | Attached
  | Deliver
  | DeliverPassing
  | Recalled
  | CloseConnection
  | WrongOwner
  | AppStateTick;

/** What a client may say of one session. */
type SessionFrame = Extract<ClientFrame, { kind: "ack" | "resend" | "token" | "call" | "opened" }>;

export const fresh = 0;
export const verifying = 1;
export const ended = 2;
export const attaching = 3;
export const serving = 4;
const phaseNames = ["fresh", "verifying", "ended", "attaching", "serving"];

export abstract class BoundSession<Own> extends Actor<BoundMessage | Own> {
  protected phase = fresh;
  protected session: SessionKey | undefined = undefined;
  protected device = "";
  /** The epoch under which the shard's owner serves this connection; 0 while none does. */
  private epoch = 0;
  private generation = 0;
  private sentSeq = 0;
  /** The highest of `generation` that the client acked here: an owner may not have heard it. */
  private ackedSeq = 0;
  private isAwaitingResend = false;
  /** A fresh token is being checked: one at a time, or one client could have any number. */
  private isRefreshing = false;
  /** Kept only until the session has answered the first attach. */
  private attachOptions: AttachOptions | undefined = undefined;

  constructor(protected readonly edge: EdgeContext) {
    super();
  }

  /** As owners know it. */
  protected get id(): ConnectionId {
    return this.key as ConnectionId;
  }

  /** Whose socket its frames take. */
  abstract get carrier(): ConnectionId;
  abstract get isOneOfSeveral(): boolean;
  /** How the client names it on that connection. */
  protected abstract get index(): number;

  /** It cannot go on: neither can the connection, unless others are bound to it. */
  protected abstract end(name: CloseName, reason?: string): void;

  protected onBoundMessage(message: BoundMessage): void {
    switch (message.kind) {
      case "ReceiveFrame":
        this.onSessionFrame(message.frame as SessionFrame);
        return;
      case "Deliver":
        this.onDeliver(message);
        return;
      case "DeliverPassing":
        this.onDeliverPassing(message);
        return;
      case "Recalled":
        this.onRecalled(message);
        return;
      case "TokenRefreshed":
        this.onTokenRefreshed(message.result);
        return;
      case "Attached":
        this.onAttached(message);
        return;
      case "AppStateTick":
        this.tellAppState();
        return;
      case "AttachTick":
        if (this.phase >= attaching) this.attach();
        return;
      case "WrongOwner":
        this.onWrongOwner(message);
        return;
      case "CloseConnection":
        if (this.phase !== ended) this.end(message.close as CloseName);
        return;
      default:
        ignoreUnknown(message);
    }
  }

  // ---- the client's side ----

  protected onSessionFrame(frame: SessionFrame): void {
    if (this.phase < attaching) return;
    const { device } = this;
    switch (frame.kind) {
      case "ack":
        this.onAck(frame.position);
        return;
      case "resend":
        this.askResend(frame.position);
        return;
      case "token":
        this.refreshToken(frame.token);
        return;
      case "call":
        this.onCall(frame);
        return;
      case "opened":
        this.toSession({ kind: "Opened", ...this.connectionRef(), device, id: frame.id });
        return;
      default:
        unreachable(frame);
    }
  }

  private onCall(call: CallFrame): void {
    const { id: number, carrier: connection, index, session: key, device } = this;
    if (key === undefined) return;
    this.edge.calls.start({ number, connection, session: index, key, device }, call);
  }

  private onAck(position: Position): void {
    if (position.generation === this.generation) {
      // Above what was sent here it cannot be true.
      this.ackedSeq = Math.max(this.ackedSeq, Math.min(position.seq, this.sentSeq));
    }
    this.toSession({ kind: "Acked", ...this.connectionRef(), position });
  }

  private askResend(position: Position): void {
    this.toSession({ kind: "Resend", ...this.connectionRef(), position });
  }

  private refreshToken(token: string): void {
    if (this.isRefreshing) {
      const text = "the token before it is still being checked";
      this.sendFrame(refusedFrame(this.index, "RATE_LIMITED", text));
      return;
    }
    this.isRefreshing = true;
    const done = (result: TokenRefreshed["result"]): TokenRefreshed => ({
      kind: "TokenRefreshed",
      result,
    });
    this.pipe(this.verified(token, { device: this.device }), done);
  }

  private onTokenRefreshed(result: TokenRefreshed["result"]): void {
    this.isRefreshing = false;
    if (this.phase < attaching) return;
    if (!result.ok) {
      this.sendFrame(refusedFrame(this.index, result.code, result.message));
      return;
    }
    const claims = result.value;
    const isSameDevice = claims.device === undefined || claims.device === this.device;
    if (sessionOf(claims) !== this.session || !isSameDevice) {
      this.end("UNAUTHORIZED", "the fresh token is for somebody else");
      return;
    }
    this.edge.calls.routes.set(this.id, claims.routes);
    this.edge.noteTokenExpiry(this.id, claims.exp * 1_000);
  }

  /** As it stands; one that is not attached yet hears it by its attach. */
  protected tellAppState(): void {
    const app = this.edge.appStates.of(this.carrier);
    if (app === undefined) return;
    this.toSession({ kind: "AppStateChanged", ...this.connectionRef(), app });
  }

  /** Never rejects. */
  protected verified(token: string, holder: Omit<TokenHolder, "address">) {
    const address = this.edge.addressOf(this.carrier);
    const from = address === undefined ? holder : { ...holder, address };
    return this.edge.node.tokens
      .verify(token, from)
      .catch(() => refused<TokenError>("AUTH_UNAVAILABLE", "the token cannot be verified now"));
  }

  protected sendFrame(frame: readonly unknown[]): void {
    this.edge.send(this.carrier, encodeFrame(frame, this.edge.isText(this.id)));
  }

  // ---- the session's side ----

  /** It is known who it is: the edge says when it is its turn to attach. */
  protected sessionIs(session: SessionKey, device: string, options: AttachOptions): void {
    this.session = session;
    this.device = device;
    this.attachOptions = options;
    this.edge.unattached.enter(session);
    this.phase = attaching;
  }

  /** Over: its owner is told, and what still comes for it is nobody's. */
  protected leave(): void {
    this.detach();
    this.session = undefined;
    this.phase = ended;
  }

  /** However it ends, the session must not go on believing in it. */
  protected detach(): void {
    this.edge.calls.forget(this.id);
    this.noteAnswered();
    this.toSession({ kind: "Detach", ...this.connectionRef() });
  }

  /** It waits no more for its first attach. */
  private noteAnswered(): void {
    if (this.attachOptions === undefined || this.session === undefined) return;
    this.attachOptions = undefined;
    this.edge.unattached.leave(this.session);
  }

  /** Until its turn it takes what an owner of before still sends. */
  private attach(): void {
    const { view, clock } = this.edge.node;
    if (!view.isLeaseHeld(clock.monotonicMs())) {
      // Of an edge that is no member, nobody would learn that it has gone.
      this.edge.attaches.retry(this.id, false);
      return;
    }
    const { attachOptions, generation, ackedSeq } = this;
    const app = this.edge.appStates.of(this.carrier);
    const wasSent = generation !== 0;
    const taken = ackedSeq > 0 ? { generation, seq: ackedSeq } : attachOptions?.taken;
    this.phase = attaching;
    const isSent = this.toSession({
      kind: "Attach",
      ...this.connectionRef(),
      device: this.device,
      platform: attachOptions?.platform ?? "unknown",
      connect: this.edge.connectOf(this.id),
      start: attachOptions?.start ?? "new",
      ...(taken === undefined ? {} : { taken }),
      ...(wasSent ? { sent: { generation, seq: this.sentSeq } } : {}),
      ...(app === undefined ? {} : { app }),
      ...(this.epoch !== 0 && this.epoch === this.ownerEpoch ? { isServed: true as const } : {}),
    });
    this.edge.attaches.retry(this.id, isSent);
  }

  private get ownerEpoch(): number | undefined {
    const { shard } = this;
    return shard === undefined ? undefined : this.edge.node.view.ownerOf(shard)?.epoch;
  }

  private onAttached({ epoch, base, key }: Attached): void {
    if (this.session === undefined) {
      this.deny(key);
      return;
    }
    if (this.phase === serving && epoch < this.epoch) return;
    const isContinuing = base.generation === this.generation && base.seq === this.sentSeq;
    this.phase = serving;
    this.edge.attaches.settle(this.id);
    this.epoch = epoch;
    this.isAwaitingResend = false;
    this.noteAnswered();
    if (isContinuing) return;
    this.generation = base.generation;
    this.sentSeq = base.seq;
    this.ackedSeq = 0;
    const info = attachedInfo(this.session, this.device, this.edge.tokenExpiryMs(this.id));
    this.sendFrame(attachedFrame(this.index, base, info));
  }

  private onWrongOwner({ epoch }: WrongOwner): void {
    if (this.phase === serving && epoch <= this.epoch) return;
    // The table will come; the tick tries again by then.
    if (this.phase < attaching) return;
    this.phase = attaching;
    this.edge.attaches.retry(this.id, false);
  }

  /** An owner believes in what is over here: no ghosts. */
  private deny(key: SessionKey): void {
    if (this.phase === ended) this.toSession({ kind: "Detach", ...this.connectionRef() }, key);
  }

  private onDeliver(deliver: Deliver): void {
    if (this.phase !== serving || deliver.epoch !== this.epoch) {
      this.deny(deliver.key);
      return;
    }
    const isNext = deliver.generation === this.generation && deliver.prev === this.sentSeq;
    if (!isNext) {
      // Once: what still flies behind the gap is dropped in silence.
      if (!this.isAwaitingResend) {
        this.isAwaitingResend = true;
        this.askResend({ generation: this.generation, seq: this.sentSeq });
      }
      return;
    }
    this.isAwaitingResend = false;
    const { edge, carrier, index } = this;
    const isText = edge.isText(this.id);
    let prev = deliver.prev;
    for (const [at, seq] of deliver.seqs.entries()) {
      const record = deliver.records[at] as Uint8Array;
      edge.send(carrier, messageFrame(index, this.generation, seq, prev, record, isText));
      prev = seq;
    }
    this.sentSeq = prev;
    edge.heartbeats.noteOwed(carrier);
    edge.node.journal?.written(deliver, this.device, this.edge.address);
  }

  private onDeliverPassing({ record, epoch }: DeliverPassing): void {
    if (this.phase !== serving || (epoch ?? this.epoch) !== this.epoch) return;
    const { edge, carrier, index } = this;
    if (!edge.mayPass(carrier)) return;
    edge.send(carrier, passingFrame(index, record, edge.isText(this.id)));
    this.notePassing(record);
  }

  private notePassing(record: Uint8Array): void {
    const { session: key, epoch, generation, device } = this;
    if (key === undefined) return;
    this.edge.node.journal?.passedWritten({ key, epoch, generation }, device, record);
  }

  private onRecalled({ ids, epoch }: Recalled): void {
    if (this.phase !== serving || epoch !== this.epoch) return;
    this.sendFrame(recalledFrame(this.index, ids));
  }

  /** False when nobody owns the session's shard. */
  private toSession(message: FromEdge, key = this.session): boolean {
    if (key === undefined) return false;
    const shard = shardOfKey(key);
    const owner = this.edge.node.view.ownerOf(shard);
    if (owner === undefined) return false;
    const envelope: ToSession = { kind: "ToSession", shard, epoch: owner.epoch, key, message };
    this.tell(addressOn(nodeNameOf(owner), "shards"), envelope);
    return true;
  }

  private connectionRef(): { edge: string; connection: number } {
    return { edge: this.edge.address, connection: this.id };
  }

  /** The shard whose owner serves it, once it is known who is behind it. */
  get shard(): Shard | undefined {
    return this.session === undefined ? undefined : shardOfKey(this.session);
  }

  /** Undefined before it is known, and when it is over. */
  get sessionKey(): SessionKey | undefined {
    return this.session;
  }

  /** Whether it is that session; where none is named, any. */
  isOf(key: SessionKey | undefined): boolean {
    return this.session !== undefined && (key === undefined || key === this.session);
  }

  get servedEpoch(): number {
    return this.epoch;
  }

  override inspect(): Record<string, unknown> {
    return {
      phase: phaseNames[this.phase],
      session: this.session ?? null,
      device: this.device,
      epoch: this.epoch,
      generation: this.generation,
      sentSeq: this.sentSeq,
    };
  }
}
