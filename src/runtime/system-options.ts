/** What a system is given, and what it is held to. */
import type { Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";
import type { CrashReport } from "./crash-report.js";
import type { DeadLetter } from "./dead-letters.js";
import type { Bus } from "./ports.js";

export interface SystemOptions {
  readonly nodeId: string;
  readonly incarnation: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Without one, other nodes are unreachable. */
  readonly bus?: Bus;
  readonly onCrash?: (report: CrashReport) => void;
  /** At most one a second for each reason; `counters()` has them all. */
  readonly onDeadLetter?: (letter: DeadLetter) => void;
  readonly limits?: Partial<SystemLimits>;
}

export interface SystemLimits {
  /** An outbox that holds this much is flushed at once; 64 KiB. */
  readonly outboxBytesMax: number;
  /** To one node within one turn of the loop; what is more is a dead letter; 16 MiB. */
  readonly outboxTotalBytesMax: number;
  /** Messages in one turn of the loop, before I/O gets its chance; 2,048. */
  readonly loopBudget: number;
  /** Unanswered at one time; 100,000. */
  readonly asksMax: number;
  /** Pairs of watcher and watched; 100,000. */
  readonly watchesMax: number;
  /** Of one actor at one time; more is a bug; 4,096. */
  readonly timersPerActorMax: number;
}

export const DEFAULT_LIMITS: SystemLimits = {
  outboxBytesMax: 64 * 1_024,
  outboxTotalBytesMax: 16 * 1_024 * 1_024,
  loopBudget: 2_048,
  asksMax: 100_000,
  watchesMax: 100_000,
  timersPerActorMax: 4_096,
};
