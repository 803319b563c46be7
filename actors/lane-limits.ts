/** The bounds of a node's work on lanes, with the values that they have unless configured. */
import type { KeyValue } from "../src/ports/key-value.js";
import type { LaneDirectory, Lanes } from "../src/ports/lanes.js";
import type { LimitRules } from "../topology/lane-limit.js";
import type { LaneRetryRules } from "../topology/lane-refusal.js";
import type { WindowRules } from "../topology/lane-window.js";

export interface LaneLimits {
  /** Given by a lane of each partition and not acked: waiting, in flight, held back. */
  readonly unacked: WindowRules;
  /** Payloads that a node keeps of all its lanes; what is beyond is read again at its turn. */
  readonly payloadBytesMax: number;
  /** Pushes of all lanes that a group has in flight. */
  readonly inFlight: LimitRules;
  /** A push that is not answered for so long is told again: its session knows it by its place. */
  readonly answerMs: number;
  readonly retries: LaneRetryRules;
  /** What the dead letters' stream does not take is brought there again. */
  readonly buryAgainMs: number;
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
const minute = 60 * second;
const hour = 60 * minute;

export const defaultLaneLimits: LaneLimits = {
  // Of one held back some 400 bytes are kept: 50 MB for all partitions of a lane at the most.
  unacked: { min: 64, max: 2_048 },
  payloadBytesMax: 64 * 1024 ** 2,
  // Below the least a flush serves too few, whatever it takes; urgent pushes are to pass in 100 ms.
  inFlight: { min: 32, max: 2_048, targetMs: 75 },
  answerMs: 15 * second,
  retries: {
    retryMs: 100,
    retryMsMax: 10 * second,
    holdMs: {
      INBOX_FULL: 2 * minute,
      UNKNOWN_APP: 2 * minute,
      // The memory of keys is one of 10 minutes.
      KEYS_FULL: 15 * minute,
      QUOTA_EXCEEDED: 15 * minute,
      // It ends by an operator's hand, and dead letters can be replayed.
      USER_UNREADABLE: 15 * minute,
    },
    holdMsMax: 24 * hour,
  },
  buryAgainMs: 10 * second,
  retakeMs: second,
};
