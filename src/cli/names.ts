/** Names as an operator types them: of users, apps and nodes. */
import { InvalidArgumentError } from "commander";
import { accepted, type Refusal, type Result, refused } from "../base/result.js";
import { isShard } from "../protocol/shards.js";
import { encodeToken, uidTokenBytesMax } from "../protocol/tokens.js";
import type { FleetNode, Placement } from "./fleet.js";

const appName = /^[A-Za-z0-9_-]{1,64}$/;

export function isAppName(name: string): boolean {
  return appName.test(name);
}

/** The refusal that the platform would give; a longer subject would not even reach it. */
export function refuseUser(app: string, uid: string): Refusal | undefined {
  if (!isAppName(app)) return refused("UNKNOWN_APP", `no app is registered as ${app}`);
  if (uid === "") return refused("BAD_UID", "the uid is empty");
  const length = encodeToken(uid).length;
  if (length <= uidTokenBytesMax) return undefined;
  return refused("BAD_UID", `the uid is ${length} bytes encoded, at most ${uidTokenBytesMax}`);
}

/** By id, or by id and incarnation. */
export function findNode(placement: Placement, name: string): Result<FleetNode, "NOT_FOUND"> {
  const [nodeId, incarnation] = name.split(".");
  const found = placement.nodes.find(
    (node) =>
      node.nodeId === nodeId && (incarnation === undefined || node.incarnation === incarnation),
  );
  if (found !== undefined) return accepted(found);
  const known = placement.nodes.map((node) => node.nodeId).join(", ") || "none";
  return refused("NOT_FOUND", `no node ${name} is in the placement; there: ${known}`);
}

/** For commander: a whole number in the given range. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It is a whole number from ${least} to ${most}.`);
  };
}

/** For commander: seconds, perhaps with a fraction, as milliseconds. */
export function secondsAsMs(mostSeconds: number): (text: string) => number {
  return (text) => {
    const seconds = Number(text);
    if (/^\d+(\.\d+)?$/.test(text) && seconds > 0 && seconds <= mostSeconds) {
      return Math.ceil(seconds * 1000);
    }
    throw new InvalidArgumentError(`It is a number of seconds above 0, at most ${mostSeconds}.`);
  };
}

/** For commander: a number with a unit, or `all`, as milliseconds. */
export function spanAsMs(mostMs: number): (text: string) => number {
  const units: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  return (text) => {
    if (text === "all") return mostMs;
    const [, count = "", unit = ""] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
    const ms = Number(count) * (units[unit] ?? 0);
    if (ms > 0 && ms <= mostMs) return ms;
    throw new InvalidArgumentError(`It is like 90s, 10m or 6h, at most ${mostMs / 3_600_000}h.`);
  };
}

/** For commander: one of the 4096. */
export function shardNumber(text: string): number {
  const shard = Number(text);
  if (/^\d+$/.test(text) && isShard(shard)) return shard;
  throw new InvalidArgumentError("A shard is a number from 0 to 4095.");
}
