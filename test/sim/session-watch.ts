/**
 * Lets the checks see what sessions tell edges, also those of the same node, whose
 * messages never cross the bus; and when pushes of a moving group belong to nobody alone.
 */
import { MoveOut } from "../../actors/move-out.js";
import { Session } from "../../actors/session.js";
import type { ToEdge } from "../../src/protocol/messages.js";
import type { SessionKey } from "../../src/protocol/shards.js";
import type { SimBus } from "./sim-bus.js";

export interface Told {
  /** The process that the session runs in. */
  readonly by: string;
  readonly key: SessionKey;
  /** Undefined when it serves no device on that connection. */
  readonly device: string | undefined;
  readonly message: ToEdge;
}

export interface ActorWatcher {
  onTold(told: Told): void;
  /** At `bus` its last word to the intake that what it holds is its own was said `sinceMs`. */
  onOverlapEnded(group: number, bus: SimBus, sinceMs: number): void;
}

/** Returns the way back. */
export function watchActors(nowMs: () => number, watcher: ActorWatcher): () => void {
  const { tellEdge } = Session.prototype;
  Session.prototype.tellEdge = function (this: Session, edge, message) {
    const { deliveries, context } = this as unknown as WatchedSession;
    const connection = "connection" in message ? message.connection : -1;
    const device = deliveries?.devices.find((one) => one.isServedOn({ edge, connection }));
    const by = (context.node.bus as SimBus).name;
    watcher.onTold({ by, key: this.sessionKey, device: device?.id, message });
    tellEdge.call(this, edge, message);
  };
  const moves = MoveOut.prototype as unknown as WatchedMove;
  const { onAnnounce, onOverlapEnded } = moves;
  const markedMs = new WeakMap<WatchedMove, number>();
  moves.onAnnounce = function (this: WatchedMove) {
    if (this.isAlone) markedMs.set(this, nowMs());
    return onAnnounce.call(this);
  };
  moves.onOverlapEnded = function (this: WatchedMove) {
    watcher.onOverlapEnded(this.leaving.group, this.node.bus as SimBus, markedMs.get(this) ?? 0);
    return onOverlapEnded.call(this);
  };
  return () => {
    Session.prototype.tellEdge = tellEdge;
    moves.onAnnounce = onAnnounce;
    moves.onOverlapEnded = onOverlapEnded;
  };
}

interface WatchedSession {
  readonly deliveries: { readonly devices: readonly WatchedDevice[] } | undefined;
  readonly context: { readonly node: { readonly bus: unknown } };
}

interface WatchedDevice {
  readonly id: string;
  isServedOn(ref: { edge: string | undefined; connection: number }): boolean;
}

interface WatchedMove {
  readonly node: { readonly bus: unknown };
  readonly leaving: { readonly group: number };
  readonly isAlone: boolean;
  onAnnounce(): Promise<void>;
  onOverlapEnded(): Promise<void>;
}
