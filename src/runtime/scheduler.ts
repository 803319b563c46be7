/**
 * Who takes a turn next. Owns the run queue and the pool of mailboxes.
 *
 * One turn per actor at a time; a turn that awaits holds its mailbox. In one
 * turn of the event loop an actor processes at most its quantum and the whole
 * system at most `loopBudget` messages; then I/O gets its chance.
 *
 * Invariant: a mailbox in phase QUEUED has an entry in `ready`. The reverse need
 * not hold: an entry whose mailbox went another way meanwhile is skipped.
 */
import { assert } from "../base/assert.js";
import type { Clock } from "../base/clock.js";
import { Ring } from "../base/ring.js";
import {
  addProcessed,
  addressOf,
  type Cell,
  ENDING,
  GONE,
  type Host,
  LIVE,
  STARTING,
  stateOf,
  TOUCHED,
} from "./cell.js";
import type { Counters, DeadLetterReason } from "./counters.js";
import type { DeadLetters } from "./dead-letters.js";
import type { Envelope } from "./envelope.js";
import { DEFAULT_QUANTUM } from "./kind.js";
import { ABANDONED, AWAITING, HELD, Mailbox, QUEUED, RUNNING } from "./mailbox.js";

/** What a turn may run into besides ordinary messages; the lifecycle's part. */
export interface TurnEvents {
  /** At a turn's boundary; true when the actor goes on to its ordinary messages. */
  onAttention(mailbox: Mailbox<Cell>): boolean;
  /** The turn awaits although a stop, or a notice, is due. */
  onHeldBack(mailbox: Mailbox<Cell>): void;
  onCrash(cell: Cell, error: unknown, message: unknown, envelope: Envelope | undefined): void;
}

const POOL_MAX = 4_096;

