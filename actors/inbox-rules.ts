/** Which entries leave an inbox, and when to look. Pure. */

import type { EntrySummary } from "../src/ports/inbox-store.js";
import type { Target } from "../src/protocol/push-command.js";

export type DeliveryPolicy = "each-device" | "first-ack";

interface Cursor {
  readonly ackedSeq: number;
  isTargetOf(target: Target | undefined): boolean;
}

/** Behind `fromSeq`, up to `toSeq`. */
export interface AckedRange {
  readonly fromSeq: number;
  readonly toSeq: number;
}

/**
 * What an ack of `range` by `device` lets go: entries that it was sent in that range, and
 * that nobody else must still ack. Its cursor may be above the range by then: it also moves
 * over what has expired unsent, which expiry lets go, and says so. `first-ack`: nobody
 * else must. `each-device`: every other live device they are for must have passed them.
 *
 * Only what is acked now is looked at, so an entry never goes without having been
 * sent to somebody and acked, wherever cursors began.
 */
export function ackedEntries(
  entries: readonly EntrySummary[],
  devices: readonly Cursor[],
  device: Cursor,
  { fromSeq, toSeq }: AckedRange,
  policy: DeliveryPolicy,
): EntrySummary[] {
  const acked: EntrySummary[] = [];
  for (const entry of entries) {
    if (entry.seq > toSeq) break;
    if (entry.seq <= fromSeq || !device.isTargetOf(entry.target)) continue;
    const isWaitedFor =
      policy === "each-device" &&
      devices.some((other) => other.ackedSeq < entry.seq && other.isTargetOf(entry.target));
    if (!isWaitedFor) acked.push(entry);
  }
  return acked;
}

/**
 * What nobody needs any more once `removed` have left: those that stay have passed it, or it
 * was for none of them. A user without any device keeps all, for the first one that comes.
 */
export function abandonedEntries(
  entries: readonly EntrySummary[],
  removed: readonly Cursor[],
  devices: readonly Cursor[],
): EntrySummary[] {
  if (devices.length === 0) return [];
  return entries.filter((entry) => {
    const wasPinned = removed.some(
      (device) => device.ackedSeq < entry.seq && device.isTargetOf(entry.target),
    );
    const isNeeded = devices.some(
      (device) => device.ackedSeq < entry.seq && device.isTargetOf(entry.target),
    );
    return wasPinned && !isNeeded;
  });
}

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const finestBucketMs = 5_000;

/** `atMs` rounded up to a sixtieth of its span or so: late by that much, never early. */
export function dueBucketMs(atMs: number, spanMs: number): number {
  const bucketMs = spanMs < hourMs ? finestBucketMs : spanMs < 24 * hourMs ? minuteMs : hourMs;
  return Math.ceil(atMs / bucketMs) * bucketMs;
}

/**
 * When the devices are to be looked at: a due time that is told from all others, because the
 * next look follows from it, and one of a session is enough.
 */
export function lookBucketMs(atMs: number, spanMs: number): number {
  return dueBucketMs(atMs, spanMs) + 1;
}

export function isLook(dueMs: number): boolean {
  return dueMs % finestBucketMs === 1;
}
