/**
 * How an instance ends, and what follows: gone for good, or a new instance.
 *
 * ```
 *   begin: no more timers, watches, notices
 *     └▶ proceed: the children end, the last one first; each may take its time
 *          └▶ runStopping: the actor's own `stopping`, bounded by a deadline
 *               └▶ settle ──▶ finish: the mailbox refused, watchers and parent told
 *                        └──▶ backoff ──▶ remake: a new instance takes the place
 * ```
 * What follows is decided once, in `begin`; a parent that ends or `stopChild`
 * may still turn a restart into a last end. All of it happens between turns.
 * Whose restart takes siblings along waits in backoff for its group (group-restarts.ts).
 */

import { hasStopping } from "./actor.js";
import { cancelTimersOf } from "./actor-timers.js";
import { handOver, makeChild, startInstance } from "./births.js";
import {
  BACKOFF,
  type Cell,
  childrenOf,
  ENDING,
  type Ending,
  extrasOf,
  GONE,
  HAS_STARTED,
  IS_WATCHED,
  isInTurn,
  STOP_GROUP,
  STOP_PARENT,
  STOP_SELF,
  STOP_WANTED,
  setState,
  stateOf,
  trimExtras,
} from "./cell.js";
import type { Counters } from "./counters.js";
import type { Envelope, StopReason } from "./envelope.js";
import { GroupRestarts } from "./group-restarts.js";
import { DEFAULT_STOP_DEADLINE_MS } from "./kind.js";
import { AWAITING, HELD, type Mailbox } from "./mailbox.js";
import type { EndCause } from "./restarts.js";
import { isThenable, type Scheduler } from "./scheduler.js";
import type { Supervisor } from "./supervisor.js";
import type { Timers } from "./timers.js";

/** What the rest of the system does when an actor leaves. */
export interface Departures {
  /** The instance is over: what it watched, it watches no more. */
  onInstanceEnded(cell: Cell): void;
  /** Gone for good, and somebody watches it. */
  onWatchedGone(cell: Cell, reason: StopReason): void;
  onRootGone(): void;
}

// Children that one parent stops in one loop turn.
const STOPS_PER_TURN = 512;

export class Endings {
  readonly groups: GroupRestarts;

  constructor(
    private readonly scheduler: Scheduler,
    private readonly timers: Timers,
    private readonly supervisor: Supervisor,
    private readonly counters: Counters,
    private readonly departures: Departures,
  ) {
    this.groups = new GroupRestarts(timers, {
      stopForGroup: (cell) => this.endFor(cell, "group"),
      remake: (cell) => this.remake(cell),
    });
  }

  /** Reports, tells who asked, and ends the instance. */
  crash(cell: Cell, error: unknown, type: string, envelope: Envelope | undefined): void {
    this.supervisor.report(cell, error, type);
    envelope?.from?.refuse("CRASHED", `${cell.kind.name} crashed on ${type}`);
    // The root has nobody above it: the report is fatal, and the process decides.
    if (cell._parent === undefined) return;
    this.begin(cell, "crashed", false);
  }

  /** The instance's end begins: LIVE or STARTING to ENDING. */
  begin(cell: Cell, cause: EndCause, wasAbandoned: boolean): void {
    // A stop that the parent asked for is the last, even if the actor crashes on the way to it.
    const isAskedFor = (cell._flags & STOP_PARENT) !== 0;
    cell._flags &= ~STOP_WANTED;
    const ending = this.plan(cell, isAskedFor ? "parent" : cause, wasAbandoned);
    setState(cell, ENDING);
    this.groups.drop(cell);
    const extras = extrasOf(cell);
    extras.ending = ending;
    cancelTimersOf(cell, this.timers);
    this.departures.onInstanceEnded(cell);
    const mailbox = cell._mailbox;
    if (mailbox !== undefined) {
      mailbox.phase = HELD;
      mailbox.notices = undefined;
      mailbox.attention = false;
    }
    if (ending.next === "gone") this.scheduler.drain(cell, drainCode(ending));
    if (extras.children !== undefined) ending.order = [...extras.children.values()];
    this.proceed(cell, ending);
  }