export class Scheduler {
  /** Called when the run queue has had its share of a loop turn. */
  afterRun: () => void = () => {};
  private readonly ready = new Ring<Mailbox<Cell>>(Number.POSITIVE_INFINITY, 1_024);
  private readonly pool: Mailbox<Cell, Host>[] = [];
  private isArmed = false;
  private budget: number;
  private events: TurnEvents | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly counters: Counters,
    private readonly deadLetters: DeadLetters,
    private readonly loopBudget: number,
    private readonly host: Host,
  ) {
    this.budget = loopBudget;
  }

  /** Completes the construction: the scheduler and the lifecycle know each other. */
  connect(events: TurnEvents): void {
    this.events = events;
  }

  get queueLength(): number {
    return this.ready.size;
  }

  get pooledMailboxes(): number {
    return this.pool.length;
  }

  /** False when the mailbox is full under "reject", or the actor takes nothing any more. */
  deliver(cell: Cell, message: unknown, envelope: Envelope | undefined): boolean {
    const mailbox = cell._mailbox ?? this.lendFor(cell);
    if (mailbox === undefined) {
      this.refuse("stopped", "STOPPED", cell, message, envelope);
      return false;
    }
    if (mailbox.push(message, envelope)) return true;
    return this.overflow(mailbox, cell, message, envelope);
  }

  /** The actor's mailbox, lent now if it has none; a newly lent one is not yet queued. */
  lend(cell: Cell): Mailbox<Cell, Host> {
    if (cell._mailbox !== undefined) return cell._mailbox;
    const mailbox = this.pool.pop() ?? new Mailbox<Cell, Host>(this.host);
    const kind = cell.kind;
    mailbox.owner = cell;
    mailbox.max = kind.mailbox.max;
    mailbox.quantum = kind.quantum ?? DEFAULT_QUANTUM;
    mailbox.phase = HELD;
    cell._mailbox = mailbox;
    cell._flags |= TOUCHED;
    return mailbox;
  }

  /** The actor's mailbox, sure of a turn: for what must not wait for a message. */
  wake(cell: Cell): Mailbox<Cell> {
    const mailbox = this.lend(cell);
    if (mailbox.phase === HELD) this.enqueue(mailbox);
    return mailbox;
  }

  enqueue(mailbox: Mailbox<Cell>): void {
    mailbox.phase = QUEUED;
    this.ready.push(mailbox);
    this.arm();
  }

  /** Takes back the mailbox of an actor that is gone or idle. */
  release(cell: Cell): void {
    const mailbox = cell._mailbox;
    if (mailbox === undefined) return;
    cell._mailbox = undefined;
    if (mailbox.phase === ABANDONED) return;
    mailbox.reset();
    if (this.pool.length < POOL_MAX) this.pool.push(mailbox);
  }

  /** The mailbox is not touched until `promise` settles; `message` is what a crash is blamed on. */
  hold(
    mailbox: Mailbox<Cell>,
    promise: Promise<void>,
    message: unknown,
    envelope: Envelope | undefined,
  ): void {
    mailbox.phase = AWAITING;
    mailbox.current = message;
    mailbox.currentEnvelope = envelope;
    mailbox.onResolved ??= () => this.onTurnResolved(mailbox);
    mailbox.onRejected ??= (error) => this.onTurnRejected(mailbox, error);
    Promise.resolve(promise).then(mailbox.onResolved, mailbox.onRejected);
    if (mailbox.attention) this.events?.onHeldBack(mailbox);
  }

  /**
   * Gives up the awaited turn of `cell`: what waits moves to another mailbox, and
   * whatever the turn still does is ignored.
   */
  abandonTurn(cell: Cell): void {
    const lost = cell._mailbox;
    assert(lost?.phase === AWAITING, "only an awaited turn is abandoned");
    lost.phase = ABANDONED;
    lost.owner = undefined;
    cell._mailbox = undefined;
    lost.moveTo(this.lend(cell));
  }

  /** Empties the ordinary lane; who asked is told. */
  drain(cell: Cell, code: "STOPPED" | "CRASHED"): void {
    const mailbox = cell._mailbox;
    if (mailbox === undefined) return;
    while (mailbox.size > 0) {
      const message = mailbox.shift();
      this.refuse("stopped", code, cell, message, mailbox.envelope);
    }
  }

  refuse(
    reason: DeadLetterReason,
    code: string,
    cell: Cell,
    message: unknown,
    envelope: Envelope | undefined,
  ): void {
    this.deadLetters.add(reason, () => addressOf(cell), message);
    envelope?.from?.refuse(code, `${cell.kind.name}: ${reason}`);
  }

  private lendFor(cell: Cell): Mailbox<Cell> | undefined {
    const state = stateOf(cell);
    if (state === LIVE || state === STARTING) {
      const mailbox = this.lend(cell);
      this.enqueue(mailbox);
      return mailbox;
    }
    const mayReturn = state >= ENDING && state < GONE && cell._extras?.ending?.next !== "gone";
    return mayReturn ? this.lend(cell) : undefined;
  }

  private overflow(
    mailbox: Mailbox<Cell>,
    cell: Cell,
    message: unknown,
    envelope: Envelope | undefined,
  ): boolean {
    switch (cell.kind.mailbox.onFull) {
      case "reject":
        this.refuse("mailbox-full", "MAILBOX_FULL", cell, message, envelope);
        return false;
      case "drop-newest":
        this.refuse("dropped-newest", "MAILBOX_FULL", cell, message, envelope);
        return true;
      case "drop-oldest": {
        const oldest = mailbox.shift();
        this.refuse("dropped-oldest", "MAILBOX_FULL", cell, oldest, mailbox.envelope);
        return mailbox.push(message, envelope);
      }
    }
  }

  private arm(): void {
    if (this.isArmed) return;
    this.isArmed = true;
    this.clock.soon(() => this.run());
  }

  private run(): void {
    this.isArmed = false;
    this.budget = this.loopBudget;
    while (this.budget > 0) {
      const mailbox = this.ready.shift();
      if (mailbox === undefined) break;
      if (mailbox.phase !== QUEUED) continue;
      mailbox.spent = 0;
      this.takeTurns(mailbox);
    }
    this.afterRun();
    if (this.ready.size > 0) this.arm();
  }

  /** Turns until the mailbox is empty, held, or out of its share. */
  private takeTurns(mailbox: Mailbox<Cell>): void {
    mailbox.phase = RUNNING;
    for (;;) {
      if (mailbox.attention) {
        mailbox.spent++;
        this.budget--;
        if (this.events?.onAttention(mailbox) !== true) return;
      }
      const cell = mailbox.owner as Cell;
      if (mailbox.size === 0) {
        this.release(cell);
        return;
      }
      const limit = Math.min(mailbox.quantum - mailbox.spent, this.budget);
      if (limit <= 0) {
        this.enqueue(mailbox);
        return;
      }
      this.takeMessages(mailbox, cell, limit);
      if (mailbox.phase !== RUNNING) return;
    }
  }

  /** At most `limit` ordinary messages; stops early for attention, an awaited turn, or a crash. */
  private takeMessages(mailbox: Mailbox<Cell>, cell: Cell, limit: number): void {
    let taken = 0;
    let message: unknown;
    let envelope: Envelope | undefined;
    try {
      while (taken < limit && mailbox.size > 0 && !mailbox.attention) {
        message = mailbox.shift();
        envelope = mailbox.envelope;
        taken++;
        if (envelope !== undefined && this.isExpired(envelope)) {
          this.refuse("expired", "TIMEOUT", cell, message, envelope);
          continue;
        }
        const turn = cell.receive(message, envelope?.from, envelope?.context);
        if (turn !== undefined && isThenable(turn)) {
          this.hold(mailbox, turn, message, envelope);
          break;
        }
      }
      this.account(mailbox, cell, taken);
    } catch (error) {
      this.account(mailbox, cell, taken);
      this.events?.onCrash(cell, error, message, envelope);
    }
  }

  private account(mailbox: Mailbox<Cell>, cell: Cell, taken: number): void {
    mailbox.spent += taken;
    this.budget -= taken;
    this.counters.processed += taken;
    addProcessed(cell, taken);
  }

  private isExpired(envelope: Envelope): boolean {
    const deadlineMs = envelope.context?.deadlineMs;
    return deadlineMs !== undefined && deadlineMs <= this.clock.monotonicMs();
  }

  private onTurnResolved(mailbox: Mailbox<Cell>): void {
    if (mailbox.phase !== AWAITING) return;
    mailbox.current = undefined;
    mailbox.currentEnvelope = undefined;
    // Going on at once spares an async actor one loop turn a message; quantum and
    // budget, counted since the last run, bound it like any other.
    this.takeTurns(mailbox);
  }

  private onTurnRejected(mailbox: Mailbox<Cell>, error: unknown): void {
    if (mailbox.phase !== AWAITING) return;
    const { current, currentEnvelope } = mailbox;
    mailbox.current = undefined;
    mailbox.currentEnvelope = undefined;
    mailbox.phase = HELD;
    this.events?.onCrash(mailbox.owner as Cell, error, current, currentEnvelope);
  }
}

/** Any promise, from whatever realm or library. */
export function isThenable(value: unknown): value is Promise<void> {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as { then?: unknown }).then === "function"
  );
}
