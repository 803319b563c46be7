/** What every JournalStore keeps, whatever it is made of (src/ports/journal.ts). */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { JournalReading, JournalStore } from "../../src/ports/journal.js";
import { until } from "../support/until.js";

export interface JournalFixture {
  readonly store: JournalStore;
  dispose(): Promise<void>;
}

export function journalContract(name: string, make: () => Promise<JournalFixture>): void {
  describe(`journal store: ${name}`, () => {
    let fixture: JournalFixture;
    before(async () => {
      fixture = await make();
    });
    after(() => fixture?.dispose());

    const bounds = { fromMs: 0, bytesMax: 2 ** 20, deadlineMs: 10_000 };
    async function read(
      block: number,
      changes: Partial<typeof bounds> = {},
      batchesMax = Number.POSITIVE_INFINITY,
    ): Promise<{ seen: string[]; times: number[]; reading: JournalReading }> {
      const seen: string[] = [];
      const times: number[] = [];
      const reading = await fixture.store.read(
        { block, ...bounds, ...changes },
        ({ bytes, storedAtMs }) => {
          seen.push(Buffer.from(bytes).toString());
          times.push(storedAtMs);
          return seen.length < batchesMax;
        },
      );
      return { seen, times, reading };
    }
    /** Whoever reads on a cluster may stand a moment behind what was kept. */
    const readAll = (
      block: number,
      batches: number,
      changes: Partial<typeof bounds> = {},
      batchesMax?: number,
    ) =>
      until(`${batches} are read of ${block}`, async () => {
        const all = await read(block, changes, batchesMax);
        return all.seen.length >= batches && all;
      });
    const append = (block: number, text: string, id = `${block}.${text}`) =>
      fixture.store.append(block, id, Buffer.from(text));

    test("reads a block's batches in the order they were kept in, and no other's", async () => {
      await append(1, "a");
      await append(2, "other");
      await append(1, "b");
      const { seen, reading } = await readAll(1, 2);
      assert.deepEqual(seen, ["a", "b"]);
      assert.deepEqual(reading, { batches: 2, bytes: 2, end: "end" });
    });

    test("reads nothing of a block that has nothing", async () => {
      assert.deepEqual((await read(63)).reading, { batches: 0, bytes: 0, end: "end" });
    });

    test("keeps a batch once, however often it comes under its id", async () => {
      await append(3, "a", "same");
      await append(3, "a", "same");
      await append(3, "b");
      assert.deepEqual((await readAll(3, 2)).seen, ["a", "b"]);
    });

    test("reads from a moment on", async () => {
      await append(4, "before");
      const { times } = await readAll(4, 1);
      const fromMs = (times[0] ?? 0) + 1;
      while (Date.now() < fromMs) await new Promise((resolve) => setImmediate(resolve));
      await append(4, "after");
      assert.deepEqual((await readAll(4, 1, { fromMs })).seen, ["after"]);
    });

    test("ends when its reader has seen enough, or a bound of bytes is passed", async () => {
      for (const text of ["aaaa", "bbbb", "cccc"]) await append(5, text);
      const enough = await readAll(5, 2, {}, 2);
      assert.deepEqual(enough.seen, ["aaaa", "bbbb"]);
      assert.equal(enough.reading.end, "enough");
      const bound = await readAll(5, 2, { bytesMax: 6 });
      assert.deepEqual(bound.seen, ["aaaa", "bbbb"]);
      assert.equal(bound.reading.end, "bound");
    });

    test("reads more batches than it fetches at a time", async () => {
      const texts = Array.from({ length: 150 }, (_, number) => String(number));
      await Promise.all(texts.map((text) => append(6, text)));
      const { seen } = await readAll(6, texts.length);
      assert.deepEqual([...seen].sort(), [...texts].sort());
    });
  });
}
