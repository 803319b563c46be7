/**
 * JournalStore in the JetStream stream `JOURNAL`: one message a batch, on `journal.<block>`.
 *
 * Batches are deflated at level 1, which makes a quarter of them for some 2 ns a byte.
 * The stream is made when the first batch is to be kept, and looked for again after each
 * failure, so that a node starts, and serves, also where there is no room for it.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import {
  AckPolicy,
  type Consumer,
  DeliverPolicy,
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { Fault } from "../base/result.js";
import type { JournalPart, JournalReading, JournalStore, StoredBatch } from "../ports/journal.js";
import { askedAgain } from "./nats-asked-again.js";
import type { NatsConnection } from "./nats-connection.js";

const streamName = "JOURNAL";
const askMs = 2_000;
/** The shortest that a fetch may wait for. */
const fetchMsMin = 1_000;
const fetchBatches = 64;
const batchBytesMax = 1024 * 1024;
/** A reader that died takes its consumer with it. */
const consumerIdleMs = 30_000;
const replicasOnCluster = 3;
/** nats-server, server/errors.json. */
const codes = { noPeers: 10_005, notClustered: 10_074, notFound: 10_059 };

export interface NatsJournalOptions {
  /** At which the oldest batches leave. */
  readonly bytesMax: number;
  readonly maxAgeMs: number;
  /** Without it 3 on a cluster, 1 on a single server, as the buckets. */
  readonly replicas?: number;
}

export class NatsJournal implements JournalStore {
  private ready: Promise<void> | undefined = undefined;

  constructor(
    private readonly connection: NatsConnection,
    private readonly options: NatsJournalOptions,
  ) {}

  async append(block: number, id: string, batch: Uint8Array): Promise<void> {
    await this.faulting(async () => {
      this.ready ??= this.ensureStream();
      await this.ready;
      const js = jetstream(this.connection.client, { timeout: askMs });
      const packed = deflateRawSync(batch, { level: 1 });
      await js.publish(`journal.${block}`, packed, { msgID: id, timeout: askMs });
    });
  }

  read(part: JournalPart, onBatch: (batch: StoredBatch) => boolean): Promise<JournalReading> {
    return this.faulting(async () => {
      const endMs = performance.now() + part.deadlineMs;
      const jsm = await this.manager();
      // One that comes too late ends by itself, idle.
      const { name, num_pending } = await askedAgain(() =>
        jsm.consumers.add(streamName, {
          ack_policy: AckPolicy.None,
          deliver_policy: DeliverPolicy.StartTime,
          opt_start_time: new Date(part.fromMs).toISOString(),
          filter_subject: `journal.${part.block}`,
          inactive_threshold: nanos(consumerIdleMs),
          mem_storage: true,
          num_replicas: 1,
        }),
      );
      try {
        const js = jetstream(this.connection.client, { timeout: askMs });
        const consumer = await js.consumers.get(streamName, name);
        return await readConsumer(consumer, num_pending, { ...part, endMs }, onBatch);
      } finally {
        await jsm.consumers.delete(streamName, name).catch(() => undefined);
      }
    });
  }

  private manager(): Promise<JetStreamManager> {
    return jetstreamManager(this.connection.client, { timeout: askMs, checkAPI: false });
  }

  /** Throws what the client throws. */
  private async ensureStream(): Promise<void> {
    const jsm = await this.manager();
    const { bytesMax, maxAgeMs, replicas } = this.options;
    const wanted = replicas ?? (this.connection.isClustered ? replicasOnCluster : 1);
    const config = {
      subjects: ["journal.*"],
      max_bytes: bytesMax,
      max_age: nanos(maxAgeMs),
    };
    const present = await infoOf(jsm);
    if (present === undefined) {
      await create(jsm, { ...config, num_replicas: wanted });
      return;
    }
    const isSame = present.max_bytes === bytesMax && present.max_age === config.max_age;
    const num_replicas = Math.max(wanted, present.num_replicas);
    if (isSame && num_replicas === present.num_replicas) return;
    await jsm.streams.update(streamName, { ...config, num_replicas }).catch((cause) => {
      // Not enough servers for more copies: what is there serves on.
      if (!(cause instanceof JetStreamApiError)) throw cause;
    });
  }

  private async faulting<Value>(step: () => Promise<Value>): Promise<Value> {
    try {
      return await this.connection.whileConnected(step);
    } catch (cause) {
      this.ready = undefined;
      if (cause instanceof Fault) throw cause;
      const isRefused = cause instanceof JetStreamApiError;
      const message = `the journal cannot be used: ${(cause as Error).message}`;
      throw new Fault("JOURNAL_UNAVAILABLE", isRefused ? "not-done" : "unknown", message, {
        cause,
      });
    }
  }
}

/** What is no batch of ours is given as it is: who reads batches says that it is none. */
function unpacked(bytes: Uint8Array): Uint8Array {
  try {
    return inflateRawSync(bytes, { maxOutputLength: batchBytesMax });
  } catch {
    return bytes;
  }
}

async function infoOf(jsm: JetStreamManager): Promise<StreamConfig | undefined> {
  try {
    return (await jsm.streams.info(streamName)).config;
  } catch (cause) {
    if (cause instanceof JetStreamApiError && cause.code === codes.notFound) return undefined;
    throw cause;
  }
}

async function create(
  jsm: JetStreamManager,
  config: Pick<StreamConfig, "subjects" | "max_bytes" | "max_age" | "num_replicas">,
): Promise<void> {
  const whole = {
    ...config,
    name: streamName,
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.Old,
  };
  try {
    await jsm.streams.add(whole);
  } catch (cause) {
    const isShort =
      cause instanceof JetStreamApiError &&
      (cause.code === codes.noPeers || cause.code === codes.notClustered);
    if (!isShort || config.num_replicas === 1) throw cause;
    await jsm.streams.add({ ...whole, num_replicas: 1 });
  }
}

interface Bounds {
  readonly bytesMax: number;
  /** Monotonic. */
  readonly endMs: number;
}

async function readConsumer(
  consumer: Consumer,
  waiting: number,
  { bytesMax, endMs }: Bounds,
  onBatch: (batch: StoredBatch) => boolean,
): Promise<JournalReading> {
  let pending = waiting;
  let batches = 0;
  let bytes = 0;
  while (pending > 0) {
    const leftMs = endMs - performance.now();
    if (leftMs <= 0 || bytes >= bytesMax) return { batches, bytes, end: "bound" };
    const wanted = Math.min(pending, fetchBatches);
    const expires = Math.max(fetchMsMin, Math.min(leftMs, fetchMsMin * 2));
    const fetched = await consumer.fetch({ max_messages: wanted, expires });
    for await (const message of fetched) {
      pending = message.info.pending;
      batches += 1;
      const batch = unpacked(message.data);
      bytes += batch.length;
      const storedAtMs = Math.floor(message.info.timestampNanos / 1_000_000);
      if (!onBatch({ bytes: batch, storedAtMs })) return { batches, bytes, end: "enough" };
      if (bytes >= bytesMax || performance.now() > endMs) break;
      // A node serves while it reads: what was fetched is read a batch a turn.
      await nextTurn();
    }
  }
  return { batches, bytes, end: "end" };
}
