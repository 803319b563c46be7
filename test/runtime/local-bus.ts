/** A bus inside the process: delivers when the clock's loop turns, in order, and keeps what passed. */
import type { Clock } from "../../src/base/clock.js";
import { Fault } from "../../src/base/result.js";
import type { Bus, BusMessage, BusSubscription } from "../../src/runtime/ports.js";

export class LocalBus implements Bus {
  readonly published: BusMessage[] = [];
  isDown = false;
  private readonly handlers = new Map<string, (message: BusMessage) => void>();

  constructor(
    private readonly clock: Clock,
    readonly payloadMax = 1_048_576,
  ) {}

  publish(subject: string, payload: Uint8Array): void {
    if (this.isDown) throw new Fault("DISCONNECTED", "unknown", "the bus is down");
    if (payload.length > this.payloadMax) throw new Error("the payload passes the bus's bound");
    const message = { subject, payload };
    this.published.push(message);
    this.clock.soon(() => this.handlers.get(subject)?.(message));
  }

  subscribe(subject: string, onMessage: (message: BusMessage) => void): BusSubscription {
    this.handlers.set(subject, onMessage);
    return { unsubscribe: () => void this.handlers.delete(subject) };
  }

  get subjects(): string[] {
    return [...this.handlers.keys()];
  }

  request(): Promise<Uint8Array> {
    return Promise.reject(new Fault("NO_RESPONDERS", "not-done", "nobody serves requests here"));
  }

  async flush(): Promise<void> {}
}
