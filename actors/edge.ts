/**
 * The listener of a node and the parent of its connections: admits, decodes, and
 * passes on what sessions send to connections.
 *
 * The transport's callbacks run between turns; they only spawn, count and tell.
 */
import { ignoreUnknown } from "../src/base/assert.js";
import type { ConnectionId, Subprotocol } from "../src/ports/edge-transport.js";
import type { CloseName } from "../src/protocol/close-codes.js";
import { clientFrameBytesMax, decodeClientFrame } from "../src/protocol/frames.js";
import type {
  AttachAgain,
  CloseConnection,
  DirectConnection,
  FromEdge,
  PlacementChanged,
  ToEdge,
  ToSession,
} from "../src/protocol/messages.js";
import { type SessionKey, type Shard, shardOfKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import { Actor } from "../src/runtime/actor.js";
import { type ActorKey, addressOn } from "../src/runtime/address.js";
import type { Asker, StopReason } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { ViewUsage } from "./app-usage.js";
import type { BoundSession } from "./bound-session.js";
import { Connection } from "./connection.js";
import { Dispatcher } from "./dispatcher.js";
import { EdgeAdmission } from "./edge-admission.js";
import { EdgeContext, sweepParts } from "./edge-context.js";
import { EdgeDirectives } from "./edge-directives.js";
import { EdgeDrain } from "./edge-drain.js";
import type { AttachTick, Closed, ReceiveFrame } from "./edge-messages.js";
import { FurtherSession } from "./further-session.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";

interface SweepTick {
  readonly kind: "SweepTick";
}

interface PaceTick {
  readonly kind: "PaceTick";
}

interface DrainTick {
  readonly kind: "DrainTick";
}

export type EdgeMessage = ToEdge | PlacementChanged | SweepTick | PaceTick | DrainTick | ViewUsage;

const edgeKind: ActorKind = {
  name: "edge",
  mailbox: { max: 262_144, onFull: "reject" },
  restart: "permanent",
  quantum: 1_024,
};

type EdgeChild = BoundSession<unknown>;

/** Each connection once a second. */
const sweepEveryMs = 1_000 / sweepParts;
/** Of the time that a stopping node gives its clients: the rest is for the last ones to go. */
const tellingPart = 0.6;
/** So fast it tells them also where there are few: nobody waits for a stop longer than need be. */
const leavePerSecondMin = 500;

export class Edge extends Actor<EdgeMessage> {
  private context: EdgeContext | undefined = undefined;
  private drain: EdgeDrain | undefined = undefined;
  private directives: EdgeDirectives | undefined = undefined;
  private leavePerSecond: number | undefined = undefined;
  private nextPart = 0;
  private sweptMs = 0;
  private opened = 0;
  private readonly admission: EdgeAdmission;
  private badFrames = 0;

  constructor(private readonly node: NodeContext) {
    super();
    this.admission = new EdgeAdmission(node, () => this.drain?.refusal());
  }

  get kind(): ActorKind {
    return edgeKind;
  }

  protected override async started(): Promise<void> {
    const attachTick: AttachTick = { kind: "AttachTick" };
    const context = new EdgeContext(
      this.node,
      {
        send: (connection) => this.tellChild(connection, attachTick),
        startTick: (delayMs) => this.timer(delayMs, { kind: "PaceTick" }),
        addressOf: (connection) => this.admission.addressAt(connection),
      },
      {
        tell: (number, message) => this.tellChild(number, message),
        spawn: (number) => this.spawn(number),
        end: (number) => this.endChild(number),
      },
    );
    this.context = context;
    const drain = new EdgeDrain(context, {
      dispatcher: new Dispatcher(this.node),
      sessionOf: (connection) => this.child<Connection>(connection)?.sessionKey,
      startTick: (delayMs) => this.timer(delayMs, { kind: "DrainTick" }),
    });
    this.drain = drain;
    const directives = new EdgeDirectives(context);
    this.directives = directives;
    this.followDrain();
    await this.node.transport.listen({
      onUpgrade: (handshake) => this.admission.admit(handshake),
      onOpen: (connection, protocol) => this.onOpen(context, connection, protocol),
      onMessage: (connection, bytes, isText) => this.onBytes(context, connection, bytes, isText),
      onClose: (connection) => {
        this.admission.closed(connection);
        context.forget(connection);
        drain.forget(connection);
        directives.forget(connection);
        this.endChild(connection);
      },
    });
    this.sweptMs = this.node.clock.monotonicMs();
    this.timer(sweepEveryMs, { kind: "SweepTick" });
  }

  protected override async stopping(): Promise<void> {
    this.context?.closeAll("GOING_AWAY");
    await this.node.transport.stopListening();
  }

  protected override createChild(key: ActorKey): Actor {
    const context = this.context as EdgeContext;
    const further = context.further.find(key as ConnectionId);
    return further === undefined ? new Connection(context) : new FurtherSession(context, further);
  }

  /** Behind what it was told before. */
  private endChild(number: ConnectionId): void {
    const closed: Closed = { kind: "Closed" };
    if (!this.tellChild(number, closed)) this.stopChild(number);
  }

  /** What failed is closed: it is the client that comes back. */
  protected override onChildStopped(key: ActorKey, reason: StopReason): void {
    const number = key as ConnectionId;
    const isFurther = this.context?.further.find(number) !== undefined;
    if (reason !== "normal") {
      if (isFurther) this.context?.tellEnded(number, "INTERNAL");
      else this.context?.close(number, "INTERNAL");
    }
    if (isFurther) this.context?.forgetFurther(number);
  }

  receive(message: EdgeMessage, from: Asker | undefined): void {
    switch (message.kind) {
      case "Deliver":
      case "Attached":
        // Dropped by a full mailbox it is sent again; only who is gone is a ghost.
        if (this.hasChild(message.connection)) this.tellChild(message.connection, message);
        else this.reportGone(message);
        return;
      case "CloseConnection":
        if (!this.tellChild(message.connection, message)) this.closeUnheard(message);
        return;
      case "DeliverPassing":
      case "Recalled":
      case "WrongOwner":
        this.tellChild(message.connection, message);
        return;
      case "DirectConnection":
        from?.answer(this.onDirect(message));
        return;
      case "AttachAgain":
        this.onAttachAgain(message);
        // They stand in the queue: they will come.
        from?.answer(true);
        return;
      case "PlacementChanged":
        this.onPlacementChanged();
        return;
      case "SweepTick":
        this.onSweep();
        return;
      case "ViewUsage":
        from?.answer(this.context?.apps.of(decodeToken(message.appToken) ?? "") ?? null);
        return;
      case "DrainTick":
        this.drain?.tick();
        return;
      case "PaceTick":
        this.context?.attaches.tick();
        return;
      default:
        ignoreUnknown(message);
    }
  }

  /** Every part that is due since the last tick, which a busy loop may have held up. */
  private onSweep(): void {
    const nowMs = this.node.clock.monotonicMs();
    const due = Math.min(sweepParts, Math.floor((nowMs - this.sweptMs) / sweepEveryMs));
    for (let count = 0; count < due; count++) {
      this.context?.sweep(this.nextPart);
      if (this.nextPart === 0) this.directives?.sweep();
      this.nextPart = (this.nextPart + 1) % sweepParts;
    }
    // Behind by a whole round there is nothing more to catch up on.
    this.sweptMs = due === sweepParts ? nowMs : this.sweptMs + due * sweepEveryMs;
    this.timer(sweepEveryMs, { kind: "SweepTick" });
  }

  /** Whether the client was told: the session may believe in one that is gone. */
  private onDirect({ connection, key, directive }: DirectConnection): boolean {
    const bound = this.child<EdgeChild>(connection);
    if (bound?.isOf(key) !== true) return false;
    if (directive.do === "kick" && bound.isOneOfSeveral) {
      // The others who share its connection are not meant.
      return this.tellChild(connection, { kind: "CloseConnection", connection, close: "KICKED" });
    }
    return this.directives?.carryOut(bound.carrier, directive) ?? false;
  }

  private onOpen(context: EdgeContext, connection: ConnectionId, protocol: Subprotocol): void {
    this.opened++;
    this.admission.opened(connection);
    if (!context.open(connection, protocol === "belfry.v1.json")) {
      this.node.transport.close(connection, 4005, "OVERLOADED");
      return;
    }
    this.spawn(connection);
  }

  private onBytes(
    context: EdgeContext,
    connection: ConnectionId,
    bytes: Uint8Array,
    isText: boolean,
  ): void {
    context.noteHeard(connection);
    if (bytes.length > clientFrameBytesMax) {
      this.badFrames++;
      context.close(connection, "FRAME_TOO_LARGE");
      return;
    }
    if (isText !== context.isText(connection)) {
      this.badFrames++;
      context.close(
        connection,
        "BAD_FRAME",
        isText ? "text where binary is due" : "binary where text is due",
      );
      return;
    }
    const frame = decodeClientFrame(bytes, isText);
    if (!frame.ok) {
      this.badFrames++;
      context.close(connection, frame.code, frame.message);
      return;
    }
    if (frame.value.kind === "pong") return;
    const message: ReceiveFrame = { kind: "ReceiveFrame", frame: frame.value };
    if (!this.tellChild(connection, message)) context.close(connection, "OVERLOADED");
  }

  /** It cannot stay by filling its mailbox; the others who share its connection are not meant. */
  private closeUnheard({ connection, close }: CloseConnection): void {
    const bound = this.child<EdgeChild>(connection);
    const number = connection as ConnectionId;
    if (bound === undefined) return;
    if (bound.carrier !== number) this.context?.tellEnded(number, close as CloseName);
    else this.context?.close(number, bound.isOneOfSeveral ? "OVERLOADED" : (close as CloseName));
  }

  /** The session believes in a connection that is gone: no ghosts. */
  private reportGone(message: { connection: number; key: string; epoch: number }): void {
    const { connection, epoch } = message;
    const key = message.key as SessionKey;
    const shard = shardOfKey(key);
    const owner = this.node.view.ownerOf(shard);
    if (owner === undefined) return;
    const detach: FromEdge = { kind: "Detach", edge: this.address, connection };
    const envelope: ToSession = { kind: "ToSession", shard, epoch, key, message: detach };
    this.tell(addressOn(nodeNameOf(owner), "shards"), envelope);
  }

  private onAttachAgain({ shards, key, connection }: AttachAgain): void {
    if (connection !== undefined) {
      if (this.child<EdgeChild>(connection)?.isOf(key)) this.attach(connection);
      return;
    }
    const wanted = new Set<Shard>(shards);
    this.eachConnection((candidate, number) => {
      const { shard } = candidate;
      if (shard !== undefined && wanted.has(shard) && candidate.isOf(key)) this.attach(number);
    });
  }

  private attach(connection: ActorKey): void {
    this.context?.attaches.push(connection as ConnectionId);
  }

  /** By an operator's word, at that pace; before the node stops, as fast as it needs to be. */
  private followDrain(): void {
    const { view, nodeId, limits, transport } = this.node;
    const wanted = view.edgePolicy.draining.get(nodeId);
    if (!view.isEdgeClosed) {
      this.drain?.follow(wanted);
      return;
    }
    const tellingMs = limits.edgeLeaveMs * tellingPart;
    // Once: those who have left already do not make it slower for the rest.
    this.leavePerSecond ??= Math.ceil((transport.connectionCount * 1_000) / tellingMs);
    this.drain?.follow(Math.max(this.leavePerSecond, wanted ?? 0, leavePerSecondMin));
  }

  /** Connections served under an epoch that has passed go to the new owner. */
  private onPlacementChanged(): void {
    this.followDrain();
    const { table } = this.node.view;
    this.eachConnection((connection, key) => {
      const { shard } = connection;
      if (shard === undefined || table.stateOf(shard) !== "serving") return;
      if (connection.servedEpoch !== 0 && table.epochOf(shard) > connection.servedEpoch) {
        this.attach(key);
      }
    });
  }

  /** And each further session, which is one to owners. */
  private eachConnection(visit: (connection: EdgeChild, key: ActorKey) => void): void {
    for (const key of this.childKeys()) {
      const connection = this.child<EdgeChild>(key);
      if (connection !== undefined) visit(connection, key);
    }
  }

  override inspect(): Record<string, unknown> {
    return {
      url: this.node.edgeUrl,
      connections: this.childCount - (this.context?.further.size ?? 0),
      furtherSessions: this.context?.further.size ?? 0,
      opened: this.opened,
      ...this.admission.inspect(),
      badFrames: this.badFrames,
      unknownSessions: this.context?.unknownSessions ?? 0,
      passingDropped: this.context?.passingDropped ?? 0,
      framesSent: this.context?.framesSent ?? 0,
      bytesSent: this.context?.bytesSent ?? 0,
      attachesQueued: this.context?.attaches.queued ?? 0,
      attachesUnanswered: this.context?.attaches.unanswered ?? 0,
      drain: this.drain?.inspect() ?? null,
      directives: this.directives?.inspect() ?? null,
      calls: this.context?.calls.inspect() ?? null,
      closed: this.context?.closedByReason ?? {},
      webhooks: this.node.tokens.inspect?.() ?? {},
      sockets: this.node.transport.figures(),
    };
  }
}
