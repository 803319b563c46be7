/**
 * Taking a node out of service, and back in: a node in drain gets nothing and gives all.
 * Pure: what an operator asks for, judged by the table and the nodes that are there.
 */
import { accepted, type Result, refused } from "../src/base/result.js";
import { type EdgePolicy, withEdgeDrain } from "./edge-policy.js";
import { drainingMax, type Member, type PlacementTable } from "./placement-table.js";

export type DrainRefusal = "NOT_FOUND" | "LAST_NODE" | "BAD_COMMAND";

/** The very same table when the node is in that state already. */
export function decideDrain(
  table: PlacementTable,
  members: readonly Member[],
  nodeId: string,
  isDraining: boolean,
): Result<PlacementTable, DrainRefusal> {
  const isThere = members.some((member) => member.nodeId === nodeId);
  if (!isThere && !table.isDraining(nodeId)) {
    return refused("NOT_FOUND", `no node ${nodeId} is there, nor in drain`);
  }
  if (table.isDraining(nodeId) === isDraining) return accepted(table);
  if (!isDraining) return accepted(table.withDrain(nodeId, false));
  const isTaker = (member: Member) => member.nodeId !== nodeId && !table.isDraining(member.nodeId);
  if (!members.some(isTaker)) {
    return refused("LAST_NODE", `${nodeId} is the last node that is not in drain`);
  }
  if (table.draining.length >= drainingMax) {
    const advice = "undrain some that are gone for good";
    return refused("BAD_COMMAND", `${drainingMax} nodes are in drain already; ${advice}`);
  }
  return accepted(table.withDrain(nodeId, true));
}

/** What of a node counts here; see NodeRecord. */
export interface EdgeMember {
  readonly nodeId: string;
  readonly isEdgeClosed?: boolean;
}

/**
 * The very same policy when the edge is in that state already. `perSecond`: clients told to
 * move; undefined: out of drain.
 */
export function decideEdgeDrain(
  policy: EdgePolicy,
  members: readonly EdgeMember[],
  nodeId: string,
  perSecond: number | undefined,
): Result<EdgePolicy, DrainRefusal> {
  const { draining } = policy;
  const isThere = members.some((member) => member.nodeId === nodeId);
  if (!isThere && !draining.has(nodeId)) {
    return refused("NOT_FOUND", `no edge ${nodeId} is there, nor in drain`);
  }
  if (draining.get(nodeId) === perSecond) return accepted(policy);
  const isTaker = (member: EdgeMember) =>
    member.nodeId !== nodeId && member.isEdgeClosed !== true && !draining.has(member.nodeId);
  if (perSecond !== undefined && !members.some(isTaker)) {
    return refused("LAST_NODE", `${nodeId} is the last edge that takes clients`);
  }
  return withEdgeDrain(policy, nodeId, perSecond);
}
