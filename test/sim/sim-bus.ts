/**
 * NATS as far as Belfry uses it. The server looks up who subscribes when a message
 * reaches it; messages from one sender to one receiver keep their order, those from
 * different senders do not. Requests learn at once that nobody subscribes.
 */

import { Fault } from "../../src/base/result.js";
import { isMap } from "../../src/protocol/codec.js";
import type { Bus, BusMessage, BusSubscription, PublishOptions } from "../../src/runtime/ports.js";
import { decodeBatch } from "../../src/runtime/wire.js";
import { Interest } from "./interest.js";
import { SimLink } from "./sim-link.js";
import type { SimProcess } from "./sim-process.js";
import type { World } from "./world.js";

interface Subscription {
  readonly bus: SimBus;
  readonly subject: string;
  readonly onMessage: (message: BusMessage) => void;
  isActive: boolean;
}

interface Waiting {
  readonly resolve: (payload: Uint8Array) => void;
  readonly reject: (fault: Fault) => void;
}

export interface BusWatcher {
  /** Each message as its sender publishes it. */
  onPublish(from: string, subject: string, payload: Uint8Array): void;
}

const noBytes = new Uint8Array(0);

export class SimBusServer {
  readonly interest = new Interest<Subscription>();
  readonly clients = new Map<string, SimBus>();
  /** Probability that a core message is lost on its way to one subscriber. */
  lossRate = 0;
  /** Pairs of processes between which nothing passes: a cut route between two servers. */
  readonly severed = new Set<string>();
  latencyMs: readonly [number, number] = [0.1, 1];
  watcher: BusWatcher | undefined;

  constructor(readonly world: World) {}

  delayMs(): number {
    const [low, high] = this.latencyMs;
    const { random } = this.world;
    // Now and then a message takes long.
    return random.chance(0.02) ? random.between(high, high * 10) : random.between(low, high);
  }

  connect(process: SimProcess): SimBus {
    const bus = new SimBus(this, new SimLink(this.world, process, () => this.delayMs()));
    this.clients.set(process.name, bus);
    return bus;
  }

  hasInterest(subject: string): boolean {
    return this.receivers(subject).length > 0;
  }

  private receivers(subject: string): Subscription[] {
    return this.interest.collect(subject).filter(({ bus }) => bus.link.isKnownToServer);
  }

  /** A message has reached the server. */
  route(from: SimBus, subject: string, payload: Uint8Array, reply: string | undefined): void {
    // Pings and their answers are empty, and would hide the rest.
    if (payload.length > 0) this.world.note(from.name, "sends", () => describe(subject, payload));
    const inbox = inboxOwner(subject);
    if (inbox !== undefined) {
      const bus = this.clients.get(inbox);
      if (bus?.link.isKnownToServer) {
        this.deliver(from, bus, subject, () => bus.onAnswer(subject, payload));
      }
      return;
    }
    const receivers = this.receivers(subject);
    if (receivers.length === 0 && reply !== undefined) {
      from.link.deliver(0, "no responders", () => from.onNobody(reply));
    }
    for (const subscription of receivers) {
      const message = reply === undefined ? { subject, payload } : { subject, payload, reply };
      this.deliver(from, subscription.bus, subject, () => {
        if (subscription.isActive) subscription.onMessage(message);
      });
    }
  }

  private deliver(from: SimBus, to: SimBus, subject: string, arrive: () => void): void {
    const isLost =
      from !== to &&
      (this.severed.has(pairOf(from.name, to.name)) || this.world.random.chance(this.lossRate));
    if (isLost) {
      this.world.note(to.name, "never gets", () => `${subject} from ${from.name}`);
      return;
    }
    const lastMs = from.lastArrivals.get(to) ?? 0;
    from.lastArrivals.set(to, to.link.deliver(lastMs, "arrives", arrive));
  }

  /** The process is gone, or all of the server's memory. */
  forget(bus: SimBus): void {
    bus.link.serverGivesUp();
    if (this.clients.get(bus.name) === bus) this.clients.delete(bus.name);
  }
}

function describe(subject: string, payload: Uint8Array): string {
  if (!subject.endsWith(".actors")) return subject;
  const batch = decodeBatch(payload);
  if (!batch.ok) return subject;
  const entries = batch.entries.map((entry) => {
    const message: unknown = "message" in entry ? entry.message : undefined;
    if (!isMap(message)) return `${entry.type} ${String(message ?? "")}`;
    return isMap(message.message) ? `${message.key} ${text(message.message)}` : text(message);
  });
  return `${subject}: ${entries.join("; ")}`;
}

