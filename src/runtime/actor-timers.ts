/**
 * Messages that actors send to themselves later. An actor's set of timers exists
 * while it has any, and is emptied when the instance ends.
 */
import { assert } from "../base/assert.js";
import { WheelEntry } from "../base/timer-wheel.js";
import { type Cell, extrasOf, isAlive, type TimerHandle } from "./cell.js";
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
    const extras = extrasOf(cell);
    extras.timers ??= new Set<WheelEntry>();
    assert(extras.timers.size < this.perActorMax, `${cell.kind.name} has too many timers`);
    extras.timers.add(timer);
    this.timers.schedule(timer, delayMs);
    return timer;
  }

  /** @internal */
  onDue(timer: ActorTimer): void {
    timer.cell._extras?.timers?.delete(timer);
    this.scheduler.wake(timer.cell).notify({ type: "timer", timer });
  }

  /** @internal */
  onCancelled(timer: ActorTimer): void {
    this.timers.cancel(timer);
    timer.cell._extras?.timers?.delete(timer);
  }
}

class ActorTimer extends WheelEntry implements TimerHandle {
  cancelled = false;

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
