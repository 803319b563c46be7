/**
 * Stops children that nobody has spoken to: one sweep for each parent and kind
 * of child, by second chance. A sweep takes the touched mark from every child
 * and stops those that had none, so an idle child goes after one to two periods,
 * and no child needs a timer or a time of its own.
 */
import { WheelEntry } from "../base/timer-wheel.js";
import type { ActorKey } from "./address.js";
import { type Cell, extrasOf, LIVE, stateOf, TOUCHED, trimExtras } from "./cell.js";
import type { ActorKind } from "./kind.js";
import type { Timers } from "./timers.js";

// A sweep over many children is cut into parts, so that it never holds up the loop.
const PART = 1_024;
const PAUSE_MS = 1;

export class Passivation {
  constructor(
    private readonly timers: Timers,
    private readonly passivate: (cell: Cell) => void,
  ) {}

  onSpawn(parent: Cell, kind: ActorKind): void {
    const periodMs = kind.passivateAfterMs;
    if (periodMs === undefined) return;
    const extras = extrasOf(parent);
    extras.sweeps ??= new Map<ActorKind, WheelEntry>();
    if (extras.sweeps.has(kind)) return;
    const sweep = new Sweep(this.timers, parent, kind, periodMs, this.passivate);
    extras.sweeps.set(kind, sweep);
    this.timers.schedule(sweep, periodMs);
  }

  /** The parent ends; its children do too. */
  forget(parent: Cell): void {
    const extras = parent._extras;
    if (extras?.sweeps === undefined) return;
    for (const sweep of extras.sweeps.values()) this.timers.cancel(sweep);
    extras.sweeps = undefined;
  }
}

class Sweep extends WheelEntry {
  private rest: Iterator<[ActorKey, Cell]> | undefined;
  private seen = 0;

  constructor(
    private readonly timers: Timers,
    private readonly parent: Cell,
    private readonly kind: ActorKind,
    private readonly periodMs: number,
    private readonly passivate: (cell: Cell) => void,
  ) {
    super();
  }

  onDue(): void {
    const extras = this.parent._extras;
    if (this.rest === undefined) this.seen = 0;
    this.rest ??= extras?.children?.entries();
    const isDone = this.rest === undefined || this.sweepPart(this.rest);
    if (!isDone) {
      this.timers.schedule(this, PAUSE_MS);
      return;
    }
    this.rest = undefined;
    if (this.seen > 0) this.timers.schedule(this, this.periodMs);
    else this.retire();
  }

  private retire(): void {
    const extras = this.parent._extras;
    if (extras?.sweeps === undefined || !extras.sweeps.delete(this.kind)) return;
    if (extras.sweeps.size > 0) return;
    extras.sweeps = undefined;
    trimExtras(this.parent);
  }

  /** True when no child is left to look at. */
  private sweepPart(children: Iterator<[ActorKey, Cell]>): boolean {
    for (let at = 0; at < PART; at++) {
      const next = children.next();
      if (next.done === true) return true;
      const child = next.value[1];
      if (child.kind !== this.kind) continue;
      this.seen++;
      if ((child._flags & TOUCHED) !== 0) child._flags &= ~TOUCHED;
      else if (isIdle(child)) this.passivate(child);
    }
    return false;
  }
}

function isIdle(cell: Cell): boolean {
  if (stateOf(cell) !== LIVE || cell._mailbox !== undefined) return false;
  const extras = cell._extras;
  return (extras?.children?.size ?? 0) === 0 && extras?.timers === undefined;
}
