/**
 * Which device an attach belongs to, and which must leave for it. Pure but for the
 * new device it makes.
 */

import type { Start } from "../src/protocol/frames.js";
import type { Attach } from "../src/protocol/messages.js";
import { Device } from "./device.js";
import type { Inbox } from "./inbox.js";
import type { NodeContext } from "./node-context.js";

export type DeviceAdmission =
  | { readonly kind: "outdated" }
  | {
      readonly kind: "admitted";
      readonly device: Device;
      readonly isNew: boolean;
      readonly removed: readonly Device[];
    };

/** A lower connect counter than the device's is a connection that was replaced meanwhile. */
export function admitDevice(
  devices: readonly Device[],
  attach: Attach,
  inbox: Inbox,
  node: NodeContext,
): DeviceAdmission {
  const nowMs = node.clock.wallMs();
  const known = devices.find((device) => device.id === attach.device);
  if (known !== undefined) {
    if (attach.connect < known.connect) return { kind: "outdated" };
    return { kind: "admitted", device: known, isNew: false, removed: [] };
  }
  const device = new Device({
    id: attach.device,
    platform: attach.platform,
    connect: attach.connect,
    ackedSeq: startSeq(attach, inbox),
    seenAtMs: nowMs,
  });
  return { kind: "admitted", device, isNew: true, removed: retired(devices, nowMs, node) };
}

/** Devices unseen for too long, and the oldest ones beyond the bound. */
function retired(devices: readonly Device[], nowMs: number, node: NodeContext): Device[] {
  const { devicesMax, deviceUnseenMs } = node.limits;
  const byAge = [...devices].sort(
    (a, b) => Number(a.isConnected) - Number(b.isConnected) || a.seenAtMs - b.seenAtMs,
  );
  const unseen = byAge.filter(
    (device) => !device.isConnected && nowMs - device.seenAtMs > deviceUnseenMs,
  );
  const left = byAge.filter((device) => !unseen.includes(device));
  return [...unseen, ...left.slice(0, Math.max(0, left.length - devicesMax + 1))];
}

/**
 * A device that this store does not know, with positions of another timeline: it was here
 * before the store was restored, or lost, and may have missed anything since. Else never
 * above what is on disk, and never above what the device says it was sent: it may
 * be known from an attach whose commit failed.
 */
function startSeq({ start, sent, taken }: Attach, inbox: Inbox): number {
  if (taken !== undefined && taken.generation !== inbox.generation) return 0;
  const positions = [sent, taken].filter((position) => position && inbox.covers(position));
  const seqs = positions.map((position) => position?.seq ?? 0);
  return Math.min(startOf(start, inbox), ...seqs);
}

function startOf(start: Start, inbox: Inbox): number {
  const { committedSeq } = inbox;
  if (start === "new") return committedSeq;
  if (start === "all") return 0;
  const count = Number(start.slice("tail:".length));
  if (count === 0) return committedSeq;
  const entries = inbox.summaries.filter((entry) => entry.seq <= committedSeq);
  return (entries.at(-count)?.seq ?? entries[0]?.seq ?? committedSeq + 1) - 1;
}
