/** What the stream of events holds, read with a consumer of its own. */
import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "../../src/drivers/nats-connection.js";
import { eventStream } from "../../src/drivers/nats-events.js";
import type { ServiceEvent } from "../../src/protocol/service-event.js";

export interface StoredEvent {
  readonly subject: string;
  /** `Nats-Msg-Id`. */
  readonly id: string;
  readonly payload: Uint8Array;
}

const readMs = 10_000;

/** All that it holds now, in its order. */
export async function storedEvents({ client }: NatsConnection): Promise<StoredEvent[]> {
  const manager = await jetstreamManager(client, { timeout: readMs });
  const { state } = await manager.streams.info(eventStream);
  if (state.messages === 0) return [];
  const consumer = await manager.jetstream().consumers.get(eventStream);
  const messages = await consumer.consume({ max_messages: 1_000 });
  const stored: StoredEvent[] = [];
  const end = setTimeout(() => messages.stop(), readMs);
  for await (const message of messages) {
    const { subject, data, headers, seq } = message;
    stored.push({ subject, id: headers?.get("Nats-Msg-Id") ?? "", payload: data });
    if (seq >= state.last_seq) break;
  }
  clearTimeout(end);
  return stored;
}

export function eventIn({ payload }: { readonly payload: Uint8Array }): ServiceEvent {
  return JSON.parse(new TextDecoder().decode(payload)) as ServiceEvent;
}
