/**
 * What could not be delivered: counted always, shown once a second for each
 * reason, so that a flood of them cannot become a flood of log lines.
 */
import type { Clock } from "../base/clock.js";
import type { Counters, DeadLetterReason } from "./counters.js";
import { messageType } from "./envelope.js";

export interface DeadLetter {
  readonly reason: DeadLetterReason;
  readonly address: string;
  readonly messageType: string;
  /** Dead letters of this reason that were counted and not shown since the last one shown. */
  readonly suppressed: number;
}

const SHOWN_EVERY_MS = 1_000;

export class DeadLetters {
  private readonly shown = new Map<DeadLetterReason, { atMs: number; total: number }>();

  constructor(
    private readonly clock: Clock,
    private readonly counters: Counters,
    private readonly show: ((letter: DeadLetter) => void) | undefined,
  ) {}

  /** `address` is computed only for those that are shown. */
  add(reason: DeadLetterReason, address: () => string, message: unknown): void {
    this.counters.deadLetters[reason]++;
    if (this.show === undefined) return;
    const nowMs = this.clock.monotonicMs();
    const total = this.counters.deadLetters[reason];
    const last = this.shown.get(reason);
    if (last !== undefined && nowMs - last.atMs < SHOWN_EVERY_MS) return;
    this.shown.set(reason, { atMs: nowMs, total });
    const suppressed = total - 1 - (last?.total ?? 0);
    this.show({ reason, address: address(), messageType: messageType(message), suppressed });
  }
}
