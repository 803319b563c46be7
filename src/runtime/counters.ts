/** What one system has done since it was made; read by operators, never reset. */
export interface Counters {
  tellsLocal: number;
  tellsRemote: number;
  processed: number;
  spawned: number;
  stopped: number;
  passivated: number;
  crashes: number;
  restarts: number;
  /** Turns that outlived their stop deadline. */
  abandoned: number;
  asks: number;
  askTimeouts: number;
  askRefusals: number;
  batchesSent: number;
  batchesReceived: number;
  bytesSent: number;
  bytesReceived: number;
  /** Batches from the bus that are not msgpack of our shape. */
  garbage: number;
  unknownVersions: number;
  deadLetters: Record<DeadLetterReason, number>;
}

export const DEAD_LETTER_REASONS = [
  "no-such-actor",
  "stopped",
  "mailbox-full",
  "dropped-oldest",
  "dropped-newest",
  "expired",
  "unreachable",
  "outbox-full",
  "too-large",
  "unencodable",
] as const;

export type DeadLetterReason = (typeof DEAD_LETTER_REASONS)[number];

export function newCounters(): Counters {
  return {
    tellsLocal: 0,
    tellsRemote: 0,
    processed: 0,
    spawned: 0,
    stopped: 0,
    passivated: 0,
    crashes: 0,
    restarts: 0,
    abandoned: 0,
    asks: 0,
    askTimeouts: 0,
    askRefusals: 0,
    batchesSent: 0,
    batchesReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
    garbage: 0,
    unknownVersions: 0,
    deadLetters: Object.fromEntries(DEAD_LETTER_REASONS.map((reason) => [reason, 0])) as Record<
      DeadLetterReason,
      number
    >,
  };
}
