/**
 * How many servers of a cluster hold a bucket or a stream: as many as are wanted where the cluster
 * has them, and never fewer than before.
 */
import { setTimeout as delay } from "node:timers/promises";
import {
  JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
  type StreamInfo,
} from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { Fault } from "../base/result.js";
import type { NatsConnection } from "./nats-connection.js";

export interface Replicas {
  /** Without it 3 on a cluster, which outlives the loss of one server; 1 on a single server. */
  readonly wanted?: number;
  /** Called with a sentence when there are fewer; a number that was wanted throws instead. */
  readonly onFewer?: (message: string) => void;
}

const onCluster = 3;
/** nats-server, server/errors.json. */
const codes = { noPeers: 10_005, notClustered: 10_074, existsOtherwise: 10_058, notFound: 10_059 };
/** A scale-up elects a leader anew, before which the bucket answers nobody. */
const leaderDeadlineMs = 10_000;
const askMs = 5_000;
const pollMs = 50;

/** Makes the bucket where it is missing. Throws Fault("NATS_UNFIT") and what the client throws. */
export function ensureBucket(
  connection: NatsConnection,
  bucket: string,
  replicas: Replicas,
): Promise<void> {
  // Without reads from any replica: one that lags would tell of a lease that is over.
  const options = { history: 1, allow_direct: false };
  const make = (num: number) =>
    new Kvm(connection.client).create(bucket, { ...options, replicas: num });
  const what = { title: `the bucket ${bucket}`, stream: `KV_${bucket}`, make };
  return ensureReplicated(connection, what, replicas);
}

export interface Replicated {
  /** For people to read. */
  readonly title: string;
  readonly stream: string;
  make(replicas: number): Promise<unknown>;
}

/** Makes it where it is missing, and spreads it wider where it may be. */
export async function ensureReplicated(
  connection: NatsConnection,
  { title, stream, make }: Replicated,
  { wanted, onFewer = () => undefined }: Replicas,
): Promise<void> {
  const replicas = wanted ?? (connection.isClustered ? onCluster : 1);
  const jsm = await jetstreamManager(connection.client, { timeout: askMs });
  const refuse = (cause: JetStreamApiError, has: number) => {
    const message = `${title} is held by ${has} of ${replicas} wanted servers: ${cause.message}`;
    if (wanted !== undefined) throw new Fault("NATS_UNFIT", "not-done", message, { cause });
    onFewer(message);
  };
  const present = await infoOf(jsm, stream);
  if (present === undefined) {
    const refused = await create(() => make(replicas));
    if (refused === undefined) return;
    if (refused.code !== codes.existsOtherwise) {
      refuse(refused, 0);
      await create(() => make(1));
      return;
    }
  }
  const { num_replicas: has } = (present ?? (await jsm.streams.info(stream))).config;
  if (has >= replicas) return;
  const refused = await apiError(() => jsm.streams.update(stream, { num_replicas: replicas }));
  if (refused !== undefined) refuse(refused, has);
  else await untilLed(jsm, stream);
}

/** What it was refused with for want of servers, or because another has made it meanwhile. */
async function create(make: () => Promise<unknown>) {
  const refused = await apiError(make);
  if (refused === undefined) return undefined;
  const { noPeers, notClustered, existsOtherwise } = codes;
  if ([noPeers, notClustered, existsOtherwise].includes(refused.code)) return refused;
  throw refused;
}

async function infoOf(jsm: JetStreamManager, stream: string): Promise<StreamInfo | undefined> {
  try {
    return await jsm.streams.info(stream);
  } catch (cause) {
    if (cause instanceof JetStreamApiError && cause.code === codes.notFound) return undefined;
    throw cause;
  }
}

async function apiError(step: () => Promise<unknown>): Promise<JetStreamApiError | undefined> {
  try {
    await step();
    return undefined;
  } catch (cause) {
    if (cause instanceof JetStreamApiError) return cause;
    throw cause;
  }
}

async function untilLed(jsm: JetStreamManager, stream: string): Promise<void> {
  const deadlineMs = performance.now() + leaderDeadlineMs;
  while (performance.now() < deadlineMs) {
    const info = await jsm.streams.info(stream).catch(() => undefined);
    if (info?.cluster?.leader) return;
    await delay(pollMs);
  }
}
