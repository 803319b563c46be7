/**
 * One client's connection to a server that others share: what it sends takes `delayMs`
 * to get there, what it receives as long to come back, each in order. As with NATS, the
 * server knows a subscription only when it has arrived, and the client drops what comes
 * for one that it has ended.
 */
import type { Clock } from "../../src/base/clock.js";
import type { MemoryBus } from "../../src/drivers/memory-bus.js";
import type { Bus, BusMessage, BusSubscription, PublishOptions } from "../../src/runtime/ports.js";

export class LinkedBus implements Bus {
  private isCut = false;
  private readonly up: Pipe;
  private readonly down: Pipe;
  private readonly subscriptions = new Set<BusSubscription>();
  /** False: lost on the way to the server. */
  mayPass: (subject: string, payload: Uint8Array) => boolean = () => true;
  onArrival: (subject: string, payload: Uint8Array) => void = () => {};

  constructor(
    private readonly server: MemoryBus,
    clock: Clock,
    delayMs: number,
  ) {
    this.up = new Pipe(clock, delayMs);
    this.down = new Pipe(clock, delayMs);
  }

  get payloadMax(): number {
    return this.server.payloadMax;
  }

  /** The process is gone: nothing comes or goes any more. */
  cut(): void {
    this.isCut = true;
    for (const subscription of this.subscriptions) subscription.unsubscribe();
  }

  publish(subject: string, payload: Uint8Array, options?: PublishOptions): void {
    if (!this.mayPass(subject, payload)) return;
    // The caller may write to its bytes again.
    const bytes = payload.slice();
    this.up.push(() => {
      if (!this.isCut) this.server.publish(subject, bytes, options);
    });
  }

  subscribe(subject: string, onMessage: (message: BusMessage) => void): BusSubscription {
    let isActive = true;
    let inner: BusSubscription | undefined;
    const arrive = (message: BusMessage) => {
      if (this.isCut) return;
      this.onArrival(message.subject, message.payload);
      if (isActive) onMessage(message);
    };
    this.up.push(() => {
      if (this.isCut) return;
      inner = this.server.subscribe(subject, (message) => this.down.push(() => arrive(message)));
      this.subscriptions.add(inner);
    });
    return {
      unsubscribe: () => {
        isActive = false;
        this.up.push(() => inner?.unsubscribe());
      },
    };
  }

  request(subject: string, payload: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    return this.server.request(subject, payload, deadlineMs);
  }

  flush(): Promise<void> {
    return new Promise((resolve) => {
      this.up.push(() => void this.server.flush().then(() => this.down.push(resolve)));
    });
  }
}

/** Carries out what was pushed, in order, each `delayMs` later; one timer an instant. */
class Pipe {
  private last: { readonly atMs: number; readonly steps: (() => void)[] } | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly delayMs: number,
  ) {}

  push(step: () => void): void {
    const atMs = this.clock.monotonicMs() + this.delayMs;
    if (this.last?.atMs === atMs) {
      this.last.steps.push(step);
      return;
    }
    const batch = { atMs, steps: [step] };
    this.last = batch;
    this.clock.after(this.delayMs, () => {
      if (this.last === batch) this.last = undefined;
      for (const one of batch.steps) one();
    });
  }
}
