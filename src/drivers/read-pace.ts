/**
 * How fast each peer is read: so many frames a second with a burst, every 4 KiB counted as
 * one more. Who is above that is not read until its debt is paid: its own kernel holds it
 * back then, and a client that only catches up is slowed and not thrown out.
 *
 * A debt is at most what one piece of a socket holds (64 KiB), so a pause has a bound.
 */
import type { Rate } from "../base/token-bucket.js";
import { slotOf } from "../ports/edge-transport.js";
import type { Peer } from "./net-peer.js";

const bytesPerFrame = 4 * 1024;
/** A pause ends so late at most. */
const tickMs = 25;

export class ReadPace {
  /** When the bucket of each slot is full again; see base/token-bucket. */
  private readonly fullAtMs: number[] = [];
  private readonly resumeAtMs = new Map<Peer, number>();
  private isTicking = false;
  private pauses = 0;

  constructor(
    private readonly rate: Rate,
    private readonly nowMs = () => performance.now(),
  ) {}

  /** Peers that are not read now. */
  get paused(): number {
    return this.resumeAtMs.size;
  }

  get pausesSoFar(): number {
    return this.pauses;
  }

  /** The slot has a new tenant. */
  open(slot: number): void {
    this.fullAtMs[slot] = 0;
  }

  note(peer: Peer, frames: number, bytes: number): void {
    const nowMs = this.nowMs();
    const stepMs = 1_000 / this.rate.perSecond;
    const slot = slotOf(peer.id);
    const cost = frames + bytes / bytesPerFrame;
    const fullAtMs = Math.max(this.fullAtMs[slot] ?? 0, nowMs) + cost * stepMs;
    this.fullAtMs[slot] = fullAtMs;
    const resumeAtMs = fullAtMs - this.rate.burst * stepMs;
    if (resumeAtMs <= nowMs) return;
    if (!this.resumeAtMs.has(peer)) this.pauses++;
    this.resumeAtMs.set(peer, resumeAtMs);
    peer.socket.pause();
    this.startTick();
  }

  /** It is closing or gone: what it still says is to be heard, or nobody is there. */
  forget(peer: Peer): void {
    if (this.resumeAtMs.delete(peer)) peer.socket.resume();
  }

  private startTick(): void {
    if (this.isTicking) return;
    this.isTicking = true;
    setTimeout(this.tick, tickMs).unref();
  }

  private readonly tick = (): void => {
    this.isTicking = false;
    const nowMs = this.nowMs();
    for (const [peer, resumeAtMs] of this.resumeAtMs) {
      if (resumeAtMs <= nowMs) this.forget(peer);
    }
    if (this.resumeAtMs.size > 0) this.startTick();
  };
}
