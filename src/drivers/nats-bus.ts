/** The runtime's bus over NATS core: at most once, no queue groups. */
import { NoRespondersError, RequestError, TimeoutError } from "@nats-io/transport-node";
import { Fault } from "../base/result.js";
import type { Bus, BusMessage, BusSubscription, PublishOptions } from "../runtime/ports.js";
import type { NatsConnection } from "./nats-connection.js";

export class NatsBus implements Bus {
  constructor(private readonly connection: NatsConnection) {}

  get payloadMax(): number {
    return this.connection.payloadMax;
  }

  publish(subject: string, payload: Uint8Array, options?: PublishOptions): void {
    const { client, isConnected } = this.connection;
    if (!isConnected || client.isClosed()) {
      this.connection.droppedPublishes++;
      return;
    }
    if (options?.reply === undefined) client.publish(subject, payload);
    else client.publish(subject, payload, { reply: options.reply });
  }

  subscribe(subject: string, onMessage: (message: BusMessage) => void): BusSubscription {
    const subscription = this.connection.client.subscribe(subject, {
      callback: (error, message) => {
        // A permission error ends the subscription: a bug in nats.conf's rules.
        if (error !== null) throw error;
        const { data: payload, reply } = message;
        if (reply === undefined) onMessage({ subject: message.subject, payload });
        else onMessage({ subject: message.subject, payload, reply });
      },
    });
    return {
      unsubscribe: () => {
        if (!subscription.isClosed()) subscription.unsubscribe();
      },
    };
  }

  async request(subject: string, payload: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    const { client, isConnected } = this.connection;
    if (!isConnected || client.isClosed()) {
      throw new Fault("DISCONNECTED", "not-done", "the bus is gone");
    }
    try {
      const answer = await client.request(subject, payload, { timeout: deadlineMs });
      return answer.data;
    } catch (cause) {
      throw asFault(cause, subject);
    }
  }

  async flush(): Promise<void> {
    await this.connection.client.flush();
  }
}

function asFault(cause: unknown, subject: string): Fault {
  const isNobody =
    cause instanceof NoRespondersError || (cause instanceof RequestError && cause.isNoResponders());
  if (isNobody) {
    return new Fault("NO_RESPONDERS", "not-done", `nobody serves ${subject}`, { cause });
  }
  if (cause instanceof TimeoutError) {
    return new Fault("TIMEOUT", "unknown", `no answer from ${subject} in time`, { cause });
  }
  return new Fault("DISCONNECTED", "unknown", String(cause), { cause });
}
