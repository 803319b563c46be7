/**
 * Who may lead the placement of an IDC: a lease in the key-value store.
 *
 * Wall clocks are never compared. A challenger waits until the record's revision
 * has not changed for leaseMs + margin on its own monotonic clock, or until the
 * leader's inbox has had no responders for `silenceMs`; the compare-and-set decides
 * among challengers. The leader counts its deadline from before it sent a renewal.
 */
import { accepted, type Result, refused } from "../src/base/result.js";
import { isMap, packValue, unpackValue } from "../src/protocol/codec.js";
import type { Member } from "./placement-table.js";

export interface LeaderRecord extends Member {
  readonly v: number;
  readonly epoch: number;
  readonly leaseMs: number;
}

const leaderVersion = 1;
/** A longer one is no lease: nobody could ever take its holder's place. */
const leaseMsMax = 10 * 60_000;

export function isLeaseMs(value: unknown): value is number {
  return typeof value === "number" && value > 0 && value <= leaseMsMax;
}

export function encodeLeader(leader: Omit<LeaderRecord, "v">): Uint8Array {
  return packValue({ v: leaderVersion, ...leader });
}

/** UNSUPPORTED: of another version; BAD_RECORD: noise, which no version wrote. */
export function decodeLeader(
  bytes: Uint8Array,
): Result<LeaderRecord, "BAD_RECORD" | "UNSUPPORTED"> {
  let map: unknown;
  try {
    map = unpackValue(bytes);
  } catch {
    return refused("BAD_RECORD", "the leader record does not decode");
  }
  if (isMap(map) && typeof map.v === "number" && map.v !== leaderVersion) {
    return refused("UNSUPPORTED", `the leader record is of version ${map.v}`);
  }
  const isWhole =
    isMap(map) &&
    map.v === leaderVersion &&
    typeof map.nodeId === "string" &&
    typeof map.incarnation === "string" &&
    Number.isSafeInteger(map.epoch) &&
    isLeaseMs(map.leaseMs);
  return isWhole
    ? accepted(map as unknown as LeaderRecord)
    : refused("BAD_RECORD", "the leader record is malformed");
}

/**
 * Its node goes on as another incarnation, which proves that this one leads no more:
 * the same process gave it up, or the name was free for another one.
 */
export function isSucceeded(
  leader: Member,
  nodes: ReadonlyMap<string, Member>,
  self: Member,
): boolean {
  const present = leader.nodeId === self.nodeId ? self : nodes.get(leader.nodeId);
  return present !== undefined && present.incarnation !== leader.incarnation;
}

/** A record as this node last saw it change, by its own monotonic clock. */
export interface Sighting {
  readonly revision: number;
  readonly sinceMs: number;
  /** Since when the holder's inbox has had no responders; undefined while it answers. */
  readonly silentSinceMs?: number;
}

export interface LeaseRule {
  readonly leaseMs: number;
  readonly marginMs: number;
  readonly silenceMs: number;
}

/** The reason why the holder of a lease counts as gone; undefined while it does not. */
export function goneReason(
  sighting: Sighting,
  nowMs: number,
  rule: LeaseRule,
): "lease ran out" | "no responders" | undefined {
  if (nowMs - sighting.sinceMs >= rule.leaseMs + rule.marginMs) return "lease ran out";
  const { silentSinceMs } = sighting;
  if (silentSinceMs !== undefined && nowMs - silentSinceMs >= rule.silenceMs) {
    return "no responders";
  }
  return undefined;
}
