/**
 * What the actors do not do yet, and the simulator spares them so that it can look
 * behind what is known. Each goes when the actors do it; SIM_STRICT=1 spares nothing.
 */
import type { FaultName } from "./nemesis.js";

/** Faults that are known not to be survived yet. */
export const notYetSurvived: ReadonlySet<FaultName> = new Set<FaultName>([
  // A rolled-back table gives epochs again that were given before (DESIGN §6.2: allocate
  // above what nodes and fences report).
  "rollback",
]);
