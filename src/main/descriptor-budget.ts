/**
 * How many clients this process has descriptors for. The bound of connections is kept
 * below the process's own, so that logs, stores and the bus never want for one; what is
 * between the two is for handshakes, refusals and health.
 */
import { readFileSync } from "node:fs";

export interface SocketBudget {
  readonly connectionsMax: number;
  /** One socket more is dropped as it comes. */
  readonly socketsMax: number;
}

/** For volumes, databases, the bus, logs; of a small process a quarter. */
const reserved = 512;
const reservedPart = 1 / 4;
/** Beside the connections. */
const spareSockets = 2_000;
const sparePartMin = 1 / 20;

/** `descriptorsMax`: undefined where the system does not say. */
export function socketBudget(
  connectionsWanted: number,
  descriptorsMax: number | undefined,
): SocketBudget {
  if (descriptorsMax === undefined) {
    return { connectionsMax: connectionsWanted, socketsMax: connectionsWanted + spareSockets };
  }
  const available = descriptorsMax - Math.min(reserved, Math.ceil(descriptorsMax * reservedPart));
  const spareMin = Math.ceil(available * sparePartMin);
  const connectionsMax = Math.max(1, Math.min(connectionsWanted, available - spareMin));
  const spare = Math.min(spareSockets, available - connectionsMax);
  return { connectionsMax, socketsMax: connectionsMax + spare };
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
