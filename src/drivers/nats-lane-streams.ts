/**
 * The streams of the lanes. A lane's is a work queue in files that refuses when it is full,
 * so that its publisher hears of it; so does the one of the dead letters, whose senders
 * then keep what they have.
 */
import {
  AckPolicy,
  type ConsumerInfo,
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from "@nats-io/jetstream";
import { Fault } from "../base/result.js";
import type { LaneRecord } from "../protocol/lane-record.js";
import {
  deadLetterStream,
  laneStream,
  laneSubjects,
  partitionFilter,
  storedLaneTransform,
} from "../protocol/lanes.js";
import type { NatsConnection } from "./nats-connection.js";
import { ensureReplicated, type Replicas } from "./nats-replicas.js";

const nanosPerMs = 1_000_000;
const dayMs = 24 * 3_600_000;
/** JetStream sets the bytes of a stream aside when it makes it. */
const laneBytesMax = 1024 ** 3;
const deadBytesMax = 256 * 1024 ** 2;
const laneMessagesMax = 5_000_000;
/** A push's body is at most 64 KiB; with its other fields it stays below. */
const messageBytesMax = 256 * 1024;
export const laneAgeMaxMs = 7 * dayMs;
const deadAgeMaxMs = 30 * dayMs;
/**
 * Longer than anything is held back by its taker. Order does not hang on it: who takes
 * over makes a consumer of its own, and one session knows what it has.
 */
const ackWaitMs = 5 * 60_000;

const notFound = [10_059, 10_014];

export async function ensureLaneStream(
  connection: NatsConnection,
  { lane, app }: LaneRecord,
  replicas: Replicas,
): Promise<void> {
  const config = {
    subjects: [laneSubjects(lane, app)],
    subject_transform: storedLaneTransform(lane),
    retention: RetentionPolicy.Workqueue,
    max_bytes: laneBytesMax,
    max_msgs: laneMessagesMax,
    max_age: laneAgeMaxMs * nanosPerMs,
  };
  await ensureStream(connection, laneStream(lane), config, replicas);
}

export function ensureDeadLetters(connection: NatsConnection, replicas: Replicas): Promise<void> {
  const config = {
    subjects: ["dead.>"],
    retention: RetentionPolicy.Limits,
    max_bytes: deadBytesMax,
    max_age: deadAgeMaxMs * nanosPerMs,
  };
  return ensureStream(connection, deadLetterStream, config, replicas);
}

async function ensureStream(
  connection: NatsConnection,
  stream: string,
  config: object,
  replicas: Replicas,
): Promise<void> {
  const jsm = await jetstreamManager(connection.client);
  const whole = {
    ...config,
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    max_msg_size: messageBytesMax,
  };
  const make = (num_replicas: number) => jsm.streams.add({ ...whole, name: stream, num_replicas });
  await ensureReplicated(connection, { title: `the stream ${stream}`, stream, make }, replicas);
  // One of an earlier release may have had other bounds.
  await jsm.streams.update(stream, whole);
}

export interface Claim {
  readonly lane: string;
  readonly group: number;
  readonly epoch: number;
  readonly partitions: readonly number[];
  readonly unackedMax: number;
}

/**
 * A consumer for each of the claim's partitions, as new: it gives all that is not acked, in
 * order. Former ones of these partitions are deleted. Returns them, or undefined where a
 * later owner has one. One filter each: for several nats-server 2.10.27 goes, for each
 * message, through all of a block's subjects that match (filestore.go, firstMatchingMulti),
 * and there are as many as users. Stops where it is when `isGivenUp`, and throws.
 */
export async function claimPartitions(
  jsm: JetStreamManager,
  claim: Claim,
  isGivenUp: () => boolean,
): Promise<ConsumerInfo[] | undefined> {
  const stream = laneStream(claim.lane);
  const filters = claim.partitions.map((partition) => partitionFilter(claim.lane, partition));
  const former: string[] = [];
  for await (const { name, config } of jsm.consumers.list(stream)) {
    const has = config.filter_subjects ?? [config.filter_subject ?? ">"];
    if (!has.some((subject) => subject === ">" || filters.includes(subject))) continue;
    if (epochOf(name, claim.group) > claim.epoch) return undefined;
    former.push(name);
  }
  if (!isGivenUp()) {
    await Promise.all(former.map((name) => deleteConsumer(jsm, stream, name)));
  }
  if (isGivenUp()) throw new Fault("DISCONNECTED", "unknown", "the connection to NATS is gone");
  const made = claim.partitions.map((partition) => {
    const name = `g${claim.group}-e${claim.epoch}-p${partition}`;
    return jsm.consumers.add(stream, {
      name,
      durable_name: name,
      filter_subject: partitionFilter(claim.lane, partition),
      ack_policy: AckPolicy.Explicit,
      ack_wait: ackWaitMs * nanosPerMs,
      max_ack_pending: claim.unackedMax,
      max_deliver: -1,
    });
  });
  return Promise.all(made);
}

export async function deleteConsumer(
  jsm: JetStreamManager,
  stream: string,
  name: string,
): Promise<void> {
  try {
    await jsm.consumers.delete(stream, name);
  } catch (cause) {
    if (!isNotFound(cause)) throw cause;
  }
}

export function isNotFound(cause: unknown): boolean {
  return cause instanceof JetStreamApiError && notFound.includes(cause.code);
}

/** Of a consumer of this very group; 0 of any other's. */
function epochOf(name: string, group: number): number {
  const [, found, epoch] = /^g(\d+)-e(\d+)-p\d+$/.exec(name) ?? [];
  return Number(found) === group ? Number(epoch) : 0;
}
