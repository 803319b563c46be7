/**
 * What the actors do not do yet, and the simulator spares them so that it can look
 * behind what is known. Each goes when the actors do it; SIM_STRICT=1 spares nothing.
 *
 * One more stands in sim-key-value.ts (`isDeleteCompared`): a delete in the bucket is
 * refused unless the key has the revision that the caller last saw. The port has no
 * such delete yet: a leader that stops late, or was paused, deletes what was written
 * since (its successor's lease, a node's renewed record).
 */
import { ActorSystem } from "../../src/runtime/system.js";
import type { FaultName } from "./nemesis.js";

/** Faults that are known not to be survived yet. */
export const notYetSurvived: ReadonlySet<FaultName> = new Set<FaultName>([
  // A rolled-back table gives epochs again that were given before (DESIGN §6.2: allocate
  // above what nodes and fences report).
  "rollback",
]);

/**
 * A node comes back under the incarnation for which others have cut it off for good
 * (`nodeGone`); DESIGN §6.3 has it rejoin under a new one. Returns the way back.
 */
export function spareReturningNodes(): () => void {
  const { prototype } = ActorSystem;
  const { nodeGone } = prototype;
  prototype.nodeGone = () => {};
  return () => {
    prototype.nodeGone = nodeGone;
  };
}
