/**
 * A new owner's calls to the edges to attach their connections of its shards again:
 * repeated until each edge has confirmed, for it may be off the bus for a moment.
 *
 * Until all have, and had the time to attach them at their pace, or a grace has passed,
 * nobody who is not connected counts as away.
 */
import type { Clock } from "../src/base/clock.js";
import type { AttachAgain } from "../src/protocol/messages.js";
import type { Shard } from "../src/protocol/shards.js";
import type { Address } from "../src/runtime/address.js";
import type { AskResult } from "../src/runtime/envelope.js";
import type { Limits } from "./limits.js";

/** Whether the edges have had their say about who is connected. */
export interface PresenceKnown {
  readonly isKnown: boolean;
}

type Ask = (edge: Address, message: AttachAgain) => Promise<AskResult<unknown>>;

export class AttachCalls implements PresenceKnown {
  private readonly unconfirmed = new Set<Address>();
  /** The first call of those that are open, and the last confirmation. */
  private calledMs: number;
  private confirmedMs: number;

  /** `onConfirmed` is called between turns; what it tells comes back by `delete`. */
  constructor(
    private readonly ask: Ask,
    private readonly onConfirmed: (edge: Address) => void,
    private readonly clock: Clock,
    private readonly limits: Limits,
  ) {
    this.calledMs = clock.monotonicMs();
    this.confirmedMs = this.calledMs;
  }

  add(edge: Address): void {
    if (this.unconfirmed.size === 0) this.calledMs = this.clock.monotonicMs();
    this.unconfirmed.add(edge);
  }

  delete(edge: Address): void {
    if (this.unconfirmed.delete(edge)) this.confirmedMs = this.clock.monotonicMs();
  }

  get isKnown(): boolean {
    const { attachedWithinMs, presenceGraceMs } = this.limits;
    const nowMs = this.clock.monotonicMs();
    if (this.unconfirmed.size > 0) return nowMs - this.calledMs >= presenceGraceMs;
    return nowMs - this.confirmedMs >= attachedWithinMs;
  }

  send(shards: readonly Shard[]): void {
    for (const edge of this.unconfirmed) {
      this.ask(edge, { kind: "AttachAgain", shards }).then((answer) => {
        if (answer.ok) this.onConfirmed(edge);
      });
    }
  }
}
