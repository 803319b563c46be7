/**
 * Nodes whose heartbeats come so often that a short test has some: imported before the
 * node's own program (NODE_OPTIONS), it changes the limits that the node then has.
 */
import { defaultLimits } from "../../actors/limits.js";

/** A client gives its edge up after 2.5 of them, the edge its client after the deadline. */
export const shortHeartbeats = {
  ...{ heartbeatMs: 2_000, heartbeatDeadlineMs: 5_000 },
  // An SDK that has seen some of them borne would ask for longer ones.
  ...{ heartbeatMinMs: 2_000, heartbeatMaxMs: 2_000 },
} as const;

export const shortHeartbeatsImport = `--import=${import.meta.url}`;

if (process.env["BELFRY_TEST_SHORT_HEARTBEATS"] !== undefined) {
  Object.assign(defaultLimits, shortHeartbeats);
}
