/** What one seed looks like before it begins: who takes part, and which faults come. */
import { defaultLimits, type Limits } from "../../actors/limits.js";
import { type FaultName, faultNames } from "./nemesis.js";
import type { SeededRandom } from "./seeded-random.js";

export interface RunPlan {
  readonly nodeCount: number;
  readonly groupCount: number;
  /** A node can tell whether another's process is gone. */
  readonly isOneMachine: boolean;
  readonly userCount: number;
  readonly devicesPerUser: number;
  readonly pushEveryMs: number;
  readonly faultsMs: number;
  readonly faults: ReadonlyMap<FaultName, number>;
  readonly limits: Limits;
}

/** A node's own times, shortened so that all of them pass within a run. */
export const simLimits: Limits = {
  ...defaultLimits,
  ackWaitMs: 2_000,
  heartbeatMs: 1_000,
  heartbeatDeadlineMs: 3_000,
  helloDeadlineMs: 2_000,
  closeDeadlineMs: 500,
  reserveMs: 4_000,
  storeStallMaxMs: 4_000,
  unwellMs: 3_000,
};

/** Every how many milliseconds one of a kind comes, in a seed that has many of it. */
const oftenMs: Readonly<Record<FaultName, number>> = {
  kill: 5_000,
  stop: 7_000,
  pause: 4_000,
  cut: 5_000,
  sever: 4_000,
  loss: 4_000,
  "slow-bus": 5_000,
  "kv-gap": 8_000,
  "kv-unknown": 6_000,
  "kv-stale": 6_000,
  "bus-restart": 9_000,
  rollback: 9_000,
  "store-stall": 6_000,
  "store-fault": 4_000,
  "wall-jump": 4_000,
  device: 700,
};

/** `without`: faults that this run must not have; `only`: has these and no others. */
export function planRun(
  random: SeededRandom,
  without: ReadonlySet<FaultName>,
  only?: readonly FaultName[],
): RunPlan {
  const density = random.between(0.15, 0.7);
  const haste = random.pick([0.3, 1, 1, 2.5]);
  const faults = new Map<FaultName, number>();
  for (const fault of faultNames) {
    const isDrawn = random.chance(density);
    const isIn = only === undefined ? isDrawn : only.includes(fault);
    const everyMs = oftenMs[fault] * (only === undefined ? haste * random.between(0.5, 2) : 0.6);
    if (isIn && !without.has(fault)) faults.set(fault, everyMs);
  }
  return {
    nodeCount: random.pick([2, 3, 3, 4]),
    groupCount: random.pick([4, 8, 8, 16]),
    isOneMachine: random.chance(0.5),
    userCount: 3 + random.below(5),
    devicesPerUser: 1 + random.below(2),
    pushEveryMs: random.pick([80, 250, 600]),
    faultsMs: random.between(8_000, 25_000),
    faults,
    limits: {
      ...simLimits,
      windowMessagesMax: random.pick([3, 16, 64]),
      inboxMessagesMax: random.pick([40, 10_000]),
    },
  };
}
