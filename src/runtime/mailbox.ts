/**
 * The messages that wait for one actor, lent to it from a pool while there are
 * any (or while a turn is awaited), so that an idle actor holds none.
 *
 * Two lanes: notices from the runtime, bounded by what they stem from (own
 * timers, watches, children), and ordinary messages, at most `max`, in a ring of
 * (message, envelope) pairs. The scheduler's hot path touches only this class,
 * whatever the actor's class is.
 */
import { Ring } from "../base/ring.js";
import type { WheelEntry } from "../base/timer-wheel.js";
import type { Envelope, StopReason } from "./envelope.js";

/**
 * ```
 *  free ──lent──▶ queued ──▶ running ──▶ queued | free (empty)
 *                   ▲           ├──▶ awaiting ──▶ queued     an async turn
 *                   └── held ◀──┘                            starting again or stopping
 *  awaiting ──▶ abandoned    the turn passed its stop deadline; never lent again
 * ```
 */
export const FREE = 0;
export const QUEUED = 1;
export const RUNNING = 2;
export const AWAITING = 3;
export const HELD = 4;
export const ABANDONED = 5;
export type Phase =
  | typeof FREE
  | typeof QUEUED
  | typeof RUNNING
  | typeof AWAITING
  | typeof HELD
  | typeof ABANDONED;

/** What the runtime tells an actor ahead of its ordinary messages. */
export type Notice<Owner> =
  | { readonly type: "message"; readonly message: unknown }
  | { readonly type: "timer"; readonly timer: { readonly message: unknown; cancelled: boolean } }
  | { readonly type: "child-stopped"; readonly child: Owner; readonly reason: StopReason }
  | { readonly type: "remake-child"; readonly child: Owner }
  | { readonly type: "advance-group" }
  | { readonly type: "pipe-failed"; readonly error: unknown };

const INITIAL_SLOTS = 16;
const KEPT_SLOTS_MAX = 512;

export class Mailbox<Owner, Host = unknown> {
  phase: Phase = FREE;
  owner: Owner | undefined = undefined;
  /** The turn must look at more than ordinary messages: start, stop, or a notice. */
  attention = false;
  max = 0;
  quantum = 0;
  /** Turns taken since the run queue last reached this mailbox. */
  spent = 0;
  /** What the awaited turn works on, for the crash report and the asker. */
  current: unknown = undefined;
  currentEnvelope: Envelope | undefined = undefined;
  /** Of the message that `shift` just gave. */
  envelope: Envelope | undefined = undefined;
  notices: Ring<Notice<Owner>> | undefined = undefined;
  stopDeadline: WheelEntry | undefined = undefined;
  onResolved: (() => void) | undefined = undefined;
  onRejected: ((error: unknown) => void) | undefined = undefined;

  private slots: unknown[] = new Array<unknown>(INITIAL_SLOTS).fill(undefined);
  private head = 0;
  private used = 0;

  /** `host`: of every actor that this mailbox is ever lent to. */
  constructor(readonly host: Host) {}

  get size(): number {
    return this.used >> 1;
  }

  /** False when full; what happens then is the actor kind's policy. */
  push(message: unknown, envelope: Envelope | undefined): boolean {
    const used = this.used;
    if (used >= this.max * 2) return false;
    if (used === this.slots.length) this.grow();
    const at = (this.head + used) & (this.slots.length - 1);
    this.slots[at] = message;
    if (envelope !== undefined) this.slots[at + 1] = envelope;
    this.used = used + 2;
    return true;
  }

  /** The oldest message, its envelope left in `envelope`; the caller knows that `size` > 0. */
  shift(): unknown {
    const slots = this.slots;
    const head = this.head;
    const message = slots[head];
    const envelope = slots[head + 1] as Envelope | undefined;
    slots[head] = undefined;
    if (envelope !== undefined) slots[head + 1] = undefined;
    this.envelope = envelope;
    this.head = (head + 2) & (slots.length - 1);
    this.used -= 2;
    return message;
  }

  notify(notice: Notice<Owner>): void {
    // What can arise is bounded elsewhere: own timers, promises, watches, and children.
    this.notices ??= new Ring<Notice<Owner>>(Number.POSITIVE_INFINITY, 2);
    this.notices.push(notice);
    this.attention = true;
  }

  /** Gives all that waits to `successor`, which is empty. */
  moveTo(successor: Mailbox<Owner>): void {
    [successor.slots, this.slots] = [this.slots, successor.slots];
    [successor.head, this.head] = [this.head, successor.head];
    [successor.used, this.used] = [this.used, successor.used];
  }

  /** Ready for the next borrower; a burst's large ring is not kept. */
  reset(): void {
    if (this.slots.length > KEPT_SLOTS_MAX) {
      this.slots = new Array<unknown>(INITIAL_SLOTS).fill(undefined);
    }
    this.phase = FREE;
    this.owner = undefined;
    this.attention = false;
    this.current = undefined;
    this.currentEnvelope = undefined;
    this.envelope = undefined;
    this.notices = undefined;
    this.stopDeadline = undefined;
    this.head = 0;
    this.used = 0;
  }

  private grow(): void {
    const old = this.slots;
    const grown = new Array<unknown>(old.length * 2).fill(undefined);
    for (let at = 0; at < this.used; at++) grown[at] = old[(this.head + at) & (old.length - 1)];
    this.slots = grown;
    this.head = 0;
  }
}
