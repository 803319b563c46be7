/** The package's public door to the actor runtime: `belfry/actor`. */
export type { Cancel, Clock } from "../base/clock.js";
export type { Random } from "../base/random.js";
export { Fault } from "../base/result.js";
export { Actor } from "./actor.js";
export { type ActorKey, type Address, addressOn, nodeOf, parseAddress, pathOf } from "./address.js";
export { Ref, type System, type TimerHandle } from "./cell.js";
export type { CrashReport } from "./crash-report.js";
export type { DeadLetter } from "./dead-letters.js";
export type {
  AskCode,
  Asker,
  AskResult,
  Context,
  StopReason,
  Terminated,
  TerminatedReason,
} from "./envelope.js";
export type { ActorDetails, ActorReport, TreeReport } from "./inspection.js";
export type { ActorKind, OverflowPolicy, RestartPolicy, SupervisionStrategy } from "./kind.js";
export type { Bus, BusMessage, BusSubscription, PublishOptions } from "./ports.js";

import { ActorSystem } from "./system.js";

export { ActorSystem, type SystemCounters } from "./system.js";

import type { SystemOptions } from "./system-options.js";

export type { SystemLimits, SystemOptions } from "./system-options.js";

/** A system on the clock, the randomness and (for other nodes) the bus that it is given. */
export function createSystem(options: SystemOptions): ActorSystem {
  return new ActorSystem(options);
}
