/**
 * How far apart heartbeats may be on one type of network: grown while a silence of that
 * length is borne, shrunk after one that was not. Pure; docs/client-vectors.json has it in
 * steps for clients in other languages.
 */

export interface HeartbeatLimits {
  readonly minMs: number;
  readonly maxMs: number;
  /** While somebody looks at the app, who wants to know soon that the link is dead. */
  readonly frontMaxMs: number;
}

export const heartbeatLimits: HeartbeatLimits = {
  minMs: 15_000,
  maxMs: 240_000,
  frontMaxMs: 60_000,
};

/** What is known of one type of network. */
export interface HeartbeatMemory {
  /** The interval to ask for; absent: the edge's own. */
  readonly wantedMs?: number;
  /** The longest silence that the link bore, and the shortest that it did not. */
  readonly borneMs?: number;
  readonly lostMs?: number;
  /** When that was, by the wall clock. */
  readonly lostAtMs?: number;
  /** Silences in a row that were borne at the present interval. */
  readonly borneInARow: number;
  /** Silences in a row that were not. */
  readonly lostInARow: number;
}

export const nothingKnown: HeartbeatMemory = { borneInARow: 0, lostInARow: 0 };

/** So many silences have to be borne before a longer one is tried. */
const borneUntilGrown = 5;
const growth = 1.5;
/** Of the shortest silence that was not borne: nearer is not tried. */
const margin = 0.8;
/** Then a loss is forgotten: networks change. */
const lossKeptMs = 24 * 3_600_000;

/** A heartbeat came after a whole silence of `intervalMs`. */
export function afterBorne(
  memory: HeartbeatMemory,
  intervalMs: number,
  wallMs: number,
  { maxMs }: HeartbeatLimits,
): HeartbeatMemory {
  const { wantedMs, ...known } = forgetOldLoss(memory, wallMs);
  const borneInARow = known.borneInARow + 1;
  const borneMs = Math.max(known.borneMs ?? 0, intervalMs);
  const borne = { ...known, borneMs, borneInARow, lostInARow: 0 };
  if (borneInARow < borneUntilGrown) return wantedMs === undefined ? borne : { ...borne, wantedMs };
  const boundMs = Math.min(maxMs, (known.lostMs ?? Number.POSITIVE_INFINITY) * margin);
  const grownMs = Math.max(intervalMs, Math.floor(Math.min(intervalMs * growth, boundMs)));
  return { ...borne, wantedMs: Math.max(grownMs, wantedMs ?? 0), borneInARow: 0 };
}

/** The edge fell silent at `intervalMs`, and the network is there. */
export function afterSilence(
  memory: HeartbeatMemory,
  intervalMs: number,
  wallMs: number,
  { minMs }: HeartbeatLimits,
): HeartbeatMemory {
  const { borneMs, lostMs } = forgetOldLoss(memory, wallMs);
  // One loss of what was borne before may be the edge's end, or a tunnel.
  if (borneMs !== undefined && borneMs >= intervalMs && memory.lostInARow === 0) {
    return { ...memory, borneInARow: 0, lostInARow: 1 };
  }
  const isBelow = borneMs !== undefined && borneMs < intervalMs;
  const shrunkMs = Math.max(minMs, Math.floor(isBelow ? borneMs : intervalMs / 2));
  return {
    wantedMs: Math.min(shrunkMs, Math.max(minMs, intervalMs)),
    lostMs: Math.min(lostMs ?? intervalMs, intervalMs),
    lostAtMs: wallMs,
    borneInARow: 0,
    lostInARow: memory.lostInARow + 1,
    // What was borne once and is not any more was borne by another network of this type.
    ...(isBelow ? { borneMs } : {}),
  };
}

/** What to ask an edge for; undefined: whatever it does by itself. */
export function wantedHeartbeatMs(
  { wantedMs }: HeartbeatMemory,
  isInFront: boolean,
  { minMs, maxMs, frontMaxMs }: HeartbeatLimits,
): number | undefined {
  if (wantedMs === undefined) return undefined;
  return Math.max(minMs, Math.min(wantedMs, isInFront ? frontMaxMs : maxMs));
}

function forgetOldLoss(memory: HeartbeatMemory, wallMs: number): HeartbeatMemory {
  const { lostAtMs } = memory;
  if (lostAtMs === undefined) return memory;
  if (wallMs >= lostAtMs && wallMs - lostAtMs < lossKeptMs) return memory;
  const { lostMs: _lost, lostAtMs: _at, ...rest } = memory;
  return rest;
}
