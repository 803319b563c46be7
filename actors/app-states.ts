/** Whether somebody looks at the apps: of a user's devices, and of an edge's connections. */
import { type ConnectionId, slotOf } from "../src/ports/edge-transport.js";
import type { ClientAppState } from "../src/protocol/client-surroundings.js";

const states = [undefined, "front", "background"] as const;

/** For the attaches to come: what each connection's client said last, a byte a slot. */
export class AppStates {
  private readonly codes: Uint8Array;

  constructor(slots: number) {
    this.codes = new Uint8Array(slots);
  }

  open(connection: ConnectionId): void {
    this.codes[slotOf(connection)] = 0;
  }

  /** Undefined where the client never said. */
  of(connection: ConnectionId): ClientAppState | undefined {
    return states[this.codes[slotOf(connection)] ?? 0];
  }

  /** True where that is new. */
  note(connection: ConnectionId, app: ClientAppState): boolean {
    if (this.of(connection) === app) return false;
    this.codes[slotOf(connection)] = states.indexOf(app);
    return true;
  }
}

interface Looked {
  readonly isConnected: boolean;
  readonly app: ClientAppState | undefined;
}

/**
 * In front when any device is, where one that does not say counts as such (docs/protocol.md);
 * undefined while none that is connected says anything.
 */
export function appStateOf(devices: readonly Looked[]): ClientAppState | undefined {
  let isSaid = false;
  let isInFront = false;
  for (const { isConnected, app } of devices) {
    if (!isConnected) continue;
    isSaid ||= app !== undefined;
    isInFront ||= app !== "background";
  }
  if (!isSaid) return undefined;
  return isInFront ? "front" : "background";
}
