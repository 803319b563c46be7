/**
 * Messages that actors send to themselves later. An actor's running timers are
 * linked through the entries themselves, so that one costs little more than itself.
 *
 * Invariant: a timer is in its actor's list as long as it is on the wheel.
 */
import { assert } from "../base/assert.js";
import { WheelEntry } from "../base/timer-wheel.js";
import {
  type Cell,
  extrasOf,
  isAlive,
  type LinkedTimer,
  type TimerHandle,
  trimExtras,
} from "./cell.js";
import type { Scheduler } from "./scheduler.js";
import type { Timers } from "./timers.js";

export class ActorTimers {
  constructor(
    private readonly timers: Timers,
    private readonly scheduler: Scheduler,
    private readonly perActorMax: number,
  ) {}

  /** Inert when the actor is already on its way out. */
  start(cell: Cell, delayMs: number, message: unknown): TimerHandle {
    const timer = new ActorTimer(this, cell, message);
    if (!isAlive(cell)) return timer;
    const running = cell._extras?.timerCount ?? 0;
    assert(running < this.perActorMax, `${cell.kind.name} has too many timers`);
    this.timers.schedule(timer, delayMs);
    link(cell, timer);
    return timer;
  }

  /** @internal */
  onDue(timer: ActorTimer): void {
    const { cell } = timer;
    unlink(cell, timer);
    this.scheduler.wake(cell).notify({ type: "timer", timer });
  }

  /** @internal */
  onCancelled(timer: ActorTimer): void {
    if (this.timers.cancel(timer)) unlink(timer.cell, timer);
  }
}

class ActorTimer extends WheelEntry implements LinkedTimer, TimerHandle {
  cancelled = false;
  newer: LinkedTimer | undefined = undefined;
  older: LinkedTimer | undefined = undefined;

  constructor(
    private readonly owner: ActorTimers,
    readonly cell: Cell,
    readonly message: unknown,
  ) {
    super();
  }

  onDue(): void {
    this.owner.onDue(this);
  }

  cancel(): void {
    this.cancelled = true;
    this.owner.onCancelled(this);
  }
}

/** The instance ends: none of its timers will fire. */
export function cancelTimersOf(cell: Cell, timers: Timers): void {
  const extras = cell._extras;
  for (let timer = extras?.timers; timer !== undefined; timer = extras?.timers) {
    timers.cancel(timer);
    unlink(cell, timer);
  }
}

function link(cell: Cell, timer: LinkedTimer): void {
  const extras = extrasOf(cell);
  const latest = extras.timers;
  timer.older = latest;
  if (latest !== undefined) latest.newer = timer;
  extras.timers = timer;
  extras.timerCount++;
}

function unlink(cell: Cell, timer: LinkedTimer): void {
  const extras = extrasOf(cell);
  const { newer, older } = timer;
  if (newer === undefined) extras.timers = older;
  else newer.older = older;
  if (older !== undefined) older.newer = newer;
  timer.newer = undefined;
  timer.older = undefined;
  extras.timerCount--;
  if (older === undefined && newer === undefined) trimExtras(cell);
}
