/**
 * The event log in a JetStream stream: kept for three days, in files, bounded in bytes.
 * The oldest events go first; a service that must have all of them reads in time.
 *
 * The stream is made at start, and again when it is found missing. What the services
 * subscribe is the subjects themselves, on which each event passes once, as it is stored.
 */
import {
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamClient,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from "@nats-io/jetstream";
import { RequestError } from "@nats-io/transport-node";
import { Fault } from "../base/result.js";
import { duplicateWindowMs, type EventLog, type LoggedEvent } from "../ports/event-log.js";
import type { NatsConnection } from "./nats-connection.js";
import { ensureReplicated, type Replicas } from "./nats-replicas.js";

export const eventStream = "EVENTS";
const hourMs = 3_600_000;
const keptMs = 72 * hourMs;
const keptBytes = 1024 * 1024 * 1024;
const nanosPerMs = 1_000_000;
/** An event that the stream's leader took to its grave is not answered at all. */
const publishMs = 2_000;
const askMs = 5_000;
/** Between two looks for a stream that is missing. */
const remakeMs = 5_000;

/** Makes the stream where it is missing. Throws Fault("NATS_UNFIT") and what the client throws. */
export async function openEvents(
  connection: NatsConnection,
  replicas: Replicas = {},
): Promise<EventLog> {
  await ensureEvents(connection, replicas);
  return new NatsEvents(connection, replicas);
}

function ensureEvents(connection: NatsConnection, replicas: Replicas): Promise<void> {
  const make = (count: number) => makeStream(connection, count);
  const wanted = { stream: eventStream, title: `the stream ${eventStream}`, make };
  return ensureReplicated(connection, wanted, replicas);
}

async function makeStream(connection: NatsConnection, replicas: number): Promise<void> {
  const manager = await jetstreamManager(connection.client, { timeout: askMs });
  await manager.streams.add({
    name: eventStream,
    description: "Belfry: what became of messages and users",
    subjects: ["event.>"],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.Old,
    max_age: keptMs * nanosPerMs,
    max_bytes: keptBytes,
    duplicate_window: duplicateWindowMs * nanosPerMs,
    num_replicas: replicas,
  });
}

class NatsEvents implements EventLog {
  private readonly js: JetStreamClient;
  private remadeMs = 0;

  constructor(
    private readonly connection: NatsConnection,
    private readonly replicas: Replicas,
  ) {
    this.js = jetstream(connection.client, { timeout: publishMs });
  }

  async publish({ subject, id, payload }: LoggedEvent): Promise<{ readonly isDuplicate: boolean }> {
    try {
      const { duplicate } = await this.connection.whileConnected(() =>
        this.js.publish(subject, payload, {
          msgID: id,
          timeout: publishMs,
          expect: { streamName: eventStream },
        }),
      );
      return { isDuplicate: duplicate };
    } catch (cause) {
      if (isMissing(cause)) this.remake();
      throw asFault(cause);
    }
  }

  /** An operator may have deleted it, or the server come back without its data. */
  private remake(): void {
    const nowMs = performance.now();
    if (nowMs - this.remadeMs < remakeMs) return;
    this.remadeMs = nowMs;
    // What it fails with the next event tells, too.
    ensureEvents(this.connection, this.replicas).catch(() => undefined);
  }
}

/** The client's own error for it is made of a "no responders". */
function isMissing(cause: unknown): boolean {
  const { cause: inner } = cause as { readonly cause?: unknown };
  return inner instanceof RequestError && inner.isNoResponders();
}

/** What the server refused, and what nobody took, was not stored. */
function asFault(cause: unknown): Fault {
  if (cause instanceof Fault) {
    return new Fault("EVENTS_UNAVAILABLE", cause.outcome, cause.message, { cause });
  }
  const isRefused = cause instanceof JetStreamApiError || isMissing(cause);
  const message = `an event was not taken: ${(cause as Error).message}`;
  return new Fault("EVENTS_UNAVAILABLE", isRefused ? "not-done" : "unknown", message, { cause });
}
