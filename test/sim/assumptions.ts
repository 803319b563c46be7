/**
 * What the actors do not do yet, and the simulator spares them so that it can look
 * behind what is known. Each goes when the actors do it; SIM_STRICT=1 spares nothing.
 */
import type { FaultName } from "./nemesis.js";

/** Faults that are known not to be survived yet. */
export const notYetSurvived: ReadonlySet<FaultName> = new Set<FaultName>();

/**
 * A node looks at its deadline by a tick, not before every effect: it may serve so long
 * past it while it is awake. 0 once it looks at every dequeue (DESIGN §6.3).
 */
export const selfFencingGraceMs = 1_500;
