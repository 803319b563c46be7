/**
 * What a client says of what is around it, in `hello` and in `tell`: what it is connected
 * by, how often it wants to be asked whether it is there, whether somebody looks at its app.
 */
import { isSequence } from "./position.js";

const networks = ["wifi", "cellular", "ethernet"] as const;

export type ClientNetwork = (typeof networks)[number];
export type ClientAppState = "front" | "background";

export interface ClientSurroundings {
  /** Absent also where the client knows of a kind that this release does not. */
  readonly network?: ClientNetwork;
  /** The interval of heartbeats that it asks for. */
  readonly heartbeatMs?: number;
  /** Absent: it does not say, and counts as looked at. */
  readonly app?: ClientAppState;
}

/** Undefined where a field has the wrong type. */
export function readSurroundings(
  map: Readonly<Record<string, unknown>>,
): ClientSurroundings | undefined {
  const { network, heartbeatMs, app } = map;
  if (network !== undefined && typeof network !== "string") return undefined;
  if (heartbeatMs !== undefined && !isSequence(heartbeatMs)) return undefined;
  if (app !== undefined && app !== "front" && app !== "background") return undefined;
  const known = networks.find((name) => name === network);
  return {
    ...(known === undefined ? {} : { network: known }),
    ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
    ...(app === undefined ? {} : { app }),
  };
}
