/**
 * A new owner's calls to the edges to attach their connections of its shards again:
 * repeated until each edge has confirmed, for it may be off the bus for a moment.
 */
import type { AttachAgain } from "../src/protocol/messages.js";
import type { Shard } from "../src/protocol/shards.js";
import type { Address } from "../src/runtime/address.js";
import type { AskResult } from "../src/runtime/envelope.js";

type Ask = (edge: Address, message: AttachAgain) => Promise<AskResult<unknown>>;

export class AttachCalls {
  private readonly unconfirmed = new Set<Address>();

  /** `onConfirmed` is called between turns; what it tells comes back by `delete`. */
  constructor(
    private readonly ask: Ask,
    private readonly onConfirmed: (edge: Address) => void,
  ) {}

  add(edge: Address): void {
    this.unconfirmed.add(edge);
  }

  delete(edge: Address): void {
    this.unconfirmed.delete(edge);
  }

  send(shards: readonly Shard[]): void {
    for (const edge of this.unconfirmed) {
      this.ask(edge, { kind: "AttachAgain", shards }).then((answer) => {
        if (answer.ok) this.onConfirmed(edge);
      });
    }
  }
}
