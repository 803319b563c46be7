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
  directiveFrame,
  encodeFrame,
  pingFrame,
  tokenWantedFrame,
} from "../src/protocol/frames.js";
import { type Address, addressOn } from "../src/runtime/address.js";
import { AppConnections } from "./app-connections.js";
import { AppStates } from "./app-states.js";
import { AttachQueue, type AttachSurroundings } from "./attach-queue.js";
import { Heartbeats } from "./heartbeats.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";

const isOpen = 1;
const isTextFlag = 2;
const hasHello = 4;
const isTokenAsked = 8;

export class EdgeContext {
  private readonly flags: Uint8Array;
  private readonly openedMs: Float64Array;
  private readonly tokenEndsMs: Float64Array;
  /** The connect counters: as a field of an actor each would be a number object of its own. */
  private readonly connects: Float64Array;
  private readonly connections: Float64Array;
  private slotsUsed = 0;
  private pingNonce = 0;
  private readonly closedFor = new Map<CloseName, number>();
  framesSent = 0;
  bytesSent = 0;
  readonly attaches: AttachQueue;
  readonly apps: AppConnections;
  readonly heartbeats: Heartbeats;
  readonly appStates: AppStates;

  /** `edge`: how connections are told that it is their turn to attach. */
  constructor(
    readonly node: NodeContext,
    edge: Pick<AttachSurroundings, "send" | "startTick">,
  ) {
    // A slot may be given again a moment after its limit check: some are spare.
    const slots = node.limits.connectionsMax + 1_024;
    this.flags = new Uint8Array(slots);
    this.openedMs = new Float64Array(slots);
    this.tokenEndsMs = new Float64Array(slots);
    this.connects = new Float64Array(slots);
    this.connections = new Float64Array(slots);
    this.apps = new AppConnections(node);
    this.heartbeats = new Heartbeats(node, slots);
    this.appStates = new AppStates(slots);
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
    if (slot >= this.flags.length) return false;
    this.flags[slot] = isText ? isOpen | isTextFlag : isOpen;
    this.openedMs[slot] = this.node.clock.monotonicMs();
    this.heartbeats.open(connection);
    this.appStates.open(connection);
    this.tokenEndsMs[slot] = 0;
    this.connections[slot] = connection;
    this.slotsUsed = Math.max(this.slotsUsed, slot + 1);
    return true;
  }

  /** Slots that were ever used; those above never were. */
  get slotCount(): number {
    return this.slotsUsed;
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
    this.heartbeats.noteSent(connection, frame.length);
    transport.send(connection, frame, this.isText(connection));
    if (transport.bufferedBytes(connection) > limits.connectionBufferBytesMax) {
      this.close(connection, "SLOW_CONSUMER");
    }
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
    for (let slot = 0; slot < this.slotsUsed; slot++) {
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
      this.close(connection, "TOKEN_EXPIRED");
    } else if (wallMs > endsMs - tokenNoticeMs && (flags & isTokenAsked) === 0) {
      this.flags[slot] = flags | isTokenAsked;
      const frame = tokenWantedFrame(0, Math.max(0, endsMs - wallMs));
      this.send(connection, encodeFrame(frame, (flags & isTextFlag) !== 0));
    }
  }

  /** How many connections this edge closed, by reason. */
  get closedByReason(): Record<string, number> {
    return Object.fromEntries(this.closedFor);
  }
}
