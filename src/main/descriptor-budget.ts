/**
 * How many clients this process has descriptors for. The bound of connections is kept
 * below the process's own, so that logs, stores and the bus never want for one; what is
 * between the two is for handshakes, refusals and health. Handshakes are bounded within
 * it, and plain requests: where sockets were dropped first, who waits longest would never
 * have to give way.
 */
import { readFileSync } from "node:fs";

export interface SocketBudget {
  readonly connectionsMax: number;
  /** One socket more is dropped as it comes. */
  readonly socketsMax: number;
  /** Under way at once beyond what connections leave room for. */
  readonly handshakesMax: number;
  /** Sockets of plain requests at once. */
  readonly askingMax: number;
}

/** For volumes, databases, the bus, logs; of a small process a quarter. */
const reserved = 512;
const reservedPart = 1 / 4;
/** Beside the connections. */
const spareSockets = 2_000;
const sparePartMin = 1 / 20;
const spareSocketsMin = 3;
/** Of the spare sockets; the others are for refusals and what is being closed. */
const handshakesPart = 1 / 2;
const askingPart = 1 / 4;

/** `descriptorsMax`: undefined where the system does not say. */
export function socketBudget(
  wanted: Pick<SocketBudget, "connectionsMax" | "handshakesMax" | "askingMax">,
  descriptorsMax: number | undefined,
): SocketBudget {
  if (descriptorsMax === undefined) return withSpare(wanted.connectionsMax, spareSockets);
  const available = descriptorsMax - Math.min(reserved, Math.ceil(descriptorsMax * reservedPart));
  const spareMin = Math.max(spareSocketsMin, Math.ceil(available * sparePartMin));
  const connectionsMax = Math.max(1, Math.min(wanted.connectionsMax, available - spareMin));
  return withSpare(connectionsMax, Math.min(spareSockets, available - connectionsMax));

  function withSpare(connectionsMax: number, spare: number): SocketBudget {
    const partOf = (part: number) => Math.max(1, Math.floor(spare * part));
    return {
      connectionsMax,
      socketsMax: connectionsMax + spare,
      handshakesMax: Math.min(wanted.handshakesMax, partOf(handshakesPart)),
      askingMax: Math.min(wanted.askingMax, partOf(askingPart)),
    };
  }
}

/** Linux alone says it without a report of everything; Node has raised it as far as it may. */
export function descriptorsMax(): number | undefined {
  try {
    const [, soft] =
      /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}
