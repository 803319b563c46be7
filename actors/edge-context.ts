/**
 * What an edge keeps for all its connections in a few typed arrays by slot, so that
 * an idle connection costs no timer and no object for it: when it was opened, when its
 * token ends; its heartbeat (heartbeats) and whether its app is looked at (app-states).
 * Also the one way to its socket.
 */

import { type ConnectionId, slotOf } from "../src/ports/edge-transport.js";
import type { ClientSurroundings } from "../src/protocol/client-surroundings.js";
import { type CloseName, closeCodes } from "../src/protocol/close-codes.js";
import {
  type ClientFrame,
  directiveFrame,
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
import { AppStates } from "./app-states.js";
import { AttachQueue, type AttachSurroundings } from "./attach-queue.js";
import type { ReceiveFrame, SessionEnded } from "./edge-messages.js";
import { type FurtherSession, FurtherSessions } from "./further-sessions.js";
import { Heartbeats } from "./heartbeats.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";
import { UnattachedConnections } from "./unattached-connections.js";
import { UplinkCalls } from "./uplink-calls.js";

const isOpen = 1;
const isTextFlag = 2;
const hasHello = 4;
const isTokenAsked = 8;

/** Who came together is asked together whether it is there: not all of an edge in one turn. */
export const sweepParts = 20;

/** The edge's actors for connections and sessions, by their numbers. */
export interface EdgeChildren {
  /** False when it did not hear. */
  tell(number: ConnectionId, message: unknown): boolean;
  spawn(number: ConnectionId): void;
  /** It stops, behind what it was told before. */
  end(number: ConnectionId): void;
}

export class EdgeContext {
  private flags: Uint8Array;
  private readonly openedMs: Float64Array;
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
  readonly heartbeats: Heartbeats;
  readonly appStates: AppStates;
  readonly calls = new UplinkCalls(this);

  readonly unattached: UnattachedConnections;
  /** Of the client; undefined where no rule and no webhook wants to know it. */
  readonly addressOf: (connection: ConnectionId) => string | undefined;

  /** `edge`: how connections are told that it is their turn to attach. */
  constructor(
    readonly node: NodeContext,
    edge: Pick<AttachSurroundings, "send" | "startTick"> & Partial<Pick<EdgeContext, "addressOf">>,
    readonly children: EdgeChildren,
  ) {
    // A slot may be given again a moment after its limit check: some are spare.
    const slots = node.limits.connectionsMax + 1_024;
    this.socketSlots = slots;
    this.further = new FurtherSessions(slots, node.limits.furtherSessionsMax);
    this.flags = new Uint8Array(slots);
    this.openedMs = new Float64Array(slots);
    this.tokenEndsMs = new Float64Array(slots);
    this.connects = new Float64Array(slots);
    this.connections = new Float64Array(slots);
    this.apps = new AppConnections(node);
    this.heartbeats = new Heartbeats(node, slots);
    this.appStates = new AppStates(slots);
    this.unattached = new UnattachedConnections(node.limits.devicesMax);
    this.addressOf = edge.addressOf ?? (() => undefined);
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
    this.flags[slot] = isText ? isOpen | isTextFlag : isOpen;
    this.openedMs[slot] = this.node.clock.monotonicMs();
    this.heartbeats.open(connection);
    this.appStates.open(connection);
    this.tokenEndsMs[slot] = 0;
    this.connections[slot] = connection;
    this.slotsUsed = Math.max(this.slotsUsed, slot + 1);
    return true;
  }

  /** Slots of sockets that were ever used; those above never were. */
  get slotCount(): number {
    return Math.min(this.slotsUsed, this.socketSlots);
  }

  /** Its slot is its own, and nobody has decided to close it. */
  isOpen(connection: ConnectionId): boolean {
    const slot = slotOf(connection);
    return this.connections[slot] === connection && this.flags[slot] !== 0;
  }

  isGreeted(connection: ConnectionId): boolean {
    return this.greetedAt(slotOf(connection)) === connection;
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

  /** Its connection has no place for it any more: what the client said of it before still counts. */
  endFurther(number: ConnectionId): void {
    this.further.end(number);
    this.children.end(number);
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
    this.heartbeats.noteHeard(connection);
  }

  /** Of its hello. Returns the interval of heartbeats that counts. */
  greet(connection: ConnectionId, said: ClientSurroundings): number {
    if (said.app !== undefined) this.appStates.note(connection, said.app);
    return this.heartbeats.grant(connection, said);
  }

  /**
   * What the client says of itself now; where its heartbeats change, or are not what it asks
   * for, it is told. True where it is new whether somebody looks at its app.
   */
  hearTell(connection: ConnectionId, now: ClientSurroundings): boolean {
    const { heartbeats, appStates } = this;
    const app = now.app ?? appStates.of(connection);
    const beforeMs = heartbeats.everyMsOf(connection);
    const heartbeatMs = heartbeats.grant(connection, { ...now, ...(app && { app }) });
    if (heartbeatMs !== beforeMs || heartbeatMs !== (now.heartbeatMs ?? heartbeatMs)) {
      this.tellHeartbeat(connection, heartbeatMs);
    }
    return now.app !== undefined && appStates.note(connection, now.app);
  }

  private tellHeartbeat(connection: ConnectionId, heartbeatMs: number): void {
    const frame = directiveFrame({ do: "heartbeat", heartbeatMs });
    this.send(connection, encodeFrame(frame, this.isText(connection)));
  }

  noteHello(connection: ConnectionId): void {
    if (!this.isOpen(connection)) return;
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
    if (!this.isOpen(connection)) return;
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
    this.heartbeats.noteSent(connection, frame.length);
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
    if (!this.isOpen(connection)) return;
    this.flags[slotOf(connection)] = 0;
    this.node.transport.close(connection, 1_000, "nothing is bound any more");
  }

  /** Decided here, so gone within `closeDeadlineMs` whatever the peer does. */
  close(connection: ConnectionId, name: CloseName, reason?: string): void {
    if (!this.isOpen(connection)) return;
    this.flags[slotOf(connection)] = 0;
    this.closedFor.set(name, (this.closedFor.get(name) ?? 0) + 1);
    const { code, meaning } = closeCodes[name] ?? closeCodes.INTERNAL;
    this.node.transport.close(connection, code, `${name}: ${reason ?? meaning}`.slice(0, 120));
  }

  closeAll(name: CloseName): void {
    for (let slot = 0; slot < this.slotCount; slot++) {
      if (this.flags[slot] !== 0) this.close(this.connections[slot] as ConnectionId, name);
    }
  }

  /** Deadlines of one part of all connections, 0 to `sweepParts` - 1: hello, heartbeat, token. */
  sweep(part: number): void {
    const nowMs = this.node.clock.monotonicMs();
    const wallMs = this.node.clock.wallMs();
    for (let slot = part; slot < this.slotsUsed; slot += sweepParts) {
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
    this.sweepHeartbeat(connection);
    this.sweepToken(slot, connection, wallMs);
  }

  private sweepHeartbeat(connection: ConnectionId): void {
    const verdict = this.heartbeats.judge(connection);
    if (verdict === "lost") this.close(connection, "HEARTBEAT_LOST");
    if (verdict !== "ask") return;
    // New bounds reach each client with its next heartbeat: not all of them in one moment.
    const fitMs = this.heartbeats.refit(connection);
    if (fitMs !== undefined) this.tellHeartbeat(connection, fitMs);
    this.pingNonce = (this.pingNonce + 1) % 2 ** 31;
    this.send(connection, encodeFrame(pingFrame(this.pingNonce), this.isText(connection)));
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
    if (this.further.find(number) === undefined) this.close(number, close);
    else this.tellEnded(number, close);
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
