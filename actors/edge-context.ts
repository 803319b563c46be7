/**
 * What an edge keeps for all its connections in a few typed arrays by slot, so that
 * an idle connection costs no timer and no object for it: when it was opened, heard
 * and pinged, when its token ends. Also the one way to its socket.
 */

import { type ConnectionId, slotOf } from "../src/ports/edge-transport.js";
import { type CloseName, closeCodes } from "../src/protocol/close-codes.js";
import {
  type ClientFrame,
  encodeFrame,
  firstSession,
  pingFrame,
  tokenWantedFrame,
} from "../src/protocol/frames.js";
import type { CloseConnection } from "../src/protocol/messages.js";
import { appOfKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import { type Address, addressOn } from "../src/runtime/address.js";
import { AppConnections } from "./app-connections.js";
import { AttachQueue, type AttachSurroundings } from "./attach-queue.js";
import type { ReceiveFrame, SessionEnded } from "./edge-messages.js";
import { type FurtherSession, FurtherSessions } from "./further-sessions.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";

const isOpen = 1;
const isTextFlag = 2;
const hasHello = 4;
const isTokenAsked = 8;

/** The edge's actors for connections and sessions, by their numbers. */
export interface EdgeChildren {
  /** False when it did not hear. */
  tell(number: ConnectionId, message: unknown): boolean;
  spawn(number: ConnectionId): void;
  stop(number: ConnectionId): void;
}

export class EdgeContext {
  private flags: Uint8Array;
  private readonly openedMs: Float64Array;
  private readonly heardMs: Float64Array;
  private readonly pingedMs: Float64Array;
  private tokenEndsMs: Float64Array;
  /** The connect counters: as a field of an actor each would be a number object of its own. */
  private connects: Float64Array;
  private connections: Float64Array;
  /** Slots of sockets; those of further sessions lie above, and are made when there are any. */
  private readonly socketSlots: number;
  private slotsUsed = 0;
  private pingNonce = 0;
  private readonly closedFor = new Map<CloseName, number>();
  framesSent = 0;
  bytesSent = 0;
  /** QoS 0 that slow clients were not sent. */
  passingDropped = 0;
  /** Frames for sessions that were not bound. */
  unknownSessions = 0;
  readonly further: FurtherSessions;
  readonly attaches: AttachQueue;
  readonly apps: AppConnections;

  /** `edge`: how connections are told that it is their turn to attach. */
  constructor(
    readonly node: NodeContext,
    edge: Pick<AttachSurroundings, "send" | "startTick">,
    readonly children: EdgeChildren,
  ) {
    // A slot may be given again a moment after its limit check: some are spare.
    const slots = node.limits.connectionsMax + 1_024;
    this.socketSlots = slots;
    this.further = new FurtherSessions(slots, node.limits.furtherSessionsMax);
    this.flags = new Uint8Array(slots);
    this.openedMs = new Float64Array(slots);
    this.heardMs = new Float64Array(slots);
    this.pingedMs = new Float64Array(slots);
    this.tokenEndsMs = new Float64Array(slots);
    this.connects = new Float64Array(slots);
    this.connections = new Float64Array(slots);
    this.apps = new AppConnections(node);
    this.attaches = new AttachQueue({
      ...edge,
      node,
      slots,
      connectionAt: (slot) =>
        this.flags[slot] === 0 ? undefined : (this.connections[slot] as ConnectionId),
    });
  }

  /** Of the edge's actor, under the node's name of now. */
  get address(): Address {
    return addressOn(nodeNameOf(this.node), "edge");
  }

  /** False when there is no slot for it. */
  open(connection: ConnectionId, isText: boolean): boolean {
    const slot = slotOf(connection);
    if (slot >= this.socketSlots) return false;
    const nowMs = this.node.clock.monotonicMs();
    this.flags[slot] = isText ? isOpen | isTextFlag : isOpen;
    this.openedMs[slot] = nowMs;
    this.heardMs[slot] = nowMs;
    this.pingedMs[slot] = nowMs;
    this.tokenEndsMs[slot] = 0;
    this.connections[slot] = connection;
    this.slotsUsed = Math.max(this.slotsUsed, slot + 1);
    return true;
  }

  /** Slots of sockets that were ever used; those above never were. */
  get slotCount(): number {
    return Math.min(this.slotsUsed, this.socketSlots);
  }

  /** The open connection of a slot whose client has said hello. */
  greetedAt(slot: number): ConnectionId | undefined {
    const flags = this.flags[slot] ?? 0;
    return (flags & hasHello) === 0 ? undefined : (this.connections[slot] as ConnectionId);
  }

  forget(connection: ConnectionId): void {
    const slot = slotOf(connection);
    if (this.connections[slot] !== connection) return;
    this.flags[slot] = 0;
    this.attaches.forget(connection);
  }

  // ---- sessions beside a connection's first one ----

  /** Its actor stands, to be attached by its number; undefined where the edge has its fill. */
  addFurther(session: FurtherSession): ConnectionId | undefined {
    const number = this.further.add(session);
    if (number === undefined) return undefined;
    const slot = slotOf(number);
    this.makeSlots(this.further.slotsEnd);
    this.flags[slot] = this.isText(session.carrier) ? isOpen | isTextFlag : isOpen;
    this.tokenEndsMs[slot] = 0;
    this.connections[slot] = number;
    this.slotsUsed = Math.max(this.slotsUsed, slot + 1);
    this.children.spawn(number);
    return number;
  }

  /** Its actor is gone. */
  forgetFurther(number: ConnectionId): void {
    const session = this.further.find(number);
    if (session === undefined) return;
    this.forget(number);
    this.further.delete(number);
    this.apps.leave(decodeToken(appOfKey(session.key)) ?? "");
  }

  /** To its connection: it cannot go on. */
  tellEnded(number: ConnectionId, close: CloseName, reason?: string): void {
    const carrier = this.further.find(number)?.carrier;
    if (carrier === undefined) return;
    const ended: SessionEnded = {
      ...{ kind: "SessionEnded", number, close },
      ...(reason === undefined ? {} : { reason }),
    };
    if (!this.children.tell(carrier, ended)) this.close(carrier, "OVERLOADED");
  }

  /** What the client says of a further session; undefined where it names none that is bound. */
  passOn(number: ConnectionId | undefined, frame: ClientFrame): void {
    if (number === undefined) {
      this.unknownSessions++;
      return;
    }
    const message: ReceiveFrame = { kind: "ReceiveFrame", frame };
    if (!this.children.tell(number, message)) this.tellEnded(number, "OVERLOADED");
  }

  /** Doubling what there is above the sockets', which alone have room from the start. */
  private makeSlots(count: number): void {
    if (count <= this.flags.length) return;
    const spare = Math.max(64, this.flags.length - this.socketSlots);
    const length = Math.max(count, this.flags.length + spare);
    this.flags = lengthened(this.flags, new Uint8Array(length));
    this.tokenEndsMs = lengthened(this.tokenEndsMs, new Float64Array(length));
    this.connects = lengthened(this.connects, new Float64Array(length));
    this.connections = lengthened(this.connections, new Float64Array(length));
    this.attaches.makeSlots(length);
  }

  noteHeard(connection: ConnectionId): void {
    this.heardMs[slotOf(connection)] = this.node.clock.monotonicMs();
  }

  noteHello(connection: ConnectionId): void {
    const slot = slotOf(connection);
    this.flags[slot] = (this.flags[slot] ?? 0) | hasHello;
  }

  noteConnect(connection: ConnectionId, connect: number): void {
    this.connects[slotOf(connection)] = connect;
  }

  connectOf(connection: ConnectionId): number {
    const slot = slotOf(connection);
    // The slot may be another's by now; the lowest counter displaces nobody.
    return this.connections[slot] === connection ? (this.connects[slot] ?? 0) : 0;
  }

  /** `wallMs`: when the token ends, as it says itself. */
  noteTokenExpiry(connection: ConnectionId, wallMs: number): void {
    const slot = slotOf(connection);
    this.tokenEndsMs[slot] = wallMs;
    this.flags[slot] = (this.flags[slot] ?? 0) & ~isTokenAsked;
  }

  tokenExpiryMs(connection: ConnectionId): number {
    return this.tokenEndsMs[slotOf(connection)] ?? 0;
  }

  isText(connection: ConnectionId): boolean {
    return ((this.flags[slotOf(connection)] ?? 0) & isTextFlag) !== 0;
  }

  send(connection: ConnectionId, frame: Uint8Array): void {
    const { transport, limits } = this.node;
    this.framesSent++;
    this.bytesSent += frame.length;
    transport.send(connection, frame, this.isText(connection));
    if (transport.bufferedBytes(connection) > limits.connectionBufferBytesMax) {
      this.close(connection, "SLOW_CONSUMER");
    }
  }

  /** QoS 0 goes first: false, and counted, for who has half of its buffer unsent. */
  mayPass(connection: ConnectionId): boolean {
    const { transport, limits } = this.node;
    if (transport.bufferedBytes(connection) <= limits.connectionBufferBytesMax / 2) return true;
    this.passingDropped++;
    return false;
  }

  /** The client unbound the last session. */
  closeDone(connection: ConnectionId): void {
    const slot = slotOf(connection);
    if (this.connections[slot] !== connection || this.flags[slot] === 0) return;
    this.flags[slot] = 0;
    this.node.transport.close(connection, 1_000, "nothing is bound any more");
  }

  /** Decided here, so gone within `closeDeadlineMs` whatever the peer does. */
  close(connection: ConnectionId, name: CloseName, reason?: string): void {
    const slot = slotOf(connection);
    if (this.connections[slot] !== connection || this.flags[slot] === 0) return;
    this.flags[slot] = 0;
    this.closedFor.set(name, (this.closedFor.get(name) ?? 0) + 1);
    const { code, meaning } = closeCodes[name] ?? closeCodes.INTERNAL;
    this.node.transport.close(connection, code, `${name}: ${reason ?? meaning}`.slice(0, 120));
  }

  closeAll(name: CloseName): void {
    for (let slot = 0; slot < this.slotCount; slot++) {
      if (this.flags[slot] !== 0) this.close(this.connections[slot] as ConnectionId, name);
    }
  }

  /** Deadlines of all connections: hello, heartbeat, token. */
  sweep(): void {
    const nowMs = this.node.clock.monotonicMs();
    const wallMs = this.node.clock.wallMs();
    for (let slot = 0; slot < this.slotsUsed; slot++) {
      const flags = this.flags[slot] ?? 0;
      if (flags !== 0) this.sweepOne(slot, flags, nowMs, wallMs);
    }
  }

  private sweepOne(slot: number, flags: number, nowMs: number, wallMs: number): void {
    const { limits } = this.node;
    const connection = this.connections[slot] as ConnectionId;
    if (slot >= this.socketSlots) {
      this.sweepToken(slot, connection, wallMs);
      return;
    }
    if ((flags & hasHello) === 0) {
      const ageMs = nowMs - (this.openedMs[slot] ?? 0);
      if (ageMs > limits.helloDeadlineMs) this.close(connection, "HELLO_TIMEOUT");
      return;
    }
    if (nowMs - (this.heardMs[slot] ?? 0) > limits.heartbeatDeadlineMs) {
      this.close(connection, "HEARTBEAT_LOST");
      return;
    }
    if (nowMs - (this.pingedMs[slot] ?? 0) >= limits.heartbeatMs) {
      this.pingedMs[slot] = nowMs;
      this.pingNonce = (this.pingNonce + 1) % 2 ** 31;
      this.send(connection, encodeFrame(pingFrame(this.pingNonce), (flags & isTextFlag) !== 0));
    }
    this.sweepToken(slot, connection, wallMs);
  }

  private sweepToken(slot: number, connection: ConnectionId, wallMs: number): void {
    const { tokenGraceMs, tokenNoticeMs } = this.node.limits;
    const endsMs = this.tokenEndsMs[slot] ?? 0;
    const flags = this.flags[slot] ?? 0;
    if (flags === 0 || endsMs === 0) return;
    if (wallMs > endsMs + tokenGraceMs) {
      this.expire(slot, connection);
    } else if (wallMs > endsMs - tokenNoticeMs && (flags & isTokenAsked) === 0) {
      this.flags[slot] = flags | isTokenAsked;
      const further = this.further.find(connection);
      const index = further?.index ?? firstSession;
      const frame = tokenWantedFrame(index, Math.max(0, endsMs - wallMs));
      this.send(further?.carrier ?? connection, encodeFrame(frame, (flags & isTextFlag) !== 0));
    }
  }

  /** Ends one session, and the connection where there is no other: its actor knows. */
  private expire(slot: number, number: ConnectionId): void {
    this.tokenEndsMs[slot] = 0;
    const close = "TOKEN_EXPIRED";
    const message: CloseConnection = { kind: "CloseConnection", connection: number, close };
    if (this.children.tell(number, message)) return;
    this.close(this.further.find(number)?.carrier ?? number, close);
  }

  /** How many connections this edge closed, by reason. */
  get closedByReason(): Record<string, number> {
    return Object.fromEntries(this.closedFor);
  }
}

function lengthened<Array extends Uint8Array | Float64Array>(old: Array, made: Array): Array {
  made.set(old);
  return made;
}
