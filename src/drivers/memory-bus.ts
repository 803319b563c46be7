/**
 * A bus in memory with NATS's semantics, for unit tests and the simulator: wildcards
 * `*` and `>`, at most once, no responders told at once, each subscriber in the
 * publisher's order. Delivery is one turn later and looks at who subscribes when the
 * message is published, as a server does.
 */
import { assert } from "../base/assert.js";
import type { Clock } from "../base/clock.js";
import { Fault } from "../base/result.js";
import type { Bus, BusMessage, BusSubscription, PublishOptions } from "../runtime/ports.js";

const payloadMaxDefault = 1024 * 1024;

export class MemoryBus implements Bus {
  private readonly interest = new InterestNode();
  private requests = 0;

  constructor(
    private readonly clock: Clock,
    readonly payloadMax = payloadMaxDefault,
  ) {}

  publish(subject: string, payload: Uint8Array, options?: PublishOptions): void {
    this.deliver(subject, payload, options?.reply);
  }

  subscribe(subject: string, onMessage: (message: BusMessage) => void): BusSubscription {
    const subscriber: Subscriber = { onMessage, isActive: true };
    const tokens = subject.split(".");
    this.interest.add(tokens, subscriber);
    return {
      unsubscribe: () => {
        subscriber.isActive = false;
        this.interest.remove(tokens, subscriber);
      },
    };
  }

  request(subject: string, payload: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const reply = `_INBOX.${this.requests++}`;
      const settle = () => {
        cancel();
        subscription.unsubscribe();
      };
      const subscription = this.subscribe(reply, (answer) => {
        settle();
        resolve(answer.payload);
      });
      const cancel = this.clock.after(deadlineMs, () => {
        subscription.unsubscribe();
        reject(new Fault("TIMEOUT", "unknown", `no answer from ${subject} in time`));
      });
      if (this.deliver(subject, payload, reply) > 0) return;
      settle();
      reject(new Fault("NO_RESPONDERS", "not-done", `nobody serves ${subject}`));
    });
  }

  flush(): Promise<void> {
    return new Promise((resolve) => this.clock.soon(resolve));
  }

  /** Returns how many subscribers there are. */
  private deliver(subject: string, payload: Uint8Array, reply: string | undefined): number {
    assert(
      payload.length <= this.payloadMax,
      `${payload.length} bytes are too many for one message`,
    );
    const subscribers: Subscriber[] = [];
    this.interest.collect(subject.split("."), 0, subscribers);
    for (const subscriber of subscribers) {
      const message = { subject, payload: new Uint8Array(payload) };
      this.clock.soon(() => {
        if (!subscriber.isActive) return;
        subscriber.onMessage(reply === undefined ? message : { ...message, reply });
      });
    }
    return subscribers.length;
  }
}

interface Subscriber {
  readonly onMessage: (message: BusMessage) => void;
  isActive: boolean;
}

/** A tree of subject tokens: an owner subscribes thousands of shards, each with a `>`. */
class InterestNode {
  private readonly children = new Map<string, InterestNode>();
  private readonly subscribers = new Set<Subscriber>();

  add(tokens: readonly string[], subscriber: Subscriber): void {
    const [token, ...rest] = tokens;
    if (token === undefined) {
      this.subscribers.add(subscriber);
      return;
    }
    let child = this.children.get(token);
    if (child === undefined) {
      child = new InterestNode();
      this.children.set(token, child);
    }
    child.add(rest, subscriber);
  }

  remove(tokens: readonly string[], subscriber: Subscriber): void {
    const [token, ...rest] = tokens;
    if (token === undefined) {
      this.subscribers.delete(subscriber);
      return;
    }
    const child = this.children.get(token);
    child?.remove(rest, subscriber);
    if (child?.isEmpty) this.children.delete(token);
  }

  collect(tokens: readonly string[], at: number, found: Subscriber[]): void {
    const token = tokens[at];
    if (token === undefined) {
      found.push(...this.subscribers);
      return;
    }
    this.children.get(token)?.collect(tokens, at + 1, found);
    this.children.get("*")?.collect(tokens, at + 1, found);
    // `>` stands for one token or more.
    found.push(...(this.children.get(">")?.subscribers ?? []));
  }

  private get isEmpty(): boolean {
    return this.children.size === 0 && this.subscribers.size === 0;
  }
}
