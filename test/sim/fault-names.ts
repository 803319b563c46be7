/** What the nemesis can do to a run. */

export const faultNames = [
  "kill",
  "stop",
  "pause",
  "cut",
  "sever",
  "loss",
  "slow-bus",
  "slow-routes",
  "kv-gap",
  "kv-election",
  "kv-unknown",
  "kv-stale",
  "bus-restart",
  "rollback",
  "store-stall",
  "store-fault",
  "ambush",
  "wall-jump",
  "device",
  "duplicate",
  "slow-reader",
  "move",
] as const;

export type FaultName = (typeof faultNames)[number];

/** None of these may cost anything, not even a plain publish. */
export const harmless: ReadonlySet<FaultName> = new Set<FaultName>([
  "wall-jump",
  "device",
  "duplicate",
  "slow-reader",
  "move",
]);
