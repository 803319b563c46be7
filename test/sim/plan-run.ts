/** What one seed looks like before it begins: who takes part, and which faults come. */
import { defaultLimits, type Limits } from "../../actors/limits.js";
import { type FaultName, faultNames } from "./fault-names.js";
import type { DevicePlan } from "./model-device.js";
import type { PublisherPlan } from "./model-publisher.js";
import type { SeededRandom } from "./seeded-random.js";

export interface RunPlan {
  readonly nodeCount: number;
  readonly groupCount: number;
  /** Of NATS. */
  readonly serverCount: number;
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
  // The most that can be set aside: each sending is an attempt.
  attemptSpacingMs: 0,
  heartbeatMs: 1_000,
  heartbeatDeadlineMs: 3_000,
  helloDeadlineMs: 2_000,
  closeDeadlineMs: 500,
  tokenNoticeMs: 2_000,
  tokenGraceMs: 1_000,
  reserveMs: 4_000,
  storeStallMaxMs: 4_000,
  unwellMs: 3_000,
  // What devices that tell of their network are granted: they notice a dead edge as late.
  ...{ heartbeatWifiMs: 1_500, heartbeatFrontMs: 1_200, heartbeatMaxMs: 2_000 },
  offlineAfterMs: 1_500,
  appStateEveryMs: 1_000,
  onlineCheckMs: 8_000,
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
  "slow-routes": 5_000,
  "kv-gap": 8_000,
  "kv-election": 9_000,
  "kv-unknown": 6_000,
  "kv-stale": 6_000,
  "bus-restart": 9_000,
  rollback: 9_000,
  "store-stall": 6_000,
  "store-fault": 4_000,
  "wall-jump": 4_000,
  ambush: 2_500,
  device: 700,
  duplicate: 4_000,
  "slow-reader": 4_000,
  move: 1_500,
};

/** What goes on in the calm after the faults: moves as planned, and what costs nothing. */
export const calmFaults: ReadonlyMap<FaultName, number> = new Map<FaultName, number>([
  ["move", 300],
  ["slow-reader", 1_200],
  ["duplicate", 2_000],
  ["device", 2_000],
]);

/** `without`: faults that this run must not have; `only`: has these and no others. */
export function planRun(
  random: SeededRandom,
  without: ReadonlySet<FaultName>,
  only?: readonly FaultName[],
  pace = 0.6,
): RunPlan {
  const density = random.between(0.15, 0.7);
  const haste = random.pick([0.3, 1, 1, 2.5]);
  const faults = new Map<FaultName, number>();
  for (const fault of faultNames) {
    const isDrawn = random.chance(density);
    const isIn = only === undefined ? isDrawn : only.includes(fault);
    const everyMs = oftenMs[fault] * (only === undefined ? haste * random.between(0.5, 2) : pace);
    if (isIn && !without.has(fault)) faults.set(fault, everyMs);
  }
  return {
    nodeCount: random.pick([2, 3, 3, 4]),
    groupCount: random.pick([8, 16, 32]),
    serverCount: random.pick([1, 2, 3]),
    isOneMachine: random.chance(0.5),
    userCount: 3 + random.below(5),
    devicesPerUser: 1 + random.below(2),
    pushEveryMs: random.pick([80, 250, 600]),
    faultsMs: random.between(6_000, 18_000),
    faults,
    limits: {
      ...simLimits,
      // That of a NATS cluster outlasts an election in its key-value store.
      leaseMs: random.chance(0.15) ? 15_000 : simLimits.leaseMs,
      windowMessagesMax: random.pick([3, 16, 64]),
      inboxMessagesMax: random.pick([40, 10_000]),
    },
  };
}

interface User {
  readonly number: number;
  readonly app: string;
  readonly uid: string;
}

export function drawUser(random: SeededRandom, number: number): User {
  return { number, app: random.chance(0.75) ? "each" : "first", uid: `u${number}` };
}

export function drawDevice(
  random: SeededRandom,
  { app, uid }: User,
  number: number,
): Omit<DevicePlan, "edges"> {
  return {
    app,
    uid,
    device: `d${number}`,
    tokenSeconds: random.chance(0.5) ? undefined : random.pick([5, 12]),
    isLiar: random.chance(0.15),
  };
}

export function drawPublisher(
  random: SeededRandom,
  { number, app, uid }: User,
  pushEveryMs: number,
): Omit<PublisherPlan, "isSheltered"> {
  return {
    name: `svc${number}`,
    app,
    uid,
    everyMs: pushEveryMs * random.between(0.5, 4),
    plain: random.pick([0, 0.2]),
    shortLived: random.pick([0, 0.1]),
    collapsing: random.pick([0, 0, 0.2]),
    targeted: random.pick([0, 0, 0.3]),
    passing: random.pick([0, 0, 0.1]),
    impatient: random.pick([0, 0, 0.2]),
  };
}
