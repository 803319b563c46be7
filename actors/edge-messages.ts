/** What an edge, its connections and the sessions bound to them say to each other. */
import type { ConnectionId } from "../src/ports/edge-transport.js";
import type { CloseName } from "../src/protocol/close-codes.js";
import type { ClientFrame } from "../src/protocol/frames.js";

/** To a connection, and from it to the session that the frame is of. */
export interface ReceiveFrame {
  readonly kind: "ReceiveFrame";
  readonly frame: ClientFrame;
}

/** From the edge: its turn to attach. */
export interface AttachTick {
  readonly kind: "AttachTick";
}

/**
 * A connection's own timer, and from it to its further sessions: their sessions are to be told
 * whether somebody looks at the app.
 */
export interface AppStateTick {
  readonly kind: "AppStateTick";
}

/** To a connection: a session beside its first one cannot go on. */
export interface SessionEnded {
  readonly kind: "SessionEnded";
  readonly number: ConnectionId;
  readonly close: CloseName;
  readonly reason?: string;
}

/** To a connection: its socket is gone. To a further session: its connection has let it go. */
export interface Closed {
  readonly kind: "Closed";
}
