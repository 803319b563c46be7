/**
 * Restarts that take siblings along: one-for-all and rest-for-one, after OTP's
 * supervisor. Owns, for each parent whose family is on the way, one group:
 *
 * ```
 *   open ──▶ STOPPING ──all stopped──▶ BACKOFF ──delay──▶ STARTING ──▶ over
 *               ▲                         │                  │
 *               └── widened: an end outside of it, a failed createChild
 * ```
 * STOPPING waits for the child that ended first, then stops the others, the last
 * one first and each in its own time. STARTING makes all that are restartable in
 * the order of their spawning; as with `spawn`, `started` then runs in their own
 * turns, and its failure is a new end. Steps are taken between the parent's turns.
 *
 * Whoever was a child when the group opened is a member, nobody who came later. A
 * member's own end meanwhile is part of the group, so it is counted once. Those
 * gone for good drop out. A parent that ends drops the group, and ends its members.
 */

import type { WheelEntry } from "../base/timer-wheel.js";
import { BACKOFF, type Cell, childrenOf, ENDING, GONE, isInTurn, stateOf } from "./cell.js";
import type { SupervisionStrategy } from "./kind.js";
import type { Timers } from "./timers.js";

/** What is done to a member, whose own way to the end is not the group's matter. */
export interface MemberSteps {
  /** Ends the instance to make it again; may take its time. */
  stopForGroup(cell: Cell): void;
  remake(cell: Cell): void;
}

// Members that are stopped or made in one loop turn.
const STEPS_PER_TURN = 512;

/** Invariant: `order` holds members still to be stopped, or made, the next one last. */
class Group {
  phase: "stopping" | "backoff" | "starting" | "over" = "stopping";
  /** In the order of their spawning; none that was made again. */
  members: Set<Cell> = new Set();
  order: Cell[] = [];
  timer: WheelEntry | undefined = undefined;
  isLooping = false;

  constructor(
    public origin: Cell,
    public delayMs: number,
  ) {}
}

export class GroupRestarts {
  private readonly groups = new Map<Cell, Group>();

  constructor(
    private readonly timers: Timers,
    private readonly steps: MemberSteps,
  ) {}

  /** Waits for its group, or will be stopped and made again by it. */
  covers(cell: Cell): boolean {
    return this.groupOf(cell)?.members.has(cell) ?? false;
  }

  /** `origin` ends, and takes along whom the strategy says; `delayMs` after all have stopped. */
  open(origin: Cell, parent: Cell, delayMs: number): void {
    const group = this.groups.get(parent) ?? new Group(origin, delayMs);
    this.groups.set(parent, group);
    if (group.timer !== undefined) this.timers.cancel(group.timer);
    const family = [...childrenOf(parent).values()];
    const taken = new Set(takenAlong(parent.kind.strategy, family, origin));
    const isMember = (child: Cell): boolean => taken.has(child) || group.members.has(child);
    group.members = new Set(family.filter(isMember));
    group.order = [...group.members];
    group.origin = origin;
    group.delayMs = delayMs;
    group.phase = "stopping";
  }

  /** A child is between two instances, or gone for good. */
  onStopped(cell: Cell): void {
    const parent = cell._parent;
    const group = this.groupOf(cell);
    if (parent === undefined || group === undefined) return;
    if (stateOf(cell) === GONE && group.members.delete(cell) && group.members.size === 0) {
      this.drop(parent);
      return;
    }
    this.advanceBetweenTurns(parent);
  }

  /** The parent ends. */
  drop(parent: Cell): void {
    if (this.groups.size === 0) return;
    const group = this.groups.get(parent);
    if (group === undefined) return;
    group.phase = "over";
    if (group.timer !== undefined) this.timers.cancel(group.timer);
    this.groups.delete(parent);
  }

  /** As far as it goes now; harmless when there is nothing to do. From outside the parent's turns. */
  advance(parent: Cell): void {
    const group = this.groups.get(parent);
    if (group === undefined || group.isLooping) return;
    group.isLooping = true;
    for (let steps = 1; this.takeStep(parent, group); steps++) {
      if (steps < STEPS_PER_TURN) continue;
      this.timers.after(0, () => this.advanceBetweenTurns(parent));
      break;
    }
    group.isLooping = false;
  }

  private groupOf(cell: Cell): Group | undefined {
    // Asked at every end of every actor, and almost always there is no group at all.
    if (this.groups.size === 0 || cell._parent === undefined) return undefined;
    return this.groups.get(cell._parent);
  }

  private advanceBetweenTurns(parent: Cell): void {
    if (isInTurn(parent)) parent._mailbox?.notify({ type: "advance-group" });
    else this.advance(parent);
  }

  /** True when another may follow at once. */
  private takeStep(parent: Cell, group: Group): boolean {
    switch (group.phase) {
      case "stopping":
        return this.stopNext(parent, group);
      case "starting":
        return this.startNext(parent, group);
      case "backoff":
      case "over":
        return false;
    }
  }

  private stopNext(parent: Cell, group: Group): boolean {
    if (stateOf(group.origin) === ENDING) return false;
    const next = group.order.at(-1);
    if (next === undefined) {
      this.backOff(parent, group);
      return false;
    }
    if (!hasStopped(next)) this.steps.stopForGroup(next);
    if (!hasStopped(next)) return false;
    group.order.pop();
    return true;
  }

  private backOff(parent: Cell, group: Group): void {
    group.phase = "backoff";
    group.timer = this.timers.after(group.delayMs, () => {
      group.phase = "starting";
      group.order = [...group.members].reverse();
      this.advanceBetweenTurns(parent);
    });
  }

  private startNext(parent: Cell, group: Group): boolean {
    const next = group.order.pop();
    if (next === undefined) {
      this.drop(parent);
      return false;
    }
    group.members.delete(next);
    if (stateOf(next) === BACKOFF) this.steps.remake(next);
    return true;
  }
}

function hasStopped(cell: Cell): boolean {
  const state = stateOf(cell);
  return state === BACKOFF || state === GONE;
}

/** Whom the end of `origin` takes along, itself included; `family` in the order of spawning. */
function takenAlong(
  strategy: SupervisionStrategy | undefined,
  family: readonly Cell[],
  origin: Cell,
): readonly Cell[] {
  switch (strategy) {
    case "one-for-all":
      return family;
    case "rest-for-one":
      return family.slice(family.indexOf(origin));
    case "one-for-one":
    case undefined:
      return [origin];
  }
}
