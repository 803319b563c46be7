/**
 * How often an edge asks whether a client is there, and how long it may be silent. Pure.
 *
 * The client's own wish counts within the bounds: it knows what its network bears. Of one
 * that has none it counts what it is connected by, and whether somebody looks at the app,
 * who wants to know soon that the link is dead.
 */
import type { ClientNetwork, ClientSurroundings } from "../src/protocol/client-surroundings.js";

export interface HeartbeatRules {
  /** Of a client that says nothing of its network. */
  readonly plainMs: number;
  readonly networkMs: Readonly<Record<ClientNetwork, number>>;
  /** At most so long while somebody looks at the app, unless the client asks for more. */
  readonly frontMs: number;
  readonly bounds: HeartbeatBounds;
}

/** What is granted lies between them; what an operator says for one user need not. */
export interface HeartbeatBounds {
  readonly minMs: number;
  readonly maxMs: number;
}

/** A peer that moves fewer bytes in a second counts as silent. */
const movedBytesPerSecond = 1_024;

export function grantedHeartbeatMs(
  { network, heartbeatMs, app }: ClientSurroundings,
  { plainMs, networkMs, frontMs, bounds }: HeartbeatRules,
): number {
  if (heartbeatMs !== undefined) return within(heartbeatMs, bounds);
  if (network === undefined) return within(plainMs, bounds);
  const idleMs = networkMs[network];
  return within(app === "background" ? idleMs : Math.min(idleMs, frontMs), bounds);
}

export function within(ms: number, { minMs, maxMs }: HeartbeatBounds): number {
  return Math.max(minMs, Math.min(ms, maxMs));
}

/**
 * A frame in transit puts the deadline off by its length: `movedBytes` went either way
 * since the peer was last heard, each KiB is worth a second. Who dribbles falls behind.
 */
export function putOffMs(movedBytes: number, bytesMax: number): number {
  const counted = Math.max(0, Math.min(movedBytes, bytesMax));
  return (counted * 1_000) / movedBytesPerSecond;
}
