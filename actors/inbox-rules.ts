/** Which entries leave an inbox, and when to look. Pure. */
import type { EntrySummary } from "../src/ports/inbox-store.js";

export type DeliveryPolicy = "each-device" | "first-ack";

interface Cursor {
  readonly ackedSeq: number;
}

/**
 * How many leading entries nobody needs any more. `each-device`: acked by all live
 * devices; `first-ack`: by any. Without devices none: nobody has acked them.
 */
export function countTrimmable(
  entries: readonly EntrySummary[],
  devices: readonly Cursor[],
  policy: DeliveryPolicy,
): number {
  if (devices.length === 0) return 0;
  let through = devices[0]?.ackedSeq ?? 0;
  for (const { ackedSeq } of devices) {
    through = policy === "each-device" ? Math.min(through, ackedSeq) : Math.max(through, ackedSeq);
  }
  let count = 0;
  while (count < entries.length && (entries[count]?.seq ?? 0) <= through) count++;
  return count;
}

const minuteMs = 60_000;

/** `atMs` rounded up to a sixtieth of its span or so: late by that much, never early. */
export function dueBucketMs(atMs: number, spanMs: number): number {
  const bucketMs =
    spanMs < 60 * minuteMs ? 5_000 : spanMs < 1_440 * minuteMs ? minuteMs : 3_600_000;
  return Math.ceil(atMs / bucketMs) * bucketMs;
}
