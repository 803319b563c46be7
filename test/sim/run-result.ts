/** What a run of a seed is given, and what it tells. */
import type { Breakage } from "./breakage.js";
import type { FaultName } from "./fault-names.js";

export interface RunOptions {
  readonly seed: number;
  readonly without?: ReadonlySet<FaultName>;
  readonly breakage?: Breakage;
  readonly isTraceKept?: boolean;
}

export interface RunResult {
  readonly seed: number;
  readonly hash: string;
  readonly events: number;
  readonly virtualMs: number;
  /** From the end of the faults until every shard had an owner that serves it. */
  readonly ownedMs: number;
  /** Until all else was settled, too. */
  readonly settledMs: number;
  readonly failure: Error | undefined;
  readonly figures: Readonly<Record<string, number>>;
  readonly faults: Readonly<Record<string, number>>;
  readonly tail: (count: number) => readonly string[];
}
