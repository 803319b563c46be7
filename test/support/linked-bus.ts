/**
 * One client's connection to a server that others share: what it sends takes `delayMs`
 * to get there, what it receives as long to come back, each in order. As with NATS, the
 * server knows a subscription only when it has arrived, and the client drops what comes
 * for one that it has ended.
 *
 * With a route, publishers are at another server of a cluster: interest in pushes takes as
 * long to get there as they take to come from there, while all else takes its own way.
 */
import type { Clock } from "../../src/base/clock.js";
import type { MemoryBus } from "../../src/drivers/memory-bus.js";
import type { Bus, BusMessage, BusSubscription, PublishOptions } from "../../src/runtime/ports.js";

export class LinkedBus implements Bus {
  private isCut = false;
  private readonly up: Pipe;
  private readonly down: Pipe;
  private readonly route: Pipe | undefined;
  private readonly behind = new Map<string, Interest>();
  private readonly subscriptions = new Set<BusSubscription>();
  /** False: lost on the way to the server. */
  mayPass: (subject: string, payload: Uint8Array) => boolean = () => true;
  onArrival: (subject: string, payload: Uint8Array) => void = () => {};

  constructor(
    private readonly server: MemoryBus,
    clock: Clock,
    delayMs: number,
    routeMs = 0,
  ) {
    this.up = new Pipe(clock, delayMs);
    this.down = new Pipe(clock, delayMs);
    this.route = routeMs > 0 ? new Pipe(clock, routeMs) : undefined;
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
    const receive = (message: BusMessage) => this.down.push(() => arrive(message));
    this.up.push(() => {
      if (this.isCut) return;
      inner =
        this.route !== undefined && subject.startsWith("shard.")
          ? this.subscribeBehind(this.route, subject, receive)
          : this.server.subscribe(subject, receive);
      this.subscriptions.add(inner);
    });
    return {
      unsubscribe: () => {
        isActive = false;
        this.up.push(() => inner?.unsubscribe());
      },
    };
  }

  /** Each word of interest, and each push, crosses the route; this server sorts them out. */
  private subscribeBehind(
    route: Pipe,
    subject: string,
    receive: (message: BusMessage) => void,
  ): BusSubscription {
    const interest = this.behind.get(subject) ?? { receivers: new Set(), count: 0, far: undefined };
    this.behind.set(subject, interest);
    interest.receivers.add(receive);
    const arrive = (message: BusMessage) =>
      route.push(() => {
        for (const receiver of interest.receivers) receiver(message);
      });
    route.push(() => {
      if (interest.count++ === 0) interest.far = this.server.subscribe(subject, arrive);
    });
    return {
      unsubscribe: () => {
        interest.receivers.delete(receive);
        route.push(() => {
          if (--interest.count === 0) interest.far?.unsubscribe();
        });
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

/** In the pushes of one subject: here at once, at the publishers' server a route later. */
interface Interest {
  readonly receivers: Set<(message: BusMessage) => void>;
  count: number;
  far: BusSubscription | undefined;
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
