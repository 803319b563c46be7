/**
 * Durable queues of what services publish, one a lane, partitioned by shard. One contract
 * suite (test/contract/lanes.ts) holds every implementation to what is said here.
 *
 * A message stays until it is acked. Whoever takes a group's partitions gets all that is
 * not acked, of each user in the order in which it was published; the former taker gets no more.
 */
import type { LaneRecord } from "../protocol/lane-record.js";
import type { SessionKey } from "../protocol/shards.js";

export interface Lanes {
  /** Makes the lane's queue, or brings it up to date. Throws Fault. */
  ensure(record: LaneRecord): Promise<void>;
  /**
   * Takes partitions of a lane. Throws Fault("LANE_TAKEN") when somebody with a higher
   * epoch has any of them, Fault("LANE_UNAVAILABLE") when it cannot be had now.
   */
  take(claim: LaneClaim, receiver: LaneReceiver): Promise<LaneFeed>;
  /** What a message is that was given and is not acked; undefined when it is gone. Throws Fault. */
  read(lane: string, sequence: number): Promise<Uint8Array | undefined>;
  /** Resolves when the letter is as safe as the lanes are; the same one twice is kept once. Throws Fault. */
  bury(letter: DeadLetter): Promise<void>;
  /** Undefined where there is no such queue. Throws Fault. */
  figures(lane: string): Promise<LaneFigures | undefined>;
  /** The oldest first, at most `limit`. Throws Fault. */
  deadLetters(lane: string, limit: number): Promise<readonly StoredLetter[]>;
  /**
   * Publishes the letter's command again, at the end of its lane, and then deletes the
   * letter: done twice in between, it comes twice. False when there is no such letter.
   */
  replay(lane: string, number: number): Promise<boolean>;
  /**
   * Deletes what waits for one user in the lanes, and the user's dead letters of any lane; not
   * what a taker has in hand. Throws Fault.
   */
  forget(lanes: readonly string[], key: SessionKey): Promise<void>;
  /** With all that waits in it. Throws Fault. */
  drop(lane: string): Promise<void>;
}

/** The lanes that there are, as a node sees them now. */
export interface LaneDirectory {
  all(): Iterable<LaneRecord>;
}

export interface LaneClaim {
  readonly lane: string;
  readonly group: number;
  readonly epoch: number;
  readonly partitions: readonly number[];
  /** Of each partition, given and not acked; no more come until some are. */
  readonly unackedMax: number;
}

export interface LaneReceiver {
  /** A message may come again, if its ack was lost or is long in coming. */
  onMessage(message: LaneMessage): void;
  /** Somebody else has taken it, or it is gone: nothing comes any more. */
  onEnd(reason: string): void;
}

/** Its sequence and time together are no other message's of the lane, also when it was made anew. */
export interface LaneMessage {
  readonly key: SessionKey;
  readonly payload: Uint8Array;
  readonly sequence: number;
  readonly storedAtMs: number;
  /** It was taken, for good. May be lost: then the message comes again. Keeps no payload. */
  readonly ack: () => void;
}

export interface LaneFeed {
  /** So many of the partition unacked from now on, in the place of the claim's. Throws Fault. */
  widen(partition: number, unackedMax: number): Promise<void>;
  close(): Promise<void>;
}

/** What could not be taken, and why. */
export interface DeadLetter {
  readonly lane: string;
  readonly key: SessionKey;
  readonly payload: Uint8Array;
  readonly sequence: number;
  readonly storedAtMs: number;
  readonly code: string;
  readonly message: string;
  readonly attempts: number;
}

export interface StoredLetter extends DeadLetter {
  /** To replay it by. */
  readonly number: number;
  readonly diedAtMs: number;
}

export interface LaneFigures {
  /** In the lane, and not acked yet. */
  readonly messages: number;
  readonly bytes: number;
  readonly oldestAtMs?: number;
  readonly deadLetters: number;
}
