/**
 * What an actor goes through besides its ordinary messages: birth, start,
 * notices, requests to stop. The state machine:
 *
 * ```
 *   spawn ──▶ STARTING ──▶ LIVE ──stop, idle──▶ ENDING ──▶ GONE
 *                │  ▲        │                  ▲  │ restart
 *                │  │        └──────crash───────┤  ▼
 *                └──┼──────────crash────────────┘ BACKOFF
 *                   └────────── a new instance ────┘
 * ```
 * Each step happens at a turn's boundary: never while the actor itself is in a
 * turn, nor, for a child's leaving, while its parent is.
 */
import { assert } from "../base/assert.js";
import { type ActorKey, assertKey, otherForm } from "./address.js";
import { makeChild, startInstance } from "./births.js";
import {
  addProcessed,
  BACKOFF,
  type Cell,
  childrenOf,
  ENDING,
  GONE,
  HAS_STARTED,
  isAlive,
  LIVE,
  STARTING,
  STOP_PARENT,
  STOP_SELF,
  STOP_WANTED,
  setState,
  stateOf,
} from "./cell.js";
import type { Counters } from "./counters.js";
import { type Endings, stopCauseOf } from "./endings.js";
import { type Envelope, messageType } from "./envelope.js";
import { AWAITING, type Mailbox, type Notice } from "./mailbox.js";
import { isThenable, type Scheduler, type TurnEvents } from "./scheduler.js";

const STARTED = Symbol("started");

export class Lifecycle implements TurnEvents {
  constructor(
    private readonly scheduler: Scheduler,
    private readonly endings: Endings,
    private readonly counters: Counters,
  ) {}

  spawn(parent: Cell, key: ActorKey): Cell {
    assertKey(key);
    assert(isAlive(parent), `${parent.kind.name} spawns only while it lives`);
    const siblings = parent._extras?.children;
    const other = otherForm(key);
    const isTaken = siblings?.has(key) || (other !== undefined && siblings?.has(other));
    assert(!isTaken, `${parent.kind.name} already has a child ${key}`);
    const child = makeChild(parent, key);
    childrenOf(parent).set(key, child);
    this.counters.spawned++;
    startInstance(child, this.scheduler);
    return child;
  }

  /** By `stopSelf` or `stopChild`, from inside somebody's turn; takes effect at the next boundary. */
  requestStop(cell: Cell, cause: "self" | "parent"): void {
    const state = stateOf(cell);
    if (state === GONE) return;
    if (state === ENDING || state === BACKOFF) {
      if (cause === "parent") this.endings.endForGood(cell);
      return;
    }
    cell._flags |= cause === "self" ? STOP_SELF : STOP_PARENT;
    const mailbox = this.scheduler.wake(cell);
    mailbox.attention = true;
    if (mailbox.phase === AWAITING) this.endings.armTurnDeadline(cell, mailbox);
  }

  /** Stops an idle child unless it objects; whom a message reaches meanwhile comes back. */
  passivate(cell: Cell): void {
    try {
      if (!cell.mayPassivate()) return;
    } catch (error) {
      this.endings.crash(cell, error, "mayPassivate", undefined);
      return;
    }
    this.counters.passivated++;
    this.endings.begin(cell, "passivated", false);
  }

  /** From outside any turn: the whole tree goes, the root last. */
  stopTree(root: Cell): void {
    this.endings.endFor(root, "parent");
  }

  onAttention(mailbox: Mailbox<Cell>): boolean {
    const cell = mailbox.owner as Cell;
    this.endings.disarmTurnDeadline(mailbox);
    for (;;) {
      if ((cell._flags & STOP_WANTED) !== 0) {
        this.endings.begin(cell, stopCauseOf(cell), false);
        return false;
      }
      if (stateOf(cell) === STARTING) {
        if (this.finishStart(cell, mailbox)) continue;
        return false;
      }
      const notice = mailbox.notices?.shift();
      if (notice === undefined) break;
      if (!this.takeNotice(cell, mailbox, notice)) return false;
    }
    mailbox.attention = false;
    return true;
  }

  /** A turn that asked for its actor's stop before it awaited. */
  onHeldBack(mailbox: Mailbox<Cell>): void {
    const cell = mailbox.owner as Cell;
    if ((cell._flags & STOP_WANTED) !== 0) this.endings.armTurnDeadline(cell, mailbox);
  }

  onCrash(cell: Cell, error: unknown, message: unknown, envelope: Envelope | undefined): void {
    const mailbox = cell._mailbox;
    if (mailbox !== undefined) this.endings.disarmTurnDeadline(mailbox);
    const type = message === STARTED ? "started" : messageType(message);
    this.endings.crash(cell, error, type, envelope);
  }

  /** True when the actor is live; false while it awaits, or has crashed. */
  private finishStart(cell: Cell, mailbox: Mailbox<Cell>): boolean {
    if ((cell._flags & HAS_STARTED) === 0) {
      cell._flags |= HAS_STARTED;
      try {
        const starting = cell.started();
        if (isThenable(starting)) {
          this.scheduler.hold(mailbox, starting, STARTED, undefined);
          return false;
        }
      } catch (error) {
        this.endings.crash(cell, error, "started", undefined);
        return false;
      }
    }
    setState(cell, LIVE);
    return true;
  }

  /** False when the actor cannot go on to its next message now. */
  private takeNotice(cell: Cell, mailbox: Mailbox<Cell>, notice: Notice<Cell>): boolean {
    switch (notice.type) {
      case "child-stopped":
        this.endings.removeChild(cell, notice.child, notice.reason);
        break;
      case "remake-child":
        this.endings.remake(notice.child);
        break;
      case "advance-group":
        this.endings.groups.advance(cell);
        break;
      case "timer":
        if (notice.timer.cancelled) return true;
        return this.takeTurn(cell, mailbox, notice.timer.message);
      case "message":
        return this.takeTurn(cell, mailbox, notice.message);
      case "pipe-failed":
        this.endings.crash(cell, notice.error, "pipe", undefined);
        return false;
    }
    return stateOf(cell) === LIVE;
  }

  private takeTurn(cell: Cell, mailbox: Mailbox<Cell>, message: unknown): boolean {
    this.counters.processed++;
    addProcessed(cell, 1);
    try {
      const turn = cell.receive(message, undefined, undefined);
      if (isThenable(turn)) {
        this.scheduler.hold(mailbox, turn, message, undefined);
        return false;
      }
    } catch (error) {
      this.endings.crash(cell, error, messageType(message), undefined);
      return false;
    }
    return true;
  }
}
