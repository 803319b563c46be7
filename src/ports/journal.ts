/**
 * Where the delivery journal lies: batches of packed steps (protocol/journal-batch), kept for
 * days within a bound of bytes. One contract suite (test/contract/journal.ts) for every driver.
 */
export interface JournalStore {
  /**
   * Resolves when the batch is kept. The same `id` again within two minutes is one batch.
   * Throws Fault, "not-done" or "unknown"; ends within some seconds whatever happens.
   */
  append(block: number, id: string, batch: Uint8Array): Promise<void>;
  /**
   * What the block holds that was appended at or after `part.fromMs`, oldest first, within the
   * bounds; `onBatch` returns false when it has seen enough. Throws Fault.
   */
  read(part: JournalPart, onBatch: (batch: StoredBatch) => boolean): Promise<JournalReading>;
}

export interface JournalPart {
  readonly block: number;
  /** Wall clock. */
  readonly fromMs: number;
  /** Reads no further than the batch that passes one of these. */
  readonly bytesMax: number;
  readonly deadlineMs: number;
}

export interface StoredBatch {
  readonly bytes: Uint8Array;
  /** When it was appended, by the store's clock. */
  readonly storedAtMs: number;
}

export interface JournalReading {
  readonly batches: number;
  readonly bytes: number;
  /** Why it ended: nothing more there, enough seen, or a bound was reached. */
  readonly end: "end" | "enough" | "bound";
}
