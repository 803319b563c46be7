/**
 * Handshakes that are answered later, each at its own time: by tick of a wheel, so that
 * one timer serves them all and one that leaves costs nothing. Those of one tick are asked
 * in the order in which they came, and so are those of one line, whose times follow each
 * other.
 *
 * After a pause of the loop all that are due are asked in small parts, with what the
 * sockets brought between them: a storm that waits is not to come in as one turn.
 */
import type { HandshakeTurn } from "../ports/edge-transport.js";

const tickMs = 10;
const atOnceMax = 32;

interface Waiting<Kept> {
  readonly turn: HandshakeTurn;
  readonly kept: Kept;
}

/** `Kept`: what its peer is answered with. */
export class WaitingLine<Peer, Kept> {
  private readonly byTick = new Map<number, Map<Peer, Waiting<Kept>>>();
  private readonly tickOf = new Map<Peer, number>();
  /** All before it were asked. */
  private nextTick = 0;
  private isAwake = false;

  constructor(private readonly onTurn: (peer: Peer, turn: HandshakeTurn, kept: Kept) => void) {}

  get size(): number {
    return this.tickOf.size;
  }

  has(peer: Peer): boolean {
    return this.tickOf.has(peer);
  }

  add(peer: Peer, turn: HandshakeTurn, kept: Kept): void {
    const nowMs = performance.now();
    if (this.size === 0) this.nextTick = Math.floor(nowMs / tickMs);
    // Never before its time, and never behind what was asked already.
    const tick = Math.max(this.nextTick, Math.ceil((nowMs + turn.waitMs) / tickMs));
    const those = this.byTick.get(tick);
    if (those === undefined) this.byTick.set(tick, new Map([[peer, { turn, kept }]]));
    else those.set(peer, { turn, kept });
    this.tickOf.set(peer, tick);
    if (!this.isAwake) this.sleep();
  }

  /** Whether it waited: its peer is gone. */
  leave(peer: Peer): boolean {
    const waiting = this.remove(peer);
    waiting?.turn.leave();
    return waiting !== undefined;
  }

  /** The first ones, no longer in line. */
  takeFirst(countMax: number): Peer[] {
    const first: Peer[] = [];
    for (const peer of this.tickOf.keys()) {
      if (first.length >= countMax) break;
      this.leave(peer);
      first.push(peer);
    }
    return first;
  }

  private remove(peer: Peer): Waiting<Kept> | undefined {
    const tick = this.tickOf.get(peer);
    if (tick === undefined) return undefined;
    this.tickOf.delete(peer);
    const those = this.byTick.get(tick);
    const waiting = those?.get(peer);
    those?.delete(peer);
    if (those?.size === 0) this.byTick.delete(tick);
    return waiting;
  }

  private sleep(): void {
    this.isAwake = true;
    setTimeout(this.wake, tickMs).unref();
  }

  private readonly wake = (): void => {
    const lastTick = Math.floor(performance.now() / tickMs);
    let asked = 0;
    while (this.nextTick <= lastTick && asked < atOnceMax && this.size > 0) {
      const [first] = this.byTick.get(this.nextTick)?.keys() ?? [];
      if (first === undefined) {
        this.nextTick++;
        continue;
      }
      const waiting = this.remove(first);
      if (waiting !== undefined) this.onTurn(first, waiting.turn, waiting.kept);
      asked++;
    }
    if (this.size === 0) this.isAwake = false;
    else if (asked >= atOnceMax) setImmediate(this.wake);
    else this.sleep();
  };
}
