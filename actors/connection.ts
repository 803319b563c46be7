/**
 * One WebSocket on one edge: who is behind it, which session serves it, and the
 * position that was last put on the wire.
 *
 *   fresh ──hello──▶ verifying ──token good──▶ attaching ──Attached──▶ serving
 *                                                  ▲                      │
 *                                                  └── owner changed ◀────┘
 *
 * Invariant: a stored message goes on the wire only when its prev is the last one
 * sent here, so that a lost hop can never be acked over.
 */
import { unreachable } from "../src/base/assert.js";
import { type Result, refused } from "../src/base/result.js";
import type { ConnectionId } from "../src/ports/edge-transport.js";
import type { Claims, TokenError } from "../src/ports/tokens.js";
import type { CloseName } from "../src/protocol/close-codes.js";
import {
  attachedFrame,
  type ClientFrame,
  clientFrameBytesMax,
  encodeFrame,
  type Hello,
  messageFrame,
  passingFrame,
  protocolVersion,
  recalledFrame,
  refusedFrame,
  takenKinds,
  welcomeFrame,
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
import { appOfKey, type SessionKey, type Shard, shardOfKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import { Actor } from "../src/runtime/actor.js";
import { addressOn } from "../src/runtime/address.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { EdgeContext } from "./edge-context.js";
import { nodeNameOf } from "./placement-view.js";
import { type AttachOptions, attachedInfo, sessionOf, signIn } from "./sign-in.js";

export interface ReceiveFrame {
  readonly kind: "ReceiveFrame";
  readonly frame: ClientFrame;
}

interface TokenVerified {
  readonly kind: "TokenVerified";
  readonly result: Result<Claims, TokenError>;
  readonly hello: Hello | undefined;
}

/** From the edge: its turn to attach. */
export interface AttachTick {
  readonly kind: "AttachTick";
}

export interface Closed {
  readonly kind: "Closed";
}

export type ConnectionMessage =
  | ReceiveFrame
  | TokenVerified
  | AttachTick
  | Attached
  | Deliver
  | DeliverPassing
  | Recalled
  | CloseConnection
  | WrongOwner
  | Closed;

const connectionKind: ActorKind = {
  name: "connection",
  mailbox: { max: 1_024, onFull: "reject" },
  restart: "temporary",
};

const fresh = 0;
const verifying = 1;
const attaching = 2;
const serving = 3;
const phaseNames = ["fresh", "verifying", "attaching", "serving"];

/** A connection carries one session for now; its frames name it so already. */
const onlySession = 0;

export class Connection extends Actor<ConnectionMessage> {
  private phase = fresh;
  private session: SessionKey | undefined = undefined;
  private device = "";
  /** The epoch under which the shard's owner serves this connection; 0 while none does. */
  private epoch = 0;
  private generation = 0;
  private sentSeq = 0;
  /** The highest of `generation` that the client acked here: an owner may not have heard it. */
  private ackedSeq = 0;
  private isAwaitingResend = false;
  /** Kept only until the session has answered the first attach. */
  private attachOptions: AttachOptions | undefined = undefined;

  constructor(private readonly edge: EdgeContext) {
    super();
  }

  get kind(): ActorKind {
    return connectionKind;
  }

  private get id(): ConnectionId {
    return this.key as ConnectionId;
  }

  /** However it ends, the session must not go on believing in it. */
  protected override stopping(): void {
    if (this.session === undefined) return;
    this.edge.apps.leave(decodeToken(appOfKey(this.session)) ?? "");
    this.toSession({ kind: "Detach", ...this.connectionRef() });
  }

  receive(message: ConnectionMessage): void {
    switch (message.kind) {
      case "ReceiveFrame":
        this.onFrame(message.frame);
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
      case "TokenVerified":
        this.onTokenVerified(message);
        return;
      case "Attached":
        this.onAttached(message);
        return;
      case "AttachTick":
        if (this.phase >= attaching) this.attach();
        return;
      case "WrongOwner":
        this.onWrongOwner(message);
        return;
      case "CloseConnection":
        this.close(message.close as CloseName);
        return;
      case "Closed":
        this.stopSelf();
        return;
      default:
        unreachable(message);
    }
  }

  private onFrame(frame: ClientFrame): void {
    if (frame.kind === "hello") {
      this.onHello(frame);
      return;
    }
    if (this.phase === fresh || this.session === undefined) {
      if (this.phase === fresh) this.close("HELLO_FIRST");
      return;
    }
    switch (frame.kind) {
      case "ack":
        this.onAck(frame.position);
        return;
      case "resend":
        this.askResend(frame.position);
        return;
      case "token":
        this.verify(frame.token, undefined);
        return;
      case "pong":
        return;
      default:
        unreachable(frame);
    }
  }

  private onAck(position: Position): void {
    if (position.generation === this.generation) {
      // Above what was sent here it cannot be true.
      this.ackedSeq = Math.max(this.ackedSeq, Math.min(position.seq, this.sentSeq));
    }
    this.toSession({ kind: "Acked", ...this.connectionRef(), position });
  }

  private onHello(hello: Hello): void {
    if (this.phase !== fresh) {
      this.close("BAD_FRAME", "a second hello");
      return;
    }
    this.phase = verifying;
    this.edge.noteHello(this.id);
    this.verify(hello.token, hello);
  }

  private verify(token: string, hello: Hello | undefined): void {
    const done = (result: TokenVerified["result"]): TokenVerified => ({
      kind: "TokenVerified",
      result,
      hello,
    });
    this.pipe(this.edge.node.tokens.verify(token), done, () =>
      done(refused("UNAUTHORIZED", "the token cannot be verified now")),
    );
  }

  private onTokenVerified({ result, hello }: TokenVerified): void {
    if (!result.ok) {
      if (hello === undefined)
        this.sendFrame(refusedFrame(onlySession, result.code, result.message));
      else this.close(result.code, result.message);
      return;
    }
    const claims = result.value;
    if (hello === undefined) {
      this.onTokenRefreshed(claims);
      return;
    }
    const signedIn = signIn(claims, hello, this.edge.node.clock.wallMs());
    if (!signedIn.ok) {
      this.close(signedIn.code, signedIn.message);
      return;
    }
    if (!this.edge.apps.admit(claims.app)) {
      this.close("QUOTA_EXCEEDED");
      return;
    }
    const { session, device, connect, options } = signedIn.value;
    this.session = session;
    this.device = device;
    this.edge.noteConnect(this.id, connect);
    this.attachOptions = options;
    this.edge.noteTokenExpiry(this.id, claims.exp * 1_000);
    this.sendWelcome();
    this.phase = attaching;
    this.edge.attaches.push(this.id);
  }

  private onTokenRefreshed(claims: Claims): void {
    const isSameDevice = claims.device === undefined || claims.device === this.device;
    if (sessionOf(claims) !== this.session || !isSameDevice) {
      this.close("UNAUTHORIZED", "the fresh token is for somebody else");
      return;
    }
    this.edge.noteTokenExpiry(this.id, claims.exp * 1_000);
  }

  // ---- the session's side ----

  /** Until its turn it takes what an owner of before still sends. */
  private attach(): void {
    const { view, clock } = this.edge.node;
    if (!view.isLeaseHeld(clock.monotonicMs())) {
      // Of an edge that is no member, nobody would learn that it has gone.
      this.edge.attaches.retry(this.id, false);
      return;
    }
    const { attachOptions, generation, ackedSeq } = this;
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
      ...(this.epoch !== 0 && this.epoch === this.ownerEpoch ? { isServed: true as const } : {}),
    });
    this.edge.attaches.retry(this.id, isSent);
  }

  private get ownerEpoch(): number | undefined {
    const { shard } = this;
    return shard === undefined ? undefined : this.edge.node.view.ownerOf(shard)?.epoch;
  }

  private onAttached({ epoch, base }: Attached): void {
    if (this.phase === serving && epoch < this.epoch) return;
    const isContinuing = base.generation === this.generation && base.seq === this.sentSeq;
    this.phase = serving;
    this.edge.attaches.settle(this.id);
    this.epoch = epoch;
    this.isAwaitingResend = false;
    this.attachOptions = undefined;
    if (isContinuing) return;
    this.generation = base.generation;
    this.sentSeq = base.seq;
    this.ackedSeq = 0;
    const tokenExpiryMs = this.edge.tokenExpiryMs(this.id);
    const info = attachedInfo(this.session as SessionKey, this.device, tokenExpiryMs);
    this.sendFrame(attachedFrame(onlySession, base, info));
  }

  private onWrongOwner({ epoch }: WrongOwner): void {
    if (this.phase === serving && epoch <= this.epoch) return;
    // The table will come; the tick tries again by then.
    if (this.phase < attaching) return;
    this.phase = attaching;
    this.edge.attaches.retry(this.id, false);
  }

  private onDeliver(deliver: Deliver): void {
    if (this.phase !== serving || deliver.epoch !== this.epoch) return;
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
    const { edge, id } = this;
    const isText = edge.isText(id);
    let prev = deliver.prev;
    for (const [index, seq] of deliver.seqs.entries()) {
      const record = deliver.records[index] as Uint8Array;
      edge.send(id, messageFrame(onlySession, this.generation, seq, prev, record, isText));
      prev = seq;
    }
    this.sentSeq = prev;
    this.edge.node.journal?.written(deliver, this.device, this.edge.address);
  }

  private onDeliverPassing({ record, epoch }: DeliverPassing): void {
    if (this.phase !== serving || (epoch ?? this.epoch) !== this.epoch) return;
    this.edge.send(this.id, passingFrame(onlySession, record, this.edge.isText(this.id)));
    this.notePassing(record);
  }

  private notePassing(record: Uint8Array): void {
    const { session: key, epoch, generation, device } = this;
    if (key === undefined) return;
    this.edge.node.journal?.passedWritten({ key, epoch, generation }, device, record);
  }

  private onRecalled({ ids, epoch }: Recalled): void {
    if (this.phase !== serving || epoch !== this.epoch) return;
    this.sendFrame(recalledFrame(onlySession, ids));
  }

  private askResend(position: Position): void {
    this.toSession({ kind: "Resend", ...this.connectionRef(), position });
  }

  /** False when nobody owns the session's shard. */
  private toSession(message: FromEdge): boolean {
    const key = this.session;
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

  // ---- the client's side ----

  private sendWelcome(): void {
    const { node } = this.edge;
    this.sendFrame(
      welcomeFrame({
        v: protocolVersion,
        node: node.nodeId,
        connection: this.id,
        heartbeatMs: node.limits.heartbeatMs,
        frameBytesMax: clientFrameBytesMax,
        serverTimeMs: node.clock.wallMs(),
        ...(takenKinds.length === 0 ? {} : { takes: takenKinds }),
      }),
    );
  }

  private sendFrame(frame: readonly unknown[]): void {
    this.edge.send(this.id, encodeFrame(frame, this.edge.isText(this.id)));
  }

  private close(name: CloseName, reason?: string): void {
    this.edge.close(this.id, name, reason);
  }

  /** The shard whose owner serves this connection, once it is known who is behind it. */
  get shard(): Shard | undefined {
    return this.session === undefined ? undefined : shardOfKey(this.session);
  }

  /** Undefined before the hello. */
  get sessionKey(): SessionKey | undefined {
    return this.session;
  }

  /** Whether it carries that session; where none is named, any. */
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
