/** The bounds of a node's work on lanes, with the values that they have unless configured. */
import type { KeyValue } from "../src/ports/key-value.js";
import type { LaneDirectory, Lanes } from "../src/ports/lanes.js";
import type { LimitRules } from "../topology/lane-limit.js";

export interface LaneLimits {
  /** Given by a lane of each partition and not acked: waiting, in flight, held back. */
  readonly unackedMax: number;
  /** Pushes of all lanes that a group has in flight. */
  readonly inFlight: LimitRules;
  /** A push that is not answered for so long is told again: its session knows it by its place. */
  readonly answerMs: number;
  /** A user whose push was refused is held back for so long, doubling up to the second. */
  readonly retryMs: number;
  readonly retryMsMax: number;
  /** So often, when it is the user's own bound that refuses; then it is a dead letter. */
  readonly ownAttemptsMax: number;
  /** And when it is the platform that cannot. */
  readonly attemptsMax: number;
  /** A lane that could not be taken is tried again. */
  readonly retakeMs: number;
}

/** What a node has of lanes. */
export interface NodeLanes {
  readonly queues: Lanes;
  readonly directory: LaneDirectory;
  /** The bucket that the directory follows: operators' changes go there. */
  readonly bucket: KeyValue;
  readonly limits: LaneLimits;
}

const second = 1_000;

export const defaultLaneLimits: LaneLimits = {
  unackedMax: 64,
  // Below the least a flush serves too few, whatever it takes; urgent pushes are to pass in 100 ms.
  inFlight: { min: 32, max: 2_048, targetMs: 75 },
  answerMs: 15 * second,
  retryMs: 100,
  retryMsMax: 10 * second,
  // About two minutes.
  ownAttemptsMax: 20,
  // About a day.
  attemptsMax: 10_000,
  retakeMs: second,
};