  private plan(cell: Cell, cause: EndCause, wasAbandoned: boolean): Ending {
    const isMember = this.groups.covers(cell);
    const ending = this.supervisor.planEnding(cell, cause, wasAbandoned, isMember);
    if (ending.next === "regroup" && !isMember && cell._parent !== undefined) {
      this.groups.open(cell, cell._parent, ending.restartDelayMs);
    }
    return ending;
  }

  /** Stops what children are left, then itself; comes again when a child that took time is gone. */
  private proceed(cell: Cell, ending: Ending): void {
    const order = ending.order;
    let stopped = 0;
    ending.isLooping = true;
    for (let child = order?.at(-1); child !== undefined; child = order?.at(-1)) {
      if (stopped++ === STOPS_PER_TURN) {
        this.timers.after(0, () => this.proceed(cell, ending));
        return;
      }
      if (stateOf(child) !== GONE) this.endFor(child, "parent");
      if (stateOf(child) !== GONE) break;
      order?.pop();
    }
    ending.isLooping = false;
    if ((order?.length ?? 0) === 0) this.runStopping(cell, ending);
  }

  /** Ends `cell` with its parent, or its group, which waits for it; from outside its turns. */
  endFor(cell: Cell, cause: "parent" | "group"): void {
    const state = stateOf(cell);
    if (state === ENDING || state === BACKOFF) {
      if (cause === "parent") this.endForGood(cell);
      return;
    }
    cell._flags |= cause === "parent" ? STOP_PARENT : STOP_GROUP;
    const mailbox = cell._mailbox;
    if (mailbox?.phase === AWAITING) {
      mailbox.attention = true;
      this.armTurnDeadline(cell, mailbox);
    } else {
      this.begin(cell, stopCauseOf(cell), false);
    }
  }

  /** Turns an end that would have led to a new instance into a last one. */
  endForGood(cell: Cell): void {
    const ending = cell._extras?.ending;
    if (ending === undefined) return;
    ending.escalation = undefined;
    if (ending.next === "gone") return;
    ending.next = "gone";
    this.scheduler.drain(cell, drainCode(ending));
    if (stateOf(cell) !== BACKOFF) return;
    if (ending.timer !== undefined) this.timers.cancel(ending.timer);
    this.finish(cell, ending);
  }

  private runStopping(cell: Cell, ending: Ending): void {
    const isOwed = (cell._flags & HAS_STARTED) !== 0 && !ending.wasAbandoned;
    if (!isOwed || !hasStopping(cell)) {
      this.settle(cell, ending);
      return;
    }
    let isOver = false;
    const over = (): void => {
      if (isOver) return;
      isOver = true;
      if (ending.timer !== undefined) this.timers.cancel(ending.timer);
      this.settle(cell, ending);
    };
    const failed = (error: unknown): void => {
      if (!isOver) this.supervisor.report(cell, error, "stopping");
      over();
    };
    try {
      const stopping = cell.stopping(ending.reason);
      if (!isThenable(stopping)) {
        over();
        return;
      }
      ending.timer = this.timers.after(stopDeadlineOf(cell), () => {
        this.counters.abandoned++;
        over();
      });
      Promise.resolve(stopping).then(over, failed);
    } catch (error) {
      failed(error);
    }
  }

  /** The instance is over; what comes next was decided when it began to end. */
  private settle(cell: Cell, ending: Ending): void {
    switch (ending.next) {
      case "gone":
        this.finish(cell, ending);
        return;
      case "reactivate":
        if ((cell._mailbox?.size ?? 0) === 0) {
          this.finish(cell, ending);
          return;
        }
        setState(cell, BACKOFF);
        if (this.groups.covers(cell)) this.groups.onStopped(cell);
        else this.remakeInParentsTurn(cell);
        return;
      case "regroup":
        setState(cell, BACKOFF);
        this.groups.onStopped(cell);
        return;
      case "restart":
        setState(cell, BACKOFF);
        ending.timer = this.timers.after(ending.restartDelayMs, () =>
          this.remakeInParentsTurn(cell),
        );
    }
  }

  private remakeInParentsTurn(cell: Cell): void {
    const parent = cell._parent;
    if (parent === undefined) return;
    if (isInTurn(parent)) parent._mailbox?.notify({ type: "remake-child", child: cell });
    else this.remake(cell);
  }

