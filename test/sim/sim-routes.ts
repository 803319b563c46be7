/**
 * The servers of a NATS cluster and the routes between them. Each server knows its own
 * clients' subscriptions at once, those of other servers' clients a moment later; a
 * message crosses a route only when the server it reached knows of interest behind it.
 *
 * Invariant: a route is in order, so interest never overtakes a message or another word
 * of interest. It is quicker than `moveOverlapMs` unless a fault makes it slow.
 */
import { Interest } from "./interest.js";
import type { World } from "./world.js";

/** A subscription of a client of one server. */
export interface Homed {
  readonly server: number;
  readonly subject: string;
}

/** What came late may be held by a move, and stored only when that has ended. */
const afterSlowMs = 5_000;

interface Route {
  lastMs: number;
  /** What was sent in one instant goes together. */
  packet: { readonly atMs: number; readonly parts: (() => void)[] } | undefined;
}

/**
 * Twice that stays below `moveOverlapMs`: until the last server knows of the new owner,
 * and what it sent just before has reached the old one.
 */
export const routeLatencyMs = [0.1, 24] as const;

export class SimRoutes<Subscription extends Homed> {
  private latencyMs: readonly [number, number] = routeLatencyMs;
  private slowUntilMs = 0;
  private readonly views: Interest<Subscription>[];
  private readonly ways: Route[];

  constructor(
    private readonly world: World,
    private readonly serverCount: number,
  ) {
    this.views = Array.from({ length: serverCount }, () => new Interest());
    this.ways = Array.from({ length: serverCount ** 2 }, () => ({ lastMs: 0, packet: undefined }));
  }

  slowDown(highMs: number): void {
    this.latencyMs = [1, highMs];
    this.slowUntilMs = Number.POSITIVE_INFINITY;
  }

  speedUp(): void {
    if (this.latencyMs === routeLatencyMs) return;
    this.slowUntilMs = this.world.nowMs + 2 * this.latencyMs[1] + afterSlowMs;
    this.latencyMs = routeLatencyMs;
  }

  /** Or was a moment ago: interest and pushes may take longer than moves rely on. */
  get isSlow(): boolean {
    return this.world.nowMs < this.slowUntilMs;
  }

  pickServer(): number {
    return this.serverCount === 1 ? 0 : this.world.random.below(this.serverCount);
  }

  add(subscription: Subscription): void {
    this.tellAll(subscription, (view) => view.add(subscription.subject, subscription));
  }

  remove(subscription: Subscription): void {
    this.tellAll(subscription, (view) => view.remove(subscription.subject, subscription));
  }

  /**
   * A message has reached server `at`. `deliver` says whether the subscription takes it.
   * False when this server knows of nobody.
   */
  route(at: number, subject: string, deliver: (to: Subscription) => boolean): boolean {
    let isKnown = false;
    const others = new Set<number>();
    for (const subscription of this.viewOf(at).collect(subject)) {
      if (subscription.server !== at) others.add(subscription.server);
      else if (deliver(subscription)) isKnown = true;
    }
    for (const other of others) {
      isKnown = true;
      this.carry(at, other, () => {
        for (const subscription of this.viewOf(other).collect(subject)) {
          if (subscription.server === other) deliver(subscription);
        }
      });
    }
    return isKnown;
  }

  isKnownEverywhere(subject: string, isLive: (subscription: Subscription) => boolean): boolean {
    return this.views.every((view) => view.collect(subject).some(isLive));
  }

  /** `arrive` runs at server `to`; at once where that is the same. */
  carry(from: number, to: number, arrive: () => void): void {
    if (from === to) {
      arrive();
      return;
    }
    const route = this.ways[from * this.serverCount + to] as Route;
    const { world } = this;
    if (route.packet?.atMs === world.nowMs) {
      route.packet.parts.push(arrive);
      return;
    }
    const packet = { atMs: world.nowMs, parts: [arrive] };
    route.packet = packet;
    route.lastMs = Math.max(route.lastMs + 0.0001, world.nowMs + this.delayMs());
    world.at(route.lastMs, "route", () => {
      for (const part of packet.parts) part();
    });
  }

  private tellAll(subscription: Subscription, tell: (view: Interest<Subscription>) => void): void {
    for (const [server, view] of this.views.entries()) {
      this.carry(subscription.server, server, () => tell(view));
    }
  }

  private delayMs(): number {
    const [low, high] = this.latencyMs;
    const { random } = this.world;
    return random.chance(0.25) ? random.between(low, high) : random.between(low, high / 12);
  }

  private viewOf(server: number): Interest<Subscription> {
    return this.views[server] as Interest<Subscription>;
  }
}
