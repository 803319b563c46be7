/**
 * An operator tells a user's clients to do something: each edge is asked to tell its own,
 * and says whether it could.
 */
import type { Directive } from "../src/protocol/directive.js";
import type { DirectConnection } from "../src/protocol/messages.js";
import type { SessionKey } from "../src/protocol/shards.js";
import type { Asker, AskResult } from "../src/runtime/envelope.js";
import type { Device } from "./device.js";

/** Asked of the session; answered with `Directed`. */
export interface DirectSession {
  readonly kind: "DirectSession";
  readonly key: SessionKey;
  /** All of the user's devices where absent. */
  readonly device?: string;
  readonly directive: Directive;
}

export interface Directed {
  /** Connections that the session knows of, and those whose edge says that it told them. */
  readonly connections: number;
  readonly told: number;
}

/** The session, as far as this needs it. */
export interface DirectingSession {
  readonly devices: readonly Device[];
  readonly presence: "connected" | "away" | "unknown";
  readonly mayServe: boolean;
  askEdge(edge: string, message: DirectConnection): Promise<AskResult<boolean>>;
}

/** Beside the session's other work, which does not wait for edges. */
export function direct(session: DirectingSession, order: DirectSession, from: Asker): void {
  const { key, device: wanted, directive } = order;
  const { mayServe, presence } = session;
  if (!mayServe || presence === "unknown") {
    from.refuse("NOT_READY", "who is connected is not known yet; ask again");
    return;
  }
  const asked = session.devices.flatMap(({ id, edge, connection }) => {
    if (edge === undefined || (wanted !== undefined && wanted !== id)) return [];
    return session.askEdge(edge, { kind: "DirectConnection", connection, key, directive });
  });
  void Promise.all(asked).then((answers) => {
    const told = answers.filter((answer) => answer.ok && answer.value).length;
    from.answer({ connections: asked.length, told } satisfies Directed);
  });
}
