/**
 * A session bound to a connection beside its first one: on the wire it has that connection's
 * socket and an index of its own; to owners it is a connection with a number of its own.
 * It ends with the connection, which tells it so, or before.
 */
import type { ConnectionId } from "../src/ports/edge-transport.js";
import type { CloseName } from "../src/protocol/close-codes.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { type BoundMessage, BoundSession } from "./bound-session.js";
import type { EdgeContext } from "./edge-context.js";
import type { Closed } from "./edge-messages.js";
import type { FurtherSession as Described } from "./further-sessions.js";

const boundKind: ActorKind = {
  name: "bound-session",
  mailbox: { max: 1_024, onFull: "reject" },
  restart: "temporary",
};

export class FurtherSession extends BoundSession<Closed> {
  constructor(
    edge: EdgeContext,
    private readonly described: Described,
  ) {
    super(edge);
    this.sessionIs(described.key, described.device, described.options);
  }

  get kind(): ActorKind {
    return boundKind;
  }

  get carrier(): ConnectionId {
    return this.described.carrier;
  }

  /** Also where it is the last one left: it is ended, and then the connection closed. */
  get isOneOfSeveral(): boolean {
    return true;
  }

  protected get index(): number {
    return this.described.index;
  }

  protected override stopping(): void {
    this.detach();
  }

  /** Let go: what the client said before is heard, and nothing is said to it any more. */
  receive(message: BoundMessage | Closed): void {
    const isOver = this.edge.further.isOver(this.id);
    if (message.kind === "Closed") this.stopSelf();
    else if (!isOver || message.kind === "ReceiveFrame") this.onBoundMessage(message);
  }

  protected end(close: CloseName, reason?: string): void {
    this.leave();
    this.edge.tellEnded(this.id, close, reason);
  }

  override inspect(): Record<string, unknown> {
    return { ...super.inspect(), connection: this.carrier, index: this.index };
  }
}
