/** JournalStore in memory, for tests; bounded by the oldest batches leaving. */
import type { Clock } from "../base/clock.js";
import type { JournalPart, JournalReading, JournalStore, StoredBatch } from "../ports/journal.js";

const batchesMax = 10_000;

interface MemoryBatch extends StoredBatch {
  readonly block: number;
  readonly id: string;
}

export class MemoryJournal implements JournalStore {
  readonly batches: MemoryBatch[] = [];

  constructor(private readonly clock: Clock) {}

  async append(block: number, id: string, batch: Uint8Array): Promise<void> {
    if (this.batches.some((kept) => kept.id === id)) return;
    this.batches.push({ block, id, bytes: batch, storedAtMs: this.clock.wallMs() });
    if (this.batches.length > batchesMax) this.batches.shift();
  }

  async read(
    { block, fromMs, bytesMax }: JournalPart,
    onBatch: (batch: StoredBatch) => boolean,
  ): Promise<JournalReading> {
    let batches = 0;
    let bytes = 0;
    for (const batch of this.batches) {
      if (batch.block !== block || batch.storedAtMs < fromMs) continue;
      if (bytes >= bytesMax) return { batches, bytes, end: "bound" };
      batches += 1;
      bytes += batch.bytes.length;
      if (!onBatch(batch)) return { batches, bytes, end: "enough" };
    }
    return { batches, bytes, end: "end" };
  }
}
