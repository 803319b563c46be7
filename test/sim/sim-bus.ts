/**
 * NATS as far as Belfry uses it: one server, or a cluster (sim-routes.ts). A server
 * looks up who subscribes when a message reaches it. What one client sends keeps its order,
 * and so does what the server sends to one client; between senders there is none, and none
 * between what comes by different routes. Requests learn at once that nobody subscribes.
 */

import { Fault } from "../../src/base/result.js";
import { isMap } from "../../src/protocol/codec.js";
import type { Bus, BusMessage, BusSubscription, PublishOptions } from "../../src/runtime/ports.js";
import { decodeBatch } from "../../src/runtime/wire.js";
import { SimLink } from "./sim-link.js";
import type { SimProcess } from "./sim-process.js";
import { type Homed, SimRoutes } from "./sim-routes.js";
import type { World } from "./world.js";

interface Subscription extends Homed {
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
  readonly routes: SimRoutes<Subscription>;
  readonly clients = new Map<string, SimBus>();
  /** Probability that a core message is lost on its way to one subscriber. */
  lossRate = 0;
  /**
   * Probability that a batch from node to node arrives twice. NATS never does that to a
   * core message; a proxy or another bus may, and the actors bear it, all but the beginning
   * of a move: a `GroupFrozen` that is refused and then heard again makes the old owner
   * believe that it is still alone. Pushes are doubled by their publishers only.
   */
  repeatRate = 0;
  /** From whom to whom nothing passes: a cut route between two servers. */
  readonly severed = new Set<string>();
  latencyMs: readonly [number, number] = [0.1, 1];
  readonly watchers: BusWatcher[] = [];
  /** By subject: when the newest subscription came to its server. */
  readonly subscribedMs = new Map<string, number>();
  /** Told of what is lost on its way to a subscriber. */
  onLost: (subject: string, payload: Uint8Array) => void = () => {};

  constructor(
    readonly world: World,
    serverCount = 1,
  ) {
    this.routes = new SimRoutes(world, serverCount);
  }

  delayMs(): number {
    const [low, high] = this.latencyMs;
    const { random } = this.world;
    // Now and then a message takes long.
    return random.chance(0.02) ? random.between(high, high * 10) : random.between(low, high);
  }

  connect(process: SimProcess): SimBus {
    const link = new SimLink(this.world, process, () => this.delayMs());
    const bus = new SimBus(this, link, this.routes.pickServer());
    this.clients.set(process.name, bus);
    return bus;
  }

  /** At each server of the cluster. */
  hasInterest(subject: string): boolean {
    return this.routes.isKnownEverywhere(subject, ({ bus }) => bus.link.isKnownToServer);
  }

  /** A message has reached the server. */
  route(from: SimBus, subject: string, payload: Uint8Array, reply: string | undefined): void {
    // Pings and their answers are empty, and would hide the rest.
    if (payload.length > 0) this.world.note(from.name, "sends", () => describe(subject, payload));
    const inbox = inboxOwner(subject);
    if (inbox !== undefined) {
      const bus = this.clients.get(inbox);
      if (bus === undefined) return;
      this.routes.carry(from.server, bus.server, () => {
        if (!bus.link.isKnownToServer) return;
        this.deliver(from, bus, subject, payload, () => bus.onAnswer(subject, payload));
      });
      return;
    }
    const message = reply === undefined ? { subject, payload } : { subject, payload, reply };
    const isKnown = this.routes.route(from.server, subject, (subscription) => {
      if (!subscription.bus.link.isKnownToServer) return false;
      const isSent = this.deliver(from, subscription.bus, subject, payload, () => {
        if (subscription.isActive) subscription.onMessage(message);
      });
      if (!isSent) this.onLost(subject, payload);
      return true;
    });
    if (!isKnown && reply !== undefined) {
      from.link.deliver("no responders", () => from.onNobody(reply));
    }
  }

  private deliver(
    from: SimBus,
    to: SimBus,
    subject: string,
    payload: Uint8Array,
    arrive: () => void,
  ): boolean {
    const isLost =
      from !== to &&
      (this.severed.has(wayOf(from.name, to.name)) || this.world.random.chance(this.lossRate));
    if (isLost) {
      this.world.note(to.name, "never gets", () => `${subject} from ${from.name}`);
      return false;
    }
    to.link.deliver("arrives", arrive);
    const mayRepeat = this.repeatRate > 0 && from !== to && isRepeatable(subject, payload);
    if (!mayRepeat || !this.world.random.chance(this.repeatRate)) return true;
    this.world.note(to.name, "gets twice", () => `${subject} from ${from.name}`);
    to.link.deliver("arrives again", arrive);
    return true;
  }

  /** The process is gone, or all of the server's memory. */
  forget(bus: SimBus): void {
    bus.link.serverGivesUp();
    if (this.clients.get(bus.name) === bus) this.clients.delete(bus.name);
  }
}

function isRepeatable(subject: string, payload: Uint8Array): boolean {
  return subject.endsWith(".actors") && !Buffer.from(payload).includes("GroupFrozen");
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

export function wayOf(from: string, to: string): string {
  return `${from}|${to}`;
}

function inboxOwner(subject: string): string | undefined {
  if (!subject.startsWith("_INBOX.")) return undefined;
  return subject.slice("_INBOX.".length, subject.lastIndexOf("."));
}

export class SimBus implements Bus {
  readonly payloadMax = 1024 * 1024;
  private readonly subscriptions = new Set<Subscription>();
  /** Those that the server knows. */
  private readonly known = new Set<Subscription>();
  private readonly waiting = new Map<string, Waiting>();
  private requests = 0;
  private readonly returns = new Set<() => void>();

  constructor(
    private readonly cluster: SimBusServer,
    readonly link: SimLink,
    /** The number of the server that it is connected to. */
    readonly server: number,
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
    for (const watcher of this.cluster.watchers) watcher.onPublish(this.name, subject, copy);
    this.link.send(() => this.cluster.route(this, subject, copy, options?.reply));
  }

  subscribe(subject: string, onMessage: (message: BusMessage) => void): BusSubscription {
    const { server } = this;
    const subscription: Subscription = { bus: this, server, subject, onMessage, isActive: true };
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
    this.link.send(() => this.link.deliver("flushed", () => this.onAnswer(reply, noBytes)));
    return sent.then(() => undefined);
  }

  /** What `ask` says at the server comes back by `answer`; undefined: never. */
  call<Answer>(name: string, outcome: "not-done" | "unknown", ask: Call<Answer>): Promise<Answer> {
    const reply = `_INBOX.${this.name}.${this.requests++}`;
    let answered: (() => Answer) | undefined;
    const sent = this.awaiting(reply, 5_000, outcome, name);
    this.link.send(() =>
      ask((value) => {
        this.link.deliver(name, () => {
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
    this.cluster.routes.add(subscription);
    this.cluster.subscribedMs.set(subscription.subject, this.cluster.world.nowMs);
  }

  private removeInterest(subscription: Subscription): void {
    this.known.delete(subscription);
    this.cluster.routes.remove(subscription);
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
