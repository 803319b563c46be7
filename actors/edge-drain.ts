/**
 * Empties an edge: tells its clients, so many a second, to connect elsewhere, and closes
 * who is still there a while after it was told.
 *
 *   open ──(its turn: `reconnect`)──▶ told ──leaves by itself──▶ gone
 *                                      └── moveWithinMs ── GOING_AWAY ─▶ gone
 *
 * The frame goes behind what was sent before it; what is sent after it, and what the client
 * does not ack before it leaves, its session sends again where it attaches next.
 *
 * While no other edge takes clients it holds: nobody is told or closed, and whoever comes is
 * let in, for an edge in drain is better than none.
 */
import { type ConnectionId, type HandshakeRefusal, slotOf } from "../src/ports/edge-transport.js";
import { directiveFrame, encodeFrame } from "../src/protocol/frames.js";
import type { SessionKey } from "../src/protocol/shards.js";
import type { Dispatcher } from "./dispatcher.js";
import type { EdgeContext } from "./edge-context.js";

/** In one directive: where the first ones do not take it, the client finds others by itself. */
const addressesTold = 4;

/** Beside the edge's own connections. */
export interface DrainSurroundings {
  readonly dispatcher: Dispatcher;
  /** Who is behind a connection; undefined before its hello. */
  sessionOf(connection: ConnectionId): SessionKey | undefined;
  /** `tick` is to be called after so long; never twice at once. */
  startTick(delayMs: number): void;
}

/** So often that those who are told in one tick are no burst for the edges that take them. */
const tickMs = 20;
const refusedAtOnceMax = 200;
const inDrain: HandshakeRefusal = {
  // The least there is: this hint keeps a client from the other edges as well.
  ...{ status: 503, reason: "the edge is in drain", retryAfterSeconds: 1 },
};

export class EdgeDrain {
  private pace: { readonly perSecond: number; readonly sinceMs: number } | undefined;
  private toldAtThisPace = 0;
  private cursor = 0;
  private isTicking = false;
  /** Since when, in that order; they leave it as they leave the edge, so connections bound it. */
  private readonly told = new Map<ConnectionId, number>();
  /** Of this drain, like those below. */
  private toldCount = 0;
  private overdueCount = 0;
  private refusedCount = 0;

  constructor(
    private readonly edge: EdgeContext,
    private readonly surroundings: DrainSurroundings,
  ) {}

  /** Of a handshake; undefined where it may be let in. */
  refusal(): HandshakeRefusal | undefined {
    if (this.pace === undefined || this.isHeld) return undefined;
    this.refusedCount++;
    return inDrain;
  }

  /** Undefined ends it: who was told goes all the same, and nobody is closed for staying. */
  follow(perSecond: number | undefined): void {
    if (perSecond === this.pace?.perSecond) return;
    this.toldAtThisPace = 0;
    if (perSecond === undefined) {
      this.pace = undefined;
      this.told.clear();
      return;
    }
    if (this.pace === undefined) {
      this.toldCount = 0;
      this.overdueCount = 0;
      this.refusedCount = 0;
    }
    this.pace = { perSecond, sinceMs: this.edge.node.clock.monotonicMs() };
    this.arm();
  }

  forget(connection: ConnectionId): void {
    this.told.delete(connection);
  }

  tick(): void {
    this.isTicking = false;
    const { pace } = this;
    if (pace === undefined) return;
    const nowMs = this.edge.node.clock.monotonicMs();
    if (this.isHeld) {
      // Whoever was told stays: they are told again when there is somewhere to go.
      this.pace = { ...pace, sinceMs: nowMs };
      this.toldAtThisPace = 0;
      this.told.clear();
      this.arm();
      return;
    }
    // Who waits for this edge is to look for another at once; a part in each tick.
    this.refusedCount += this.edge.node.transport.refuseWaiting(inDrain, refusedAtOnceMax);
    this.tellNext(Math.floor(((nowMs - pace.sinceMs) * pace.perSecond) / 1_000), nowMs);
    this.closeOverdue(nowMs);
    // Also with nobody left: a handshake that was let in before may yet become a connection.
    this.arm();
  }

  private get isHeld(): boolean {
    return !this.surroundings.dispatcher.isAnybodyElse;
  }

  private arm(): void {
    if (this.isTicking) return;
    this.isTicking = true;
    this.surroundings.startTick(tickMs);
  }

  /** Up to `due` at this pace, in one round over the slots at most. */
  private tellNext(due: number, nowMs: number): void {
    const { edge, told } = this;
    // Once all are told, and for as long as the drain lasts, there is nothing to look for.
    const isAnyoneUntold = edge.node.transport.connectionCount > told.size;
    const slots = isAnyoneUntold ? edge.slotCount : 0;
    for (let visited = 0; visited < slots && this.toldAtThisPace < due; visited++) {
      const connection = edge.greetedAt(this.cursor++ % slots);
      if (connection === undefined || told.has(connection)) continue;
      told.set(connection, nowMs);
      this.toldAtThisPace++;
      this.toldCount++;
      this.tell(connection);
    }
    this.cursor %= Math.max(1, slots);
    // What nobody was there for is not made up for later: the rate is a bound at any moment.
    if (this.toldAtThisPace < due) this.toldAtThisPace = due;
  }

  private tell(connection: ConnectionId): void {
    const { dispatcher, sessionOf } = this.surroundings;
    const key = sessionOf(connection) ?? String(slotOf(connection));
    const edges = dispatcher.elsewhereFor(key).slice(0, addressesTold);
    const frame = directiveFrame({ do: "reconnect", edges });
    this.edge.send(connection, encodeFrame(frame, this.edge.isText(connection)));
  }

  private closeOverdue(nowMs: number): void {
    const { moveWithinMs } = this.edge.node.limits;
    for (const [connection, atMs] of this.told) {
      if (nowMs - atMs < moveWithinMs) return;
      this.told.delete(connection);
      this.overdueCount++;
      this.edge.close(connection, "GOING_AWAY");
    }
  }

  inspect(): Record<string, unknown> {
    return {
      perSecond: this.pace?.perSecond ?? null,
      isHeld: this.pace !== undefined && this.isHeld,
      told: this.toldCount,
      leaving: this.told.size,
      overdue: this.overdueCount,
      refused: this.refusedCount,
    };
  }
}