function text(message: object): string {
  const said = JSON.stringify(message, (key, value: unknown) => {
    if (value instanceof Uint8Array) return undefined;
    return key === "shards" && Array.isArray(value) ? `${value.length} shards` : value;
  });
  return said.replace(/"/g, "");
}

export function pairOf(a: string, b: string): string {
  return a < b ? `${a}|${b}` : `${b}|${a}`;
}

function inboxOwner(subject: string): string | undefined {
  if (!subject.startsWith("_INBOX.")) return undefined;
  return subject.slice("_INBOX.".length, subject.lastIndexOf("."));
}

export class SimBus implements Bus {
  readonly payloadMax = 1024 * 1024;
  readonly lastArrivals = new Map<SimBus, number>();
  private readonly subscriptions = new Set<Subscription>();
  /** Those that the server knows. */
  private readonly known = new Set<Subscription>();
  private readonly waiting = new Map<string, Waiting>();
  private requests = 0;
  private readonly returns = new Set<() => void>();

  constructor(
    private readonly server: SimBusServer,
    readonly link: SimLink,
  ) {
    link.onDown = () => this.onDown();
    link.onUp = () => this.onUp();
    link.onForgotten = () => {
      for (const subscription of [...this.known]) this.removeInterest(subscription);
    };
  }

  get name(): string {
    return this.link.process.name;
  }

  get pendingRequests(): number {
    return this.waiting.size;
  }

  publish(subject: string, payload: Uint8Array, options?: PublishOptions): void {
    const copy = new Uint8Array(payload);
    this.server.watcher?.onPublish(this.name, subject, copy);
    this.link.send(() => this.server.route(this, subject, copy, options?.reply));
  }

  subscribe(subject: string, onMessage: (message: BusMessage) => void): BusSubscription {
    const subscription: Subscription = { bus: this, subject, onMessage, isActive: true };
    this.subscriptions.add(subscription);
    this.link.send(() => this.addInterest(subscription));
    return {
      unsubscribe: () => {
        subscription.isActive = false;
        this.subscriptions.delete(subscription);
        this.link.send(() => this.removeInterest(subscription));
      },
    };
  }

  request(subject: string, payload: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    const reply = `_INBOX.${this.name}.${this.requests++}`;
    const message = `request to ${subject}`;
    const sent = this.awaiting(reply, deadlineMs, "unknown", message);
    if (this.link.isUp) this.publish(subject, payload, { reply });
    return sent;
  }

  flush(): Promise<void> {
    const reply = `_INBOX.${this.name}.${this.requests++}`;
    const sent = this.awaiting(reply, 5_000, "unknown", "flush");
    this.link.send(() => this.link.deliver(0, "flushed", () => this.onAnswer(reply, noBytes)));
    return sent.then(() => undefined);
  }

  /** What `ask` says at the server comes back by `answer`; undefined: never. */
  call<Answer>(name: string, outcome: "not-done" | "unknown", ask: Call<Answer>): Promise<Answer> {
    const reply = `_INBOX.${this.name}.${this.requests++}`;
    let answered: (() => Answer) | undefined;
    const sent = this.awaiting(reply, 5_000, outcome, name);
    this.link.send(() =>
      ask((value) => {
        this.link.deliver(0, name, () => {
          answered = value;
          this.onAnswer(reply, noBytes);
        });
      }),
    );
    return sent.then(() => (answered as () => Answer)());
  }

  /** After each reconnect. */
  watchReturns(onReturn: () => void): () => void {
    this.returns.add(onReturn);
    return () => void this.returns.delete(onReturn);
  }

  private awaiting(
    reply: string,
    deadlineMs: number,
    outcome: "not-done" | "unknown",
    what: string,
  ): Promise<Uint8Array> {
    if (!this.link.isUp) {
      return Promise.reject(new Fault("DISCONNECTED", "not-done", "the connection is gone"));
    }
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        cancel();
        this.waiting.delete(reply);
      };
      const cancel = this.link.process.after(deadlineMs, () => {
        settle();
        reject(new Fault("TIMEOUT", outcome, `no answer in time: ${what}`));
      });
      this.waiting.set(reply, {
        resolve: (payload) => {
          settle();
          resolve(payload);
        },
        reject: (fault) => {
          settle();
          reject(fault);
        },
      });
    });
  }

  onAnswer(reply: string, payload: Uint8Array): void {
    this.waiting.get(reply)?.resolve(payload);
  }

  onNobody(reply: string): void {
    this.waiting.get(reply)?.reject(new Fault("NO_RESPONDERS", "not-done", "nobody serves it"));
  }

  private addInterest(subscription: Subscription): void {
    this.known.add(subscription);
    this.server.interest.add(subscription.subject, subscription);
  }

  private removeInterest(subscription: Subscription): void {
    this.known.delete(subscription);
    this.server.interest.remove(subscription.subject, subscription);
  }

  private onDown(): void {
    for (const { reject } of [...this.waiting.values()]) {
      reject(new Fault("DISCONNECTED", "unknown", "the connection is gone"));
    }
  }

  private onUp(): void {
    const present = [...this.subscriptions];
    this.link.send(() => {
      for (const subscription of present) this.addInterest(subscription);
    });
    for (const onReturn of [...this.returns]) onReturn();
  }
}

/** Runs at the server; calls `answer` with what the caller then gets or throws, or never. */
export type Call<Answer> = (answer: (value: () => Answer) => void) => void;
