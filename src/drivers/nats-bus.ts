/**
 * The runtime's bus over NATS core: at most once, no queue groups.
 *
 * A payload that comes in is a part of what the socket read, which nobody writes to
 * again: it is the callee's. One that goes out is the client's until the turn ends.
 */
import { NoRespondersError, RequestError, TimeoutError } from "@nats-io/transport-node";
import { assert } from "../base/assert.js";
import { Fault } from "../base/result.js";
import type { Bus, BusMessage, BusSubscription, PublishOptions } from "../runtime/ports.js";
import type { NatsConnection } from "./nats-connection.js";

export class NatsBus implements Bus {
  constructor(private readonly connection: NatsConnection) {}

  get payloadMax(): number {
    return this.connection.payloadMax;
  }

  get isConnected(): boolean {
    return this.connection.isConnected;
  }

  publish(subject: string, payload: Uint8Array, options?: PublishOptions): void {
    assert(
      payload.length <= this.payloadMax,
      `${payload.length} bytes are too many for one message`,
    );
    const { connection } = this;
    if (!connection.isConnected) {
      connection.droppedPublishes += 1;
      return;
    }
    if (options?.reply === undefined) connection.client.publish(subject, payload);
    else connection.client.publish(subject, payload, { reply: options.reply });
  }

  subscribe(subject: string, onMessage: (message: BusMessage) => void): BusSubscription {
    const subscription = this.connection.client.subscribe(subject, {
      callback: (error, message) => {
        // The server refused the subscription; the connection's status has said so.
        if (error !== null) return;
        const { data: payload, reply } = message;
        if (!reply) onMessage({ subject: message.subject, payload });
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
    const { connection } = this;
    try {
      const answer = await connection.whileConnected(() =>
        connection.client.request(subject, payload, { timeout: deadlineMs }),
      );
      return answer.data;
    } catch (cause) {
      throw asFault(cause, subject);
    }
  }

  async flush(): Promise<void> {
    const { connection } = this;
    try {
      await connection.whileConnected(() => connection.client.flush());
    } catch (cause) {
      throw asFault(cause, "the server");
    }
  }
}

function asFault(cause: unknown, subject: string): Fault {
  if (cause instanceof Fault) return cause;
  if (isNoResponders(cause)) {
    return new Fault("NO_RESPONDERS", "not-done", `nobody serves ${subject}`, { cause });
  }
  if (cause instanceof TimeoutError) {
    return new Fault("TIMEOUT", "unknown", `no answer from ${subject} in time`, { cause });
  }
  const message = `no answer from ${subject}: ${(cause as Error).message}`;
  return new Fault("DISCONNECTED", "unknown", message, { cause });
}

function isNoResponders(cause: unknown): boolean {
  if (cause instanceof NoRespondersError) return true;
  return cause instanceof RequestError && cause.isNoResponders();
}
