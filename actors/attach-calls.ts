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
  /** Since when each has been called. */
  private readonly unconfirmed = new Map<Address, number>();
  /** The last confirmation. */
  private confirmedMs: number;

  /** `onConfirmed` is called between turns; what it tells comes back by `delete`. */
  constructor(
    private readonly ask: Ask,
    private readonly onConfirmed: (edge: Address) => void,
    private readonly clock: Clock,
    private readonly limits: Limits,
  ) {
    this.confirmedMs = clock.monotonicMs();
  }

  add(edge: Address): void {
    if (!this.unconfirmed.has(edge)) this.unconfirmed.set(edge, this.clock.monotonicMs());
  }

  delete(edge: Address): void {
    if (this.unconfirmed.delete(edge)) this.confirmedMs = this.clock.monotonicMs();
  }

  get isKnown(): boolean {
    const { attachedWithinMs, presenceGraceMs } = this.limits;
    const nowMs = this.clock.monotonicMs();
    for (const calledMs of this.unconfirmed.values()) {
      if (nowMs - calledMs < presenceGraceMs) return false;
    }
    return nowMs - this.confirmedMs >= attachedWithinMs;
  }

  send(shards: readonly Shard[]): void {
    for (const edge of this.unconfirmed.keys()) {
      this.ask(edge, { kind: "AttachAgain", shards }).then((answer) => {
        if (answer.ok) this.onConfirmed(edge);
      });
    }
  }
}
