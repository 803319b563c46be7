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
/** Of a lane, the publisher's headers included; a push's body is at most 64 KiB. */
export const laneMessageBytesMax = 256 * 1024;
/** The header of a dead letter: all that a lane takes can be buried with it. */
const letterHeaderBytesMax = 8 * 1024;
export const laneAgeMaxMs = 7 * dayMs;
const deadAgeMaxMs = 30 * dayMs;
/**
 * A stream knows one message id whoever gave it: on a lane for all, one app's would swallow
 * another's push. The window cannot be turned off (0 is two minutes); this is the shortest
 * that nats-server 2.10.27 takes (stream.go, checkStreamCfg).
 */
const sharedWindowMs = 100;
/**
 * What is held back for longer comes again, and is known. Order does not hang on it: who
 * takes over makes a consumer of its own, and one session knows what it has.
 */
const ackWaitMs = 30 * 60_000;

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
    max_msg_size: laneMessageBytesMax,
    ...(app === undefined ? { duplicate_window: sharedWindowMs * nanosPerMs } : {}),
  };
  await ensureStream(connection, laneStream(lane), config, replicas);
}

export function ensureDeadLetters(connection: NatsConnection, replicas: Replicas): Promise<void> {
  const config = {
    subjects: ["dead.>"],
    retention: RetentionPolicy.Limits,
    max_bytes: deadBytesMax,
    max_age: deadAgeMaxMs * nanosPerMs,
    max_msg_size: laneMessageBytesMax + letterHeaderBytesMax,
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

/**
 * Dead letters of a lane: the server counts what a consumer would be given. Asked of the
 * stream itself it answers with every subject, and there is one for each user.
 */
export async function countLetters(jsm: JetStreamManager, lane: string): Promise<number> {
  const { name, num_pending } = await jsm.consumers.add(deadLetterStream, {
    filter_subject: `dead.${lane}.>`,
    ack_policy: AckPolicy.None,
    mem_storage: true,
    num_replicas: 1,
    // It is deleted below, unless this process dies before.
    inactive_threshold: 10_000 * nanosPerMs,
  });
  await deleteConsumer(jsm, deadLetterStream, name);
  return num_pending;
}

export function isNotFound(cause: unknown): boolean {
  return cause instanceof JetStreamApiError && notFound.includes(cause.code);
}

/** Of the consumer that has this name. */
export function partitionOf(name: string): number | undefined {
  const [, partition] = /^g\d+-e\d+-p(\d+)$/.exec(name) ?? [];
  return partition === undefined ? undefined : Number(partition);
}

/** Of a consumer of this very group; 0 of any other's. */
function epochOf(name: string, group: number): number {
  const [, found, epoch] = /^g(\d+)-e(\d+)-p\d+$/.exec(name) ?? [];
  return Number(found) === group ? Number(epoch) : 0;
}