  /** A new instance takes the place, the mailbox and the ref of `cell`. */
  remake(cell: Cell): void {
    const parent = cell._parent;
    if (parent === undefined || stateOf(cell) !== BACKOFF) return;
    // A member waits for its group, which lets go of it first.
    if (this.groups.covers(cell)) return;
    if (stateOf(parent) === ENDING) {
      this.endForGood(cell);
      return;
    }
    let fresh: Cell;
    try {
      fresh = makeChild(parent, cell._key);
    } catch (error) {
      this.supervisor.report(cell, error, "createChild");
      const ending = this.plan(cell, "crashed", false);
      extrasOf(cell).ending = ending;
      if (ending.next === "gone") this.scheduler.drain(cell, drainCode(ending));
      this.settle(cell, ending);
      return;
    }
    handOver(cell, fresh);
    childrenOf(parent).set(cell._key, fresh);
    setState(cell, GONE);
    startInstance(fresh, this.scheduler);
  }

  /** Gone for good: tells who waits, who watches, and the parent. */
  private finish(cell: Cell, ending: Ending): void {
    setState(cell, GONE);
    this.scheduler.drain(cell, drainCode(ending));
    this.scheduler.release(cell);
    this.counters.stopped++;
    if ((cell._flags & IS_WATCHED) !== 0) this.departures.onWatchedGone(cell, ending.reason);
    const parent = cell._parent;
    if (parent === undefined) {
      this.departures.onRootGone();
      return;
    }
    const { reason } = ending;
    if (stateOf(parent) === ENDING) this.leaveEnding(parent, cell);
    else if (isInTurn(parent))
      parent._mailbox?.notify({ type: "child-stopped", child: cell, reason });
    else this.removeChild(parent, cell, reason);
    this.groups.onStopped(cell);
  }

  private leaveEnding(parent: Cell, child: Cell): void {
    const extras = extrasOf(parent);
    extras.children?.delete(child._key);
    const ending = extras.ending;
    if (ending !== undefined && !ending.isLooping) this.proceed(parent, ending);
  }

  /** In the parent's turn, so that it never sees a child vanish in the middle of one. */
  removeChild(parent: Cell, child: Cell, reason: StopReason): void {
    const children = parent._extras?.children;
    if (children?.get(child._key) !== child) return;
    children.delete(child._key);
    try {
      parent.onChildStopped(child._key, reason);
    } catch (error) {
      this.crash(parent, error, "onChildStopped", undefined);
      return;
    }
    const escalation = child._extras?.ending?.escalation;
    if (escalation !== undefined) this.crash(parent, escalation, "child-gave-up", undefined);
    else trimExtras(parent);
  }

  /** So that a turn that never ends cannot hold up a stop. */
  armTurnDeadline(cell: Cell, mailbox: Mailbox<Cell>): void {
    if (mailbox.stopDeadline !== undefined) return;
    mailbox.stopDeadline = this.timers.after(stopDeadlineOf(cell), () => {
      mailbox.stopDeadline = undefined;
      this.abandon(cell);
    });
  }

  disarmTurnDeadline(mailbox: Mailbox<Cell>): void {
    if (mailbox.stopDeadline === undefined) return;
    this.timers.cancel(mailbox.stopDeadline);
    mailbox.stopDeadline = undefined;
  }

  private abandon(cell: Cell): void {
    if (cell._mailbox?.phase !== AWAITING) return;
    this.counters.abandoned++;
    const asker = cell._mailbox.currentEnvelope?.from;
    this.scheduler.abandonTurn(cell);
    asker?.refuse("STOPPED", `${cell.kind.name} did not end its turn before its stop deadline`);
    this.begin(cell, stopCauseOf(cell), true);
  }
}

/** Whose wish to stop it goes by: the parent's, else its own, else the group's. */
export function stopCauseOf(cell: Cell): "parent" | "self" | "group" {
  if ((cell._flags & STOP_PARENT) !== 0) return "parent";
  return (cell._flags & STOP_SELF) !== 0 ? "self" : "group";
}

function stopDeadlineOf(cell: Cell): number {
  return cell.kind.stopDeadlineMs ?? DEFAULT_STOP_DEADLINE_MS;
}

function drainCode(ending: Ending): "STOPPED" | "CRASHED" {
  return ending.reason === "normal" ? "STOPPED" : "CRASHED";
}
