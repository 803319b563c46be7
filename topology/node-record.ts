/** What each node writes under its own key in the placement bucket: its lease and its addresses. */
import { isMap } from "../src/protocol/codec.js";
import { isLeaseMs } from "./election.js";
import type { Member } from "./placement-table.js";

export interface NodeRecord extends Member {
  readonly v: number;
  readonly idc: string;
  readonly pid: number;
  /** With the pid, names one process for ever. */
  readonly processStart: string;
  readonly version: string;
  readonly leaseMs: number;
  readonly startedAtMs: number;
  /** Where clients connect, e.g. `ws://127.0.0.1:8080/connect`. */
  readonly edgeUrl: string;
  /** All of them, the one above first, where there are several: other ports, other hosts. */
  readonly edgeUrls?: readonly string[];
  /** Its clients are leaving, and it takes no new one: it is about to stop. */
  readonly isEdgeClosed?: boolean;
  /** Why it should serve no shards for now, by its own judgement; absent while it is well. */
  readonly unwell?: string;
  /** A probe of its own was bad: it may be about to be unwell, or not. */
  readonly isInDoubt?: boolean;
  /** Units that it was given and could not serve, while it is well otherwise. */
  readonly cannotServe?: readonly number[];
}

/** Who a node is, and what it thinks of itself. */
export function healthOf(
  record: NodeRecord,
): Member & Pick<NodeRecord, "unwell" | "isInDoubt" | "cannotServe"> {
  const { nodeId, incarnation, unwell, isInDoubt, cannotServe } = record;
  return {
    nodeId,
    incarnation,
    ...(unwell === undefined ? {} : { unwell }),
    ...(isInDoubt === undefined ? {} : { isInDoubt }),
    ...(cannotServe === undefined ? {} : { cannotServe }),
  };
}

export const nodeRecordVersion = 1;
export const nodeKeyPrefix = "node.";

export function nodeKey(nodeId: string): string {
  return `${nodeKeyPrefix}${nodeId}`;
}

export function encodeNodeRecord(record: Omit<NodeRecord, "v">): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ v: nodeRecordVersion, ...record }));
}

/** Of a record that says its version; noise says none. */
export function isOfAnotherVersion(bytes: Uint8Array): boolean {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return isMap(value) && typeof value.v === "number" && value.v !== nodeRecordVersion;
  } catch {
    return false;
  }
}

/** Undefined for bytes that are no node record of a version this node knows. */
export function decodeNodeRecord(bytes: Uint8Array): NodeRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
  const isWhole =
    isMap(value) &&
    value.v === nodeRecordVersion &&
    typeof value.nodeId === "string" &&
    typeof value.incarnation === "string" &&
    isLeaseMs(value.leaseMs) &&
    typeof value.pid === "number" &&
    typeof value.processStart === "string" &&
    typeof value.edgeUrl === "string" &&
    (value.edgeUrls === undefined || isTextList(value.edgeUrls)) &&
    (value.isEdgeClosed === undefined || typeof value.isEdgeClosed === "boolean") &&
    (value.unwell === undefined || typeof value.unwell === "string") &&
    (value.isInDoubt === undefined || typeof value.isInDoubt === "boolean") &&
    (value.cannotServe === undefined || isNumberList(value.cannotServe));
  return isWhole ? (value as unknown as NodeRecord) : undefined;
}

function isTextList(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string");
}

function isNumberList(value: unknown): boolean {
  return Array.isArray(value) && value.every((one) => typeof one === "number");
}
