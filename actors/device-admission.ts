/**
 * Which device an attach belongs to, and which must leave for it. Pure but for the
 * new device it makes.
 */

import type { Start } from "../src/protocol/frames.js";
import type { Attach } from "../src/protocol/messages.js";
import type { Position } from "../src/protocol/position.js";
import { Device } from "./device.js";
import { retiredDevices } from "./device-life.js";
import type { Inbox } from "./inbox.js";
import type { NodeContext } from "./node-context.js";

export type DeviceAdmission =
  | { readonly kind: "outdated" }
  | {
      readonly kind: "admitted";
      readonly device: Device;
      readonly isNew: boolean;
      readonly removed: readonly RemovedDevice[];
    };

export interface RemovedDevice {
  readonly device: Device;
  /** Unseen for too long, or the longest unseen of too many. */
  readonly reason: "retired" | "oldest";
}

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
  const record = {
    id: attach.device,
    platform: attach.platform,
    connect: attach.connect,
    ackedSeq: startSeq(attach, inbox),
    seenAtMs: nowMs,
  };
  const device = new Device(record, node.limits);
  return { kind: "admitted", device, isNew: true, removed: displaced(devices, nowMs, node) };
}

/** Devices unseen for too long, and the oldest ones beyond the bound. */
function displaced(
  devices: readonly Device[],
  nowMs: number,
  { limits }: NodeContext,
): RemovedDevice[] {
  const unseen = retiredDevices(devices, nowMs, limits);
  const left = devices
    .filter((device) => !unseen.includes(device))
    .sort((a, b) => Number(a.isConnected) - Number(b.isConnected) || a.seenAtMs - b.seenAtMs);
  const oldest = left.slice(0, Math.max(0, left.length - limits.devicesMax + 1));
  return [
    ...unseen.map((device) => ({ device, reason: "retired" as const })),
    ...oldest.map((device) => ({ device, reason: "oldest" as const })),
  ];
}

/**
 * A device that this store does not know, with positions of another timeline: it was here
 * before the store was restored, or lost, and may have missed anything since. Else never
 * above what is on disk, and never above what the device says it was sent: it may
 * be known from an attach whose commit failed.
 */
function startSeq({ start, sent, taken }: Attach, inbox: Inbox): number {
  // Known in a generation of before: all of this one came since.
  const { generation } = inbox;
  const isOf = (position: Position | undefined) => position?.generation === generation;
  if ((sent !== undefined && !isOf(sent)) || (taken !== undefined && !isOf(taken))) return 0;
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
