/**
 * What operators have said about the edges of a datacenter: how much of all clients each
 * is to have, which are in drain, where the other datacenters are, and whether this one is
 * switched away. One record in the bucket `placement`; changes are compare-and-set. Pure.
 *
 * Who is named may be gone for good, so each list has a bound of its own.
 */
import { accepted, type Result, refused } from "../src/base/result.js";
import { isMap } from "../src/protocol/codec.js";
import { isHeartbeatMs } from "../src/protocol/directive.js";
import type { HeartbeatBounds } from "./heartbeat.js";

export const edgePolicyKey = "edge-policy";
const version = 1;

/** Of an edge that nothing was said of. */
export const plainWeight = 100;
export const weightMax = 1_000;
export const namedEdgesMax = 256;
export const otherIdcsMax = 15;
export const otherEdgesMax = 16;
const urlLengthMax = 512;
/**
 * Clients of one edge that are told to move, in a second. A full edge takes a minute and a
 * half, and what comes to the others is a small part of what one core lets in.
 */
export const drainRate = { least: 1, plain: 200, most: 10_000 };

export interface OtherIdc {
  readonly idc: string;
  /** Where its dispatcher answers, `http…`; without it nobody can be sent there by 307. */
  readonly dispatcher?: string;
  /** Its addresses for clients, `ws…`. */
  readonly edges: readonly string[];
}

export interface EdgePolicy {
  /** By node id; 0 gets no new client, and keeps those that it has. */
  readonly weights: ReadonlyMap<string, number>;
  /** By node id: clients told to move in a second. */
  readonly draining: ReadonlyMap<string, number>;
  readonly others: readonly OtherIdc[];
  /** The datacenter to which this one's clients are sent instead. */
  readonly awayTo?: string;
  /** Of the intervals that edges grant, in place of their settings. */
  readonly heartbeat?: Partial<HeartbeatBounds>;
}

export const plainPolicy: EdgePolicy = { weights: new Map(), draining: new Map(), others: [] };

export type PolicyRefusal = "NOT_FOUND" | "BAD_COMMAND";

/** The very same policy when the edge has that weight already. */
export function withWeight(
  policy: EdgePolicy,
  nodeId: string,
  weight: number,
): Result<EdgePolicy, PolicyRefusal> {
  if ((policy.weights.get(nodeId) ?? plainWeight) === weight) return accepted(policy);
  const weights = new Map(policy.weights);
  weights.delete(nodeId);
  if (weight !== plainWeight) weights.set(nodeId, weight);
  if (weights.size > namedEdgesMax) return tooMany(`${namedEdgesMax} edges have a weight already`);
  return accepted({ ...policy, weights });
}

/** `perSecond` undefined: out of drain. */
export function withEdgeDrain(
  policy: EdgePolicy,
  nodeId: string,
  perSecond: number | undefined,
): Result<EdgePolicy, PolicyRefusal> {
  const draining = new Map(policy.draining);
  draining.delete(nodeId);
  if (perSecond !== undefined) draining.set(nodeId, perSecond);
  if (draining.size > namedEdgesMax) return tooMany(`${namedEdgesMax} edges are in drain already`);
  return accepted({ ...policy, draining });
}

export function withOther(policy: EdgePolicy, other: OtherIdc): Result<EdgePolicy, PolicyRefusal> {
  const others = [...policy.others.filter(({ idc }) => idc !== other.idc), other];
  if (others.length > otherIdcsMax) return tooMany(`${otherIdcsMax} others are known already`);
  return accepted({ ...policy, others });
}

export function withoutOther(policy: EdgePolicy, idc: string): Result<EdgePolicy, PolicyRefusal> {
  const others = policy.others.filter((other) => other.idc !== idc);
  if (others.length === policy.others.length) return unknown(idc);
  if (policy.awayTo === idc) {
    return refused("BAD_COMMAND", `clients are sent to ${idc}; bring them back first`);
  }
  return accepted({ ...policy, others });
}

/** `idc` undefined: clients are at home here again. */
export function withAway(
  { awayTo: _, ...policy }: EdgePolicy,
  idc: string | undefined,
): Result<EdgePolicy, PolicyRefusal> {
  if (idc === undefined) return accepted(policy);
  const other = policy.others.find((one) => one.idc === idc);
  if (other === undefined) return unknown(idc);
  if (other.dispatcher === undefined) {
    return refused("BAD_COMMAND", `no dispatcher of ${idc} is known to send clients to`);
  }
  return accepted({ ...policy, awayTo: idc });
}

