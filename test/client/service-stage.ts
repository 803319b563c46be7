/** A service's connection that a test answers for, request by request, on virtual time. */
import { createService, type Service } from "../../src/client/service-client.js";
import type { ServiceConnection, ServiceMessage } from "../../src/client/service-connection.js";
import { unpackValue } from "../../src/protocol/codec.js";
import { SeededRandom } from "../sim/seeded-random.js";
import { VirtualClock } from "../support/virtual-clock.js";

export interface Request {
  readonly subject: string;
  readonly command: Record<string, unknown>;
  readonly timeout: number;
  answer(data: Uint8Array): void;
  fail(error: Error): void;
}

/** Shaped like nats-core's: the reason is the cause. */
export function natsError(name: string, cause?: Error): Error {
  return Object.assign(new Error(name.toLowerCase(), { cause }), { name });
}

export const noResponders = natsError("RequestError", natsError("NoResponders"));

export class ServiceStage {
  readonly clock = new VirtualClock();
  readonly requests: Request[] = [];
  readonly service: Service;
  /** What was published, by subject. */
  readonly published: [string, unknown][] = [];
  private readonly callbacks = new Map<string, (message: ServiceMessage) => void>();

  /** Called with each request; what it leaves unanswered times out. */
  constructor(onRequest: (request: Request) => void = () => undefined) {
    const connection: ServiceConnection = {
      request: (subject, payload, options) =>
        new Promise((resolve, reject) => {
          const timeout = options?.timeout ?? 0;
          const request: Request = {
            ...{ subject, timeout },
            command: unpackValue(payload) as Record<string, unknown>,
            answer: (data) => resolve({ data }),
            fail: reject,
          };
          this.clock.after(timeout, () => reject(natsError("TimeoutError")));
          this.requests.push(request);
          onRequest(request);
        }),
      publish: (subject, payload) => void this.published.push([subject, unpackValue(payload)]),
      subscribe: (subject, { callback }) => {
        this.callbacks.set(subject, (message) => callback(null, message));
        return { unsubscribe: () => void this.callbacks.delete(subject) };
      },
    };
    const random = new SeededRandom(1);
    this.service = createService({ connection, app: "my shop", clock: this.clock, random });
  }

  get subscribed(): string[] {
    return [...this.callbacks.keys()];
  }

  /** What a node publishes. */
  emit(subject: string, data: Uint8Array, reply?: string): void {
    for (const callback of this.callbacks.values()) callback({ subject, data, reply });
  }

  /** Time goes on until it is settled. */
  async settled<Value>(promise: Promise<Value>, stepMs = 500): Promise<Value> {
    let isOver = false;
    const over = promise.finally(() => {
      isOver = true;
    });
    over.catch(() => {});
    for (let round = 0; round < 400 && !isOver; round++) await this.clock.advanceAndSettle(stepMs);
    return over;
  }
}
