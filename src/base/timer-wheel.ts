/**
 * Hashed hierarchical timer wheel (Varghese and Lauck, 1987; Tokio's layout):
 * seven levels of 64 slots, level n's slot spanning 64^n ticks. Scheduling and
 * cancelling cost O(1) and allocate nothing, because the entries are the links.
 *
 * Invariant: an entry sits on the lowest level on which its due tick and the
 * wheel's tick share a block, so every entry on a lower level is due earlier.
 * No entry fires early; entries due in one tick fire in the order scheduled.
 */
import { assert } from "./assert.js";

const SLOTS = 64;
const LEVELS = 7;
const NOT_SCHEDULED = -1;
const SPAN: readonly number[] = Array.from({ length: LEVELS + 1 }, (_, level) => SLOTS ** level);

export abstract class WheelEntry {
  /** @internal */ dueTick = 0;
  /** @internal */ slot = NOT_SCHEDULED;
  /** @internal */ previous: WheelEntry | undefined = undefined;
  /** @internal */ next: WheelEntry | undefined = undefined;

  abstract onDue(): void;

  get isScheduled(): boolean {
    return this.slot !== NOT_SCHEDULED;
  }
}

export class TimerWheel {
  private readonly heads: (WheelEntry | undefined)[];
  private readonly tails: (WheelEntry | undefined)[];
  private tick = 0;
  private count = 0;

  constructor(
    private readonly startMs: number,
    private readonly tickMs = 1,
  ) {
    this.heads = new Array<WheelEntry | undefined>(SLOTS * LEVELS).fill(undefined);
    this.tails = new Array<WheelEntry | undefined>(SLOTS * LEVELS).fill(undefined);
  }

  get size(): number {
    return this.count;
  }

  /** Fires `entry` by the first `advance` to `atMs` or later; an entry is scheduled once at a time. */
  schedule(entry: WheelEntry, atMs: number): void {
    assert(entry.slot === NOT_SCHEDULED, "a wheel entry is scheduled once at a time");
    assert(Number.isFinite(atMs), "a wheel entry is due at a finite time");
    // Never the current tick: a timer that sets itself again for now must not spin.
    entry.dueTick = Math.max(Math.ceil((atMs - this.startMs) / this.tickMs), this.tick + 1);
    this.count++;
    this.link(entry);
  }

  /** False when the entry was not scheduled (it fired, or never was). */
  cancel(entry: WheelEntry): boolean {
    if (entry.slot === NOT_SCHEDULED) return false;
    this.unlink(entry);
    this.count--;
    return true;
  }

  /** Fires all that is due at `nowMs`; time that goes back is ignored. */
  advance(nowMs: number): void {
    const target = Math.floor((nowMs - this.startMs) / this.tickMs);
    for (;;) {
      const slot = this.nextSlot();
      if (slot === NOT_SCHEDULED) break;
      const slotTick = this.startOf(slot);
      if (slotTick > target) break;
      this.tick = Math.max(this.tick, slotTick);
      if (slot < SLOTS) this.fire(slot);
      else this.cascade(slot);
    }
    this.tick = Math.max(this.tick, target);
  }

  /** When to call `advance` next: never later than the earliest entry; undefined when empty. */
  nextDueMs(): number | undefined {
    const slot = this.nextSlot();
    return slot === NOT_SCHEDULED ? undefined : this.startMs + this.startOf(slot) * this.tickMs;
  }

  /** Every scheduled entry, in no promised order; nothing may be scheduled while iterating. */
  *entries(): Generator<WheelEntry> {
    for (const head of this.heads) {
      for (let entry = head; entry !== undefined; entry = entry.next) yield entry;
    }
  }

  private fire(slot: number): void {
    for (let entry = this.heads[slot]; entry !== undefined; entry = this.heads[slot]) {
      this.unlink(entry);
      this.count--;
      entry.onDue();
    }
  }

  private cascade(slot: number): void {
    let entry = this.heads[slot];
    this.heads[slot] = undefined;
    this.tails[slot] = undefined;
    while (entry !== undefined) {
      const next: WheelEntry | undefined = entry.next;
      this.link(entry);
      entry = next;
    }
  }

  private nextSlot(): number {
    if (this.count === 0) return NOT_SCHEDULED;
    for (let level = 0; level < LEVELS; level++) {
      const position = Math.floor(this.tick / (SPAN[level] ?? 1)) % SLOTS;
      for (let at = position; at < SLOTS; at++) {
        if (this.heads[level * SLOTS + at] !== undefined) return level * SLOTS + at;
      }
    }
    return NOT_SCHEDULED;
  }

  /** First tick of a slot, in the block of its level that the wheel is in. */
  private startOf(slot: number): number {
    const level = Math.floor(slot / SLOTS);
    const block = SPAN[level + 1] ?? 1;
    return Math.floor(this.tick / block) * block + (slot % SLOTS) * (SPAN[level] ?? 1);
  }

  private link(entry: WheelEntry): void {
    let level = 0;
    while (level < LEVELS && !this.sharesBlock(entry.dueTick, level)) level++;
    assert(level < LEVELS, "a wheel entry is due within a century");
    const slot = level * SLOTS + (Math.floor(entry.dueTick / (SPAN[level] ?? 1)) % SLOTS);
    const tail = this.tails[slot];
    entry.slot = slot;
    entry.previous = tail;
    entry.next = undefined;
    if (tail === undefined) this.heads[slot] = entry;
    else tail.next = entry;
    this.tails[slot] = entry;
  }

  private sharesBlock(dueTick: number, level: number): boolean {
    const block = SPAN[level + 1] ?? 1;
    return Math.floor(dueTick / block) === Math.floor(this.tick / block);
  }

  private unlink(entry: WheelEntry): void {
    const { slot, previous, next } = entry;
    if (previous === undefined) this.heads[slot] = next;
    else previous.next = next;
    if (next === undefined) this.tails[slot] = previous;
    else next.previous = previous;
    entry.slot = NOT_SCHEDULED;
    entry.previous = undefined;
    entry.next = undefined;
  }
}
