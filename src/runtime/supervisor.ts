/**
 * The supervising side of a parent: reports crashes, decides what follows an
 * end, and keeps the history that the decision needs (on the parent, when each
 * child was restarted; on the child, how often in a row).
 */
import type { Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";
import { addressOf, type Cell, Ending, extrasOf, isAlive, type RootCell } from "./cell.js";
import type { Counters } from "./counters.js";
import {
  type CrashReport,
  describeError,
  errorClassOf,
  RestartIntensityExceeded,
} from "./crash-report.js";
import type { StopReason } from "./envelope.js";
import { DEFAULT_INTENSITY } from "./kind.js";
import { type EndCause, planRestart, wantsRestart } from "./restarts.js";

export class Supervisor {
  constructor(
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly counters: Counters,
    private readonly onCrash: ((report: CrashReport) => void) | undefined,
  ) {}

  report(cell: Cell, error: unknown, type: string): void {
    this.counters.crashes++;
    if (this.onCrash === undefined) return;
    this.onCrash({
      address: addressOf(cell),
      kind: cell.kind.name,
      messageType: type,
      errorClass: errorClassOf(error),
      ...describeError(error),
      restarts: cell._extras?.history?.restarts ?? 0,
      fatal: (cell as Partial<RootCell>).host !== undefined,
    });
  }

  /**
   * Decides what follows, and records it in the history. The root never ends this
   * way. What `isMember` of a group that is being restarted is no restart of its own.
   */
  planEnding(cell: Cell, cause: EndCause, wasAbandoned: boolean, isMember: boolean): Ending {
    const reason: StopReason = cause === "crashed" ? "crashed" : "normal";
    if (cause === "passivated") return new Ending("reactivate", reason, 0, undefined, wasAbandoned);
    const parent = cell._parent;
    if (parent === undefined) return new Ending("gone", reason, 0, undefined, wasAbandoned);

    const nowMs = this.clock.monotonicMs();
    const restartsAtMs = parent._extras?.childRestartsAtMs ?? [];
    const attempt = this.attemptOf(cell, parent, nowMs);
    if (isMember && wantsRestart(cell.kind, cause)) {
      this.recordOwn(cell, attempt, nowMs);
      return new Ending("regroup", reason, 0, undefined, wasAbandoned);
    }
    const history = { restartsAtMs, attempt };
    const plan = planRestart(cell.kind, parent.kind, cause, history, nowMs, this.random);
    switch (plan.act) {
      case "leave":
        return new Ending("gone", reason, 0, undefined, wasAbandoned);
      case "escalate":
        return new Ending("gone", "gave-up", 0, tooManyRestarts(cell, parent), wasAbandoned);
      case "restart":
        this.recordOwn(cell, attempt, nowMs);
        this.recordFamily(parent, nowMs);
        return new Ending(nextUnder(parent), reason, plan.delayMs, undefined, wasAbandoned);
    }
  }

  private attemptOf(cell: Cell, parent: Cell, nowMs: number): number {
    const history = cell._extras?.history;
    if (history === undefined) return 0;
    const { withinMs } = parent.kind.intensity ?? DEFAULT_INTENSITY;
    return history.lastEndMs > nowMs - withinMs ? history.attempt : 0;
  }

  private recordOwn(cell: Cell, attempt: number, nowMs: number): void {
    this.counters.restarts++;
    const own = extrasOf(cell);
    const restarts = (own.history?.restarts ?? 0) + 1;
    own.history = { restarts, attempt: attempt + 1, lastEndMs: nowMs };
  }

  private recordFamily(parent: Cell, nowMs: number): void {
    const { withinMs } = parent.kind.intensity ?? DEFAULT_INTENSITY;
    const family = extrasOf(parent);
    const recent = family.childRestartsAtMs?.filter((atMs) => atMs > nowMs - withinMs) ?? [];
    recent.push(nowMs);
    family.childRestartsAtMs = recent;
  }
}

function nextUnder(parent: Cell): "restart" | "regroup" {
  const { strategy = "one-for-one" } = parent.kind;
  // A parent that ends stops its children itself, each in its turn.
  return strategy === "one-for-one" || !isAlive(parent) ? "restart" : "regroup";
}

function tooManyRestarts(cell: Cell, parent: Cell): Error {
  const { restarts, withinMs } = parent.kind.intensity ?? DEFAULT_INTENSITY;
  return new RestartIntensityExceeded(
    `${cell.kind.name} ${cell._key} ended again after ${restarts} restarts ` +
      `among the children of ${parent.kind.name} ${parent._key} within ${withinMs} ms`,
  );
}
