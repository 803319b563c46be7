/**
 * How long a device lives without being seen, so that an abandoned browser pins nothing.
 * Pure.
 *
 *   connected ──▶ looked at daily: seen now        away ──▶ looked at when its time is up
 *
 * A session that has devices has the time of its next look stored among its due times: it
 * is kept also when nobody attaches any more, and by whoever owns the shard then.
 */
import type { Device } from "./device.js";
import type { Limits } from "./limits.js";

/** Unseen for too long; nobody who is connected. */
export function retiredDevices<Seen extends Pick<Device, "isConnected" | "seenAtMs">>(
  devices: readonly Seen[],
  nowMs: number,
  { deviceUnseenMs }: Limits,
): Seen[] {
  return devices.filter(
    (device) => !device.isConnected && nowMs - device.seenAtMs >= deviceUnseenMs,
  );
}

/** When to look next, and how long that was known before; undefined where there are no devices. */
export function nextLook(
  devices: readonly Pick<Device, "isConnected" | "seenAtMs">[],
  nowMs: number,
  { deviceUnseenMs, deviceSeenEveryMs }: Limits,
): { readonly atMs: number; readonly spanMs: number } | undefined {
  if (devices.length === 0) return undefined;
  let atMs = Number.POSITIVE_INFINITY;
  for (const { isConnected, seenAtMs } of devices) {
    atMs = Math.min(atMs, isConnected ? nowMs + deviceSeenEveryMs : seenAtMs + deviceUnseenMs);
  }
  return { atMs, spanMs: deviceSeenEveryMs };
}
