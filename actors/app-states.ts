/** Whether somebody looks at the apps: of a user's devices, and of an edge's connections. */
import { type ConnectionId, slotOf } from "../src/ports/edge-transport.js";
import type { ClientAppState } from "../src/protocol/client-surroundings.js";

export const tellAgainMs = 2_000;
const states = [undefined, "front", "background"] as const;

/**
 * Of an edge: what each connection's client said last, for its attaches to come, and what of it
 * its session was told. Each change is told twice, `tellAgainMs` apart, for the way there may
 * lose one; who changes meanwhile is told as it stands then, so a client that flips costs the
 * bus no more than that.
 */
export class AppStates {
  private readonly codes: Uint8Array;
  private readonly toldCodes: Uint8Array;

  constructor(slots: number) {
    this.codes = new Uint8Array(slots);
    this.toldCodes = new Uint8Array(slots);
  }

  open(connection: ConnectionId): void {
    const slot = slotOf(connection);
    this.codes[slot] = 0;
    this.toldCodes[slot] = 0;
  }

  /** True where the session is to be told now, and `tellAgain` to be called in `tellAgainMs`. */
  beginTelling(connection: ConnectionId): boolean {
    const slot = slotOf(connection);
    if (this.toldCodes[slot] !== 0) return false;
    this.toldCodes[slot] = this.codes[slot] ?? 0;
    return true;
  }

  /** The session is to be told once more; true where that is news, and once more after that. */
  tellAgain(connection: ConnectionId): boolean {
    const slot = slotOf(connection);
    const isNews = this.codes[slot] !== this.toldCodes[slot];
    this.toldCodes[slot] = isNews ? (this.codes[slot] ?? 0) : 0;
    return isNews;
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
