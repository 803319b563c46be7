/** Which entries leave an inbox, and when to look. Pure. */
import type { EntrySummary } from "../src/ports/inbox-store.js";

interface Cursor {
  readonly ackedSeq: number;
}

/**
 * The entries that nobody needs any more. `each-device`: acked by all live devices;
 * `first-ack`: by any. Without devices nothing goes: nobody has acked it.
 */
export function trimmableSeqs(
  entries: readonly EntrySummary[],
  devices: readonly Cursor[],
  policy: "each-device" | "first-ack",
): number[] {
  if (devices.length === 0) return [];
  const cursors = devices.map((device) => device.ackedSeq);
  const through = policy === "each-device" ? Math.min(...cursors) : Math.max(...cursors);
  const seqs: number[] = [];
  for (const entry of entries) {
    if (entry.seq > through) break;
    seqs.push(entry.seq);
  }
  return seqs;
}

export function expiredAt(entries: readonly EntrySummary[], nowMs: number): number[] {
  return entries.filter((entry) => entry.expiresAtMs <= nowMs).map((entry) => entry.seq);
}

const minuteMs = 60_000;

/** `atMs` rounded up to a sixtieth of its span or so: late by that much, never early. */
export function dueBucketMs(atMs: number, spanMs: number): number {
  const bucketMs =
    spanMs < 60 * minuteMs ? 5_000 : spanMs < 1_440 * minuteMs ? minuteMs : 3_600_000;
  return Math.ceil(atMs / bucketMs) * bucketMs;
}
