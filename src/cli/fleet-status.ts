/** What `status` and `topology` both show of each node: its record and its own report. */
import { Fault } from "../base/result.js";
import type { ErrorAnswer } from "../protocol/errors.js";
import type { Fleet, FleetNode, Placement } from "./fleet.js";

/** A node that answered, or why it counts as silent. */
export type Heard<Value> =
  | { readonly isUp: true; readonly value: Value }
  | { readonly isUp: false; readonly reason: string };

/** A refusal or silence of one node is part of the picture, not the end of the command. */
export async function hear<Value>(
  question: () => Promise<{ readonly ok: true; readonly value: Value } | ErrorAnswer>,
): Promise<Heard<Value>> {
  try {
    const answer = await question();
    if (answer.ok) return { isUp: true, value: answer.value };
    return { isUp: false, reason: `${answer.code}: ${answer.message}` };
  } catch (error) {
    if (error instanceof Fault) return { isUp: false, reason: error.message };
    throw error;
  }
}

export function hearStatus(fleet: Fleet, node: FleetNode): Promise<Heard<unknown>> {
  return hear(() => fleet.ask(node, { kind: "status" }));
}

export function isLeader({ leader }: Placement, node: FleetNode): boolean {
  return leader?.nodeId === node.nodeId && leader.incarnation === node.incarnation;
}