/** Without any the nodes' own settings hold. */
export function withHeartbeat(
  { heartbeat: _, ...policy }: EdgePolicy,
  bounds: Partial<HeartbeatBounds>,
): Result<EdgePolicy, PolicyRefusal> {
  const { minMs, maxMs } = bounds;
  if (minMs === undefined && maxMs === undefined) return accepted(policy);
  if (minMs !== undefined && maxMs !== undefined && minMs > maxMs) {
    return refused("BAD_COMMAND", "the least interval is above the longest");
  }
  return accepted({ ...policy, heartbeat: bounds });
}

function tooMany(message: string): Result<never, "BAD_COMMAND"> {
  return refused("BAD_COMMAND", `${message}; take back some of nodes that are gone for good`);
}

function unknown(idc: string): Result<never, "NOT_FOUND"> {
  return refused("NOT_FOUND", `nothing is known of a datacenter ${idc}`);
}

export function encodeEdgePolicy(policy: EdgePolicy): Uint8Array {
  const { weights, draining, others, awayTo, heartbeat } = policy;
  const map = {
    v: version,
    weights: Object.fromEntries(weights),
    draining: Object.fromEntries(draining),
    others,
    ...(awayTo === undefined ? {} : { awayTo }),
    ...(heartbeat === undefined ? {} : { heartbeat }),
  };
  return new TextEncoder().encode(JSON.stringify(map));
}

/** Undefined for what is none, and for a newer version's. */
export function decodeEdgePolicy(bytes: Uint8Array): EdgePolicy | undefined {
  try {
    const map: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (!isMap(map) || map.v !== version) return undefined;
    const weights = readNumbers(map.weights, isWeight);
    const draining = readNumbers(map.draining, isDrainRate);
    const { others, awayTo } = map;
    const heartbeat = readBounds(map.heartbeat);
    if (weights === undefined || draining === undefined || !isOtherList(others)) return undefined;
    if (awayTo !== undefined && typeof awayTo !== "string") return undefined;
    return {
      ...{ weights, draining, others },
      ...(awayTo === undefined ? {} : { awayTo }),
      ...(heartbeat === undefined ? {} : { heartbeat }),
    };
  } catch {
    return undefined;
  }
}

function readNumbers(
  value: unknown,
  isGood: (value: unknown) => value is number,
): Map<string, number> | undefined {
  if (!isMap(value)) return undefined;
  const entries = Object.entries(value);
  if (entries.length > namedEdgesMax) return undefined;
  const read = new Map<string, number>();
  for (const [nodeId, number] of entries) {
    if (!isGood(number)) return undefined;
    read.set(nodeId, number);
  }
  return read;
}

/** What does not read bounds nothing. */
function readBounds(value: unknown): Partial<HeartbeatBounds> | undefined {
  if (!isMap(value)) return undefined;
  const { minMs, maxMs } = value;
  return {
    ...(isHeartbeatMs(minMs) ? { minMs } : {}),
    ...(isHeartbeatMs(maxMs) ? { maxMs } : {}),
  };
}

export function isWeight(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= weightMax;
}

export function isDrainRate(value: unknown): value is number {
  const { least, most } = drainRate;
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

function isOtherList(value: unknown): value is OtherIdc[] {
  return Array.isArray(value) && value.length <= otherIdcsMax && value.every(isOtherIdc);
}

export function isOtherIdc(value: unknown): value is OtherIdc {
  if (!isMap(value) || !isIdcName(value.idc)) return false;
  const { dispatcher, edges } = value;
  if (!Array.isArray(edges) || edges.length > otherEdgesMax || !edges.every(isEdgeUrl)) {
    return false;
  }
  return dispatcher === undefined || isDispatcherUrl(dispatcher);
}

export function isIdcName(value: unknown): value is string {
  return typeof value === "string" && /^[a-z0-9-]{1,16}$/.test(value);
}

export function isEdgeUrl(value: unknown): value is string {
  return isUrlOf(value, ["ws:", "wss:"]);
}

export function isDispatcherUrl(value: unknown): value is string {
  return isUrlOf(value, ["http:", "https:"]);
}

function isUrlOf(value: unknown, protocols: readonly string[]): boolean {
  if (typeof value !== "string" || value.length > urlLengthMax || !URL.canParse(value)) {
    return false;
  }
  const { protocol, hash, username } = new URL(value);
  // A WebSocket's address has no fragment (RFC 6455, 3), and a name in it would be told to all.
  return protocols.includes(protocol) && hash === "" && username === "";
}
