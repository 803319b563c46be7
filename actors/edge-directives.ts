/**
 * What single clients of an edge are told to do, by an operator's word; who was told to go
 * and is still there a while after that is closed.
 *
 *   told ──(reconnect, kick)──▶ leaving ──leaves by itself──▶ gone
 *                                  └── moveWithinMs ── GOING_AWAY, KICKED ─▶ gone
 *
 * A drain's directives are its own: they have a pace (edge-drain).
 */
import type { ConnectionId } from "../src/ports/edge-transport.js";
import type { CloseName } from "../src/protocol/close-codes.js";
import { type Directive, directiveSpreadMsMax } from "../src/protocol/directive.js";
import { directiveFrame, encodeFrame } from "../src/protocol/frames.js";
import type { EdgeContext } from "./edge-context.js";

interface Leaving {
  readonly byMs: number;
  readonly close: CloseName;
  readonly reason?: string;
}

export class EdgeDirectives {
  /** They leave it as they leave the edge, so connections bound it. */
  private readonly leaving = new Map<ConnectionId, Leaving>();
  private toldCount = 0;
  private overdueCount = 0;

  constructor(private readonly edge: EdgeContext) {}

  /** False where nobody is there to be told. */
  carryOut(connection: ConnectionId, directive: Directive): boolean {
    const { edge } = this;
    if (!edge.isGreeted(connection)) return false;
    if (directive.do === "heartbeat") edge.heartbeats.order(connection, directive.heartbeatMs);
    edge.send(connection, encodeFrame(directiveFrame(directive), edge.isText(connection)));
    this.toldCount++;
    this.expectToLeave(connection, directive);
    return true;
  }

  private expectToLeave(connection: ConnectionId, directive: Directive): void {
    const { clock, limits } = this.edge.node;
    const nowMs = clock.monotonicMs();
    if (directive.do === "kick") {
      const byMs = nowMs + limits.moveWithinMs;
      this.leaving.set(connection, { byMs, close: "KICKED", reason: directive.reason });
    } else if (directive.do === "reconnect") {
      // Who is kicked stays so: it must not come back by being told to move as well.
      if (this.leaving.get(connection)?.close === "KICKED") return;
      const spreadMs = Math.min(directive.spreadMs ?? 0, directiveSpreadMsMax);
      const byMs = nowMs + spreadMs + limits.moveWithinMs;
      this.leaving.set(connection, { byMs, close: "GOING_AWAY" });
    }
  }

  forget(connection: ConnectionId): void {
    this.leaving.delete(connection);
  }

  /** Every second: who is overdue is closed. */
  sweep(): void {
    const nowMs = this.edge.node.clock.monotonicMs();
    for (const [connection, { byMs, close, reason }] of this.leaving) {
      if (nowMs < byMs) continue;
      this.leaving.delete(connection);
      this.overdueCount++;
      this.edge.close(connection, close, reason);
    }
  }

  inspect(): Record<string, unknown> {
    return { told: this.toldCount, leaving: this.leaving.size, overdue: this.overdueCount };
  }
}
