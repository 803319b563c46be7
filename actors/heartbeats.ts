/**
 * When each connection of an edge is asked whether it is there, and when it counts as lost:
 * in a few typed arrays by slot, each with the interval that was granted to it.
 *
 * Lost is who was silent for 2.5 intervals. Two things move that moment: bytes in transit
 * put it off (topology/heartbeat), and a stored message without any answer behind it
 * brings it near, to the plain interval's: the session would take the message for one
 * that the device cannot bear, and set it aside, while the link alone is dead.
 */
import type { ConnectionId } from "../src/ports/edge-transport.js";
import { slotOf } from "../src/ports/edge-transport.js";
import type { ClientSurroundings } from "../src/protocol/client-surroundings.js";
import {
  grantedHeartbeatMs,
  type HeartbeatRules,
  putOffMs,
  within,
} from "../topology/heartbeat.js";
import type { NodeContext } from "./node-context.js";

const sentBytesMax = 2 ** 32 - 1;

export class Heartbeats {
  private readonly everyMs: Uint32Array;
  private readonly heardMs: Float64Array;
  private readonly pingedMs: Float64Array;
  /** Since when a stored message is out and nothing was heard; 0 while none is. */
  private readonly owedMs: Float64Array;
  /** Sent since it was last heard. */
  private readonly sentBytes: Uint32Array;
  /** 1: by an operator's word, which no wish of the client's changes. */
  private readonly isOrdered: Uint8Array;

  constructor(
    private readonly node: NodeContext,
    slots: number,
  ) {
    this.everyMs = new Uint32Array(slots);
    this.heardMs = new Float64Array(slots);
    this.pingedMs = new Float64Array(slots);
    this.owedMs = new Float64Array(slots);
    this.sentBytes = new Uint32Array(slots);
    this.isOrdered = new Uint8Array(slots);
  }

  open(connection: ConnectionId): void {
    const slot = slotOf(connection);
    this.noteHeard(connection);
    this.pingedMs[slot] = this.nowMs;
    this.everyMs[slot] = this.node.limits.heartbeatMs;
    this.isOrdered[slot] = 0;
  }

  noteHeard(connection: ConnectionId): void {
    const slot = slotOf(connection);
    this.heardMs[slot] = this.nowMs;
    this.sentBytes[slot] = 0;
    this.owedMs[slot] = 0;
  }

  noteSent(connection: ConnectionId, bytes: number): void {
    const slot = slotOf(connection);
    this.sentBytes[slot] = Math.min(sentBytesMax, (this.sentBytes[slot] ?? 0) + bytes);
  }

  /** A stored message went out: an answer is due, be it to the next ping. */
  noteOwed(connection: ConnectionId): void {
    const slot = slotOf(connection);
    if (this.owedMs[slot] === 0) this.owedMs[slot] = this.nowMs;
  }

  everyMsOf(connection: ConnectionId): number {
    return this.everyMs[slotOf(connection)] ?? 0;
  }

  /** What counts from now on, by what the client says of itself. */
  grant(connection: ConnectionId, said: ClientSurroundings): number {
    const slot = slotOf(connection);
    if (this.isOrdered[slot] === 0) this.everyMs[slot] = grantedHeartbeatMs(said, this.rules);
    return this.everyMsOf(connection);
  }

  /** By an operator's word, for as long as the connection lasts. */
  order(connection: ConnectionId, everyMs: number): void {
    const slot = slotOf(connection);
    this.everyMs[slot] = everyMs;
    this.isOrdered[slot] = 1;
  }

  /** After operators have changed the bounds: what counts from now on, where that is new. */
  refit(connection: ConnectionId): number | undefined {
    const slot = slotOf(connection);
    const everyMs = this.everyMs[slot] ?? 0;
    if (this.isOrdered[slot] === 1) return undefined;
    const fitMs = within(everyMs, this.rules.bounds);
    if (fitMs === everyMs) return undefined;
    this.everyMs[slot] = fitMs;
    return fitMs;
  }

  /** It was silent for too long; else whether it is time to ask, which counts as done. */
  judge(connection: ConnectionId): "lost" | "ask" | "wait" {
    const slot = slotOf(connection);
    const { nowMs } = this;
    const { heartbeatMs, heartbeatDeadlineMs, inTransitBytesMax } = this.node.limits;
    const everyMs = this.everyMs[slot] ?? 0;
    const owedMs = this.owedMs[slot] ?? 0;
    const missed = heartbeatDeadlineMs / heartbeatMs;
    const lostMs = (this.heardMs[slot] ?? 0) + everyMs * missed;
    const isOwing = owedMs !== 0 && everyMs > heartbeatMs;
    const endMs = isOwing ? Math.min(lostMs, owedMs + heartbeatDeadlineMs) : lostMs;
    // What moved is asked of the socket, and only where it matters.
    const isOver = () => nowMs > endMs + putOffMs(this.movedBytes(connection), inTransitBytesMax);
    if (nowMs > endMs && isOver()) return "lost";
    const askedMs = this.pingedMs[slot] ?? 0;
    const dueMs = isOwing
      ? Math.min(askedMs + everyMs, Math.max(askedMs, owedMs) + heartbeatMs)
      : askedMs + everyMs;
    if (nowMs < dueMs) return "wait";
    this.pingedMs[slot] = nowMs;
    return "ask";
  }

  /** Either way since it was last heard, as far as this side can know. */
  private movedBytes(connection: ConnectionId): number {
    const { transport } = this.node;
    const sent = this.sentBytes[slotOf(connection)] ?? 0;
    const taken = Math.max(0, sent - transport.bufferedBytes(connection));
    return taken + transport.unfinishedBytes(connection);
  }

  private get rules(): HeartbeatRules {
    const { limits, view } = this.node;
    const said = view.edgePolicy.heartbeat ?? {};
    const leastMs = Math.min(limits.heartbeatMinMs, limits.heartbeatMs);
    const minMs = said.minMs ?? Math.min(leastMs, said.maxMs ?? leastMs);
    const maxMs = said.maxMs ?? Math.max(limits.heartbeatMaxMs, minMs);
    return {
      plainMs: limits.heartbeatMs,
      networkMs: {
        wifi: limits.heartbeatWifiMs,
        cellular: limits.heartbeatCellularMs,
        ethernet: limits.heartbeatEthernetMs,
      },
      frontMs: limits.heartbeatFrontMs,
      bounds: { minMs, maxMs },
    };
  }

  private get nowMs(): number {
    return this.node.clock.monotonicMs();
  }
}
