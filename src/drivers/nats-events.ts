/**
 * The event log in a JetStream stream: kept for three days, in files, bounded in bytes.
 * The oldest events go first; a service that must have all of them reads in time.
 *
 * The stream is made at start, and again when it is found missing. What the services
 * subscribe is the subjects themselves, on which each event passes once, as it is stored.
 */
import { DiscardPolicy, jetstreamManager, RetentionPolicy, StorageType } from "@nats-io/jetstream";
import { createInbox, headers, type Msg } from "@nats-io/transport-node";
import { Fault } from "../base/result.js";
import { duplicateWindowMs, type EventLog, type LoggedEvent } from "../ports/event-log.js";
import { isMap } from "../protocol/codec.js";
import type { NatsConnection } from "./nats-connection.js";
import { isNotFound } from "./nats-lane-streams.js";
import { ensureReplicated, type Replicas } from "./nats-replicas.js";

export const eventStream = "EVENTS";
const hourMs = 3_600_000;
const keptMs = 72 * hourMs;
const keptBytes = 1024 * 1024 * 1024;
const nanosPerMs = 1_000_000;
/** An event that the stream's leader took to its grave is not answered at all. */
const publishMs = 2_000;
const askMs = 5_000;
/** Between two looks for a stream that may be missing. */
const lookMs = 5_000;

/**
 * Makes the stream where it is missing. Where the server has no room for it now, pushes are
 * served all the same: `onFewer` is told, and it is made as soon as there is an event.
 */
export async function openEvents(
  connection: NatsConnection,
  replicas: Replicas = {},
): Promise<EventLog> {
  await ensureEvents(connection, replicas).catch((cause) => {
    replicas.onFewer?.(`there is no stream ${eventStream}: ${(cause as Error).message}`);
  });
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
  private readonly inbox: string;
  private readonly waiting = new Map<string, (isDuplicate: boolean) => void>();
  private count = 0;
  private askedMs = 0;

  constructor(
    private readonly connection: NatsConnection,
    private readonly replicas: Replicas,
  ) {
    const { client, inboxPrefix } = connection;
    this.inbox = createInbox(inboxPrefix);
    client.subscribe(`${this.inbox}.*`, {
      callback: (error, message) => {
        if (error === null) this.onAnswer(message);
      },
    });
  }

  async publish({ subject, id, payload }: LoggedEvent): Promise<{ readonly isDuplicate: boolean }> {
    const { client } = this.connection;
    const sent = headers();
    sent.set("Nats-Msg-Id", id);
    sent.set("Nats-Expected-Stream", eventStream);
    const reply = `${this.inbox}.${this.count++}`;
    try {
      const isDuplicate = await this.connection.whileConnected(() => {
        const answered = this.answerOn(reply);
        client.publish(subject, payload, { reply, headers: sent });
        return answered;
      });
      return { isDuplicate };
    } catch (cause) {
      const outcome = cause instanceof Fault ? cause.outcome : "unknown";
      if (this.connection.isConnected) this.lookForStream();
      const message = `an event was not taken: ${(cause as Error).message}`;
      throw new Fault("EVENTS_UNAVAILABLE", outcome, message, { cause });
    }
  }

  async forget(subjects: string): Promise<void> {
    try {
      await this.connection.whileConnected(async () => {
        const manager = await jetstreamManager(this.connection.client, {
          timeout: askMs,
          checkAPI: false,
        });
        await manager.streams.purge(eventStream, { filter: subjects });
      });
    } catch (cause) {
      // Where there is no stream there is nothing in it.
      if (isNotFound(cause)) return;
      const outcome = cause instanceof Fault ? cause.outcome : "unknown";
      const message = `events cannot be deleted: ${(cause as Error).message}`;
      throw new Fault("EVENTS_UNAVAILABLE", outcome, message, { cause });
    }
  }

  private answerOn(reply: string): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const end = setTimeout(() => {
        this.waiting.delete(reply);
        reject(new Fault("TIMEOUT", "unknown", `no answer within ${publishMs} ms`));
      }, publishMs);
      this.waiting.set(reply, (isDuplicate) => {
        this.waiting.delete(reply);
        clearTimeout(end);
        resolve(isDuplicate);
      });
    });
  }

  /**
   * A service that subscribes the event may answer it as well, and what it says must not
   * count, nor hold up those of other apps: whatever is not the stream's word is not heard.
   */
  private onAnswer({ subject, data }: Msg): void {
    const resolve = this.waiting.get(subject);
    if (resolve === undefined) return;
    const ack = readAck(data);
    if (ack !== undefined) resolve(ack.isDuplicate);
  }

  /** An operator may have deleted it, or the server come back without its data. */
  private lookForStream(): void {
    const nowMs = performance.now();
    if (nowMs - this.askedMs < lookMs) return;
    this.askedMs = nowMs;
    // What it fails with the next event tells, too.
    ensureEvents(this.connection, this.replicas).catch(() => undefined);
  }
}

/** Undefined for anything but a PubAck of the stream of events. */
function readAck(data: Uint8Array): { readonly isDuplicate: boolean } | undefined {
  let answer: unknown;
  try {
    answer = JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
  if (!isMap(answer) || answer.stream !== eventStream || !Number.isInteger(answer.seq)) return;
  return { isDuplicate: answer.duplicate === true };
}
