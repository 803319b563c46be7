/**
 * Which connections of an edge are to be attached, and when: one queue, drained at a
 * stated pace, so that a new owner or a bus that is back is not asked for all of them in
 * one instant; and the attaches that were not answered, tried again later and later.
 * Where many come one by one, they wait for the next tick and leave as one batch.
 *
 *   idle ──push──▶ queued ──(its turn)──▶ waiting ──settle──▶ idle
 *                    ▲                        │
 *                    └──(its time has come)───┘
 *
 * Kept by slot in a few arrays: one that waits costs no timer and no object. Invariant: a
 * connection stands in the queue once. While the bus is known to be gone nobody's turn comes.
 * What is said of one that is gone, or being closed, is nothing to the slot's next tenant.
 */
import { Ring } from "../src/base/ring.js";
import { type ConnectionId, slotOf } from "../src/ports/edge-transport.js";
import type { NodeContext } from "./node-context.js";

/** What the queue needs of the edge that has it. */
export interface AttachSurroundings {
  readonly node: Pick<NodeContext, "clock" | "random" | "bus" | "limits">;
  readonly slots: number;
  /** Who has the slot now; undefined for nobody, or one that is being closed. */
  connectionAt(slot: number): ConnectionId | undefined;
  /** Its turn: the connection sends its attach, and says `retry`. False: it did not hear. */
  send(connection: ConnectionId): boolean;
  /** Has `tick` called after so many milliseconds. */
  startTick(delayMs: number): void;
}

const pacedEveryMs = 10;
const lookEveryMs = 100;
/** In `marks`: the high bit while it is queued, below it the attempts so far. */
const queuedMark = 0x80;
const attemptsMax = 15;

export class AttachQueue {
  private readonly ring: Ring<ConnectionId>;
  private marks: Uint8Array;
  /** At which look an attach that is not answered is due again; 0 while none waits. */
  private dueAtLook: Uint32Array;
  private readonly bornMs: number;
  private lastLook = 0;
  private slotsUsed = 0;
  private waiting = 0;
  private room: number;
  private isTicking = false;

  constructor(private readonly around: AttachSurroundings) {
    const { slots, node } = around;
    // A slot may have a new tenant while the last one's number is still in the queue.
    this.ring = new Ring(2 * (slots + node.limits.furtherSessionsMax));
    this.marks = new Uint8Array(slots);
    this.dueAtLook = new Uint32Array(slots);
    this.bornMs = node.clock.monotonicMs();
    this.room = node.limits.attachesPerTick;
  }

  /** Room for as many slots. */
  makeSlots(count: number): void {
    const { marks, dueAtLook } = this;
    this.marks = new Uint8Array(count);
    this.marks.set(marks);
    this.dueAtLook = new Uint32Array(count);
    this.dueAtLook.set(dueAtLook);
  }

  get queued(): number {
    return this.ring.size;
  }

  get unanswered(): number {
    return this.waiting;
  }

  /** To be attached when its turn comes: at once, where few came just before. */
  push(connection: ConnectionId): void {
    const { attachesPerTick, attachesAtOnce } = this.around.node.limits;
    if (!this.isTenant(connection)) return;
    const slot = slotOf(connection);
    this.forgetAttempts(slot);
    this.enqueue(slot, connection);
    this.drain(attachesPerTick - attachesAtOnce);
    this.armTick();
  }

  /**
   * To be tried again unless it is settled before. One that could not be sent (nobody owns
   * the shard yet) does not come later and later for that.
   */
  retry(connection: ConnectionId, isSent: boolean): void {
    if (!this.isTenant(connection)) return;
    const { random, limits } = this.around.node;
    const slot = slotOf(connection);
    const mark = this.marks[slot] ?? 0;
    const attempt = mark & ~queuedMark;
    const delayMs = Math.min(limits.attachRetryMs * 2 ** attempt, limits.attachRetryMsMax);
    if (isSent && attempt < attemptsMax) this.marks[slot] = mark + 1;
    if (this.dueAtLook[slot] === 0) this.waiting++;
    // Spread over a half of it: what failed together is not to come again together.
    const spreadMs = delayMs * (0.5 + random.next() / 2);
    this.dueAtLook[slot] = this.look + Math.ceil(spreadMs / lookEveryMs);
    this.slotsUsed = Math.max(this.slotsUsed, slot + 1);
    this.armTick();
  }

  /** Answered. Where it is due once more, it stays in the queue. */
  settle(connection: ConnectionId): void {
    if (this.isTenant(connection)) this.forgetDue(slotOf(connection));
  }

  /** Gone. */
  forget(connection: ConnectionId): void {
    const slot = slotOf(connection);
    this.forgetDue(slot);
    this.marks[slot] = 0;
  }

  private isTenant(connection: ConnectionId): boolean {
    return this.around.connectionAt(slotOf(connection)) === connection;
  }

  private forgetDue(slot: number): void {
    this.forgetAttempts(slot);
    if (this.dueAtLook[slot] === 0) return;
    this.dueAtLook[slot] = 0;
    this.waiting--;
  }

  tick(): void {
    this.isTicking = false;
    this.room = this.around.node.limits.attachesPerTick;
    this.lookForDue();
    this.drain();
    this.armTick();
  }

  private enqueue(slot: number, connection: ConnectionId): void {
    const mark = this.marks[slot] ?? 0;
    if ((mark & queuedMark) !== 0) return;
    // Never full in an edge's life; if it were, the next look would try again.
    if (this.ring.push(connection)) this.marks[slot] = mark | queuedMark;
    else this.retry(connection, false);
  }

  /** `kept`: of this tick's room, for those who come with the next tick. */
  private drain(kept = 0): void {
    const { node, connectionAt, send } = this.around;
    if (node.bus.isConnected === false) return;
    while (this.room > kept) {
      const connection = this.ring.shift();
      if (connection === undefined) return;
      const slot = slotOf(connection);
      if (connectionAt(slot) !== connection) continue;
      this.marks[slot] = (this.marks[slot] ?? 0) & ~queuedMark;
      this.room--;
      if (!send(connection)) this.retry(connection, false);
    }
  }

  private forgetAttempts(slot: number): void {
    this.marks[slot] = (this.marks[slot] ?? 0) & queuedMark;
  }

  /** Which one would be made now. */
  private get look(): number {
    return Math.floor((this.around.node.clock.monotonicMs() - this.bornMs) / lookEveryMs);
  }

  /** Puts those whose time has come into the queue. */
  private lookForDue(): void {
    const { look } = this;
    if (this.waiting === 0 || look === this.lastLook) return;
    this.lastLook = look;
    for (let slot = 0; slot < this.slotsUsed; slot++) {
      const dueAt = this.dueAtLook[slot] ?? 0;
      if (dueAt === 0 || dueAt > look) continue;
      this.dueAtLook[slot] = 0;
      this.waiting--;
      const connection = this.around.connectionAt(slot);
      if (connection !== undefined) this.enqueue(slot, connection);
    }
  }

  /** Runs while there is anything to do, and once more to give the next ones their room. */
  private armTick(): void {
    const { limits, bus } = this.around.node;
    const isFresh = this.room === limits.attachesPerTick;
    if (this.isTicking || (isFresh && this.ring.size === 0 && this.waiting === 0)) return;
    this.isTicking = true;
    const isPaced = this.ring.size > 0 && bus.isConnected !== false;
    this.around.startTick(isPaced || !isFresh ? pacedEveryMs : lookEveryMs);
  }
}
