/**
 * How long a lease is: what was set, else by what holds it.
 *
 * A cluster elects its key-value leader anew 4 to 9 s after it has lost one (nats-server
 * 2.10, server/raft.go: minElectionTimeout, maxElectionTimeout) and takes no renewal
 * before; a lease must be longer than that and the third of it after which it is renewed.
 */
import type { Limits } from "../../actors/limits.js";
import type { Settings } from "./settings.js";

const singleMs = 3_000;
const clusterMs = 15_000;
/** For two clocks that run unlike, and a watch that tells late. */
const marginMaxMs = 3_000;

export function leaseLimits(
  { leaseMs: given }: Pick<Settings, "leaseMs">,
  isClustered: boolean,
): Pick<Limits, "leaseMs" | "leaseMarginMs"> {
  const leaseMs = given ?? (isClustered ? clusterMs : singleMs);
  return { leaseMs, leaseMarginMs: Math.min(marginMaxMs, Math.ceil(leaseMs / 3)) };
}
