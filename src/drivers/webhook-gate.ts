/**
 * Whether an app's webhook may be asked now, and what its answers say about the next time.
 * Time is given to it, so that it is tested on virtual time.
 *
 *   open road ──`failuresMax` failures in a row──▶ closed ──its time has come──▶ one trial
 *       ▲                                            ▲                             │  │
 *       │                                            └───────── it failed ─────────┘  │
 *       └──────────────────────────── it was answered ────────────────────────────────┘
 *
 * Invariant: an app has no more under way than a quarter of what is left, so that one has a
 * fifth of the node's at most, and twenty that hang at once leave room for the next.
 */
import { Circuit } from "../base/circuit.js";

export interface WebhookLimits {
  /** Requests under way, of all apps. */
  readonly nodeMax: number;
  /** In a row, after which the app's webhook is left alone. */
  readonly failuresMax: number;
  /** Then it is tried again, each time later, up to the second. */
  readonly trialMs: number;
  readonly trialMsMax: number;
  /** A webhook that asks for more time is not believed. */
  readonly pauseMsMax: number;
}

export const defaultWebhookLimits: WebhookLimits = {
  // 103 for one app alone: at 50 ms an answer some 2,000 connects a second.
  nodeMax: 512,
  failuresMax: 5,
  trialMs: 1_000,
  trialMsMax: 10_000,
  pauseMsMax: 5 * 60_000,
};

/** To one request under way of an app, so much has to be free; see above. */
const freePerRequest = 4;
const connectionsPerRequest = 16;
const nodeMaxMin = 8;

/** Each takes a descriptor: a node that has few of them for clients has few for this. */
export function webhookLimits(connectionsMax: number): WebhookLimits {
  const room = Math.max(nodeMaxMin, Math.floor(connectionsMax / connectionsPerRequest));
  return { ...defaultWebhookLimits, nodeMax: Math.min(defaultWebhookLimits.nodeMax, room) };
}

/** A client that is sent away for want of room is not to be back at once. */
const busyMs = 1_000;

/** What is known of one app's webhook. */
export interface AppGate {
  readonly circuit: Circuit;
  underWay: number;
  /** While the circuit is open: the next trial's time, how many there were, whether one is on. */
  trialAtMs: number;
  trials: number;
  isTrying: boolean;
  pausedUntilMs: number;
  asked: number;
  failed: number;
  turnedAway: number;
}

/** One request that may be made; to be given back with `answered` or `failed`. */
export interface WebhookTurn {
  readonly gate: AppGate;
  readonly startedMs: number;
  readonly isTrial: boolean;
}

export type WebhookEntry =
  | { readonly isOpen: true; readonly turn: WebhookTurn }
  | { readonly isOpen: false; readonly retryAfterMs: number };

export class WebhookGate {
  /** Of apps in the registry alone, and so as many as operators have made. */
  private readonly apps = new Map<string, AppGate>();
  private underWay = 0;

  constructor(private readonly limits: WebhookLimits = defaultWebhookLimits) {}

  enter(app: string, nowMs: number): WebhookEntry {
    const gate = this.gateOf(app);
    const waitMs = this.waitMs(gate, nowMs);
    if (waitMs > 0) {
      gate.turnedAway++;
      return { isOpen: false, retryAfterMs: waitMs };
    }
    const isTrial = gate.circuit.isOpen;
    if (isTrial) gate.isTrying = true;
    gate.underWay++;
    gate.asked++;
    this.underWay++;
    return { isOpen: true, turn: { gate, startedMs: nowMs, isTrial } };
  }

  /** Whatever it said: it is there, and in time. True when it was left alone until now. */
  answered(turn: WebhookTurn): boolean {
    const gate = this.leave(turn);
    const wasOpen = gate.circuit.isOpen;
    gate.circuit.noteSuccess(turn.startedMs);
    if (gate.circuit.isOpen) return false;
    gate.trials = 0;
    return wasOpen;
  }

  /** True when it is left alone from now on, which it was not before. */
  failed(turn: WebhookTurn, nowMs: number): boolean {
    const gate = this.leave(turn);
    const wasOpen = gate.circuit.isOpen;
    gate.failed++;
    gate.circuit.noteFailure(nowMs);
    if (!gate.circuit.isOpen || (wasOpen && !turn.isTrial)) return false;
    const { trialMs, trialMsMax } = this.limits;
    gate.trialAtMs = nowMs + Math.min(trialMs * 2 ** gate.trials, trialMsMax);
    gate.trials = Math.min(gate.trials + 1, 30);
    return !wasOpen;
  }

  /** It asked itself for so long to be left alone; returns for how long it is. */
  pause(app: string, pauseMs: number, nowMs: number): number {
    const gate = this.gateOf(app);
    const heldMs = Math.min(pauseMs, this.limits.pauseMsMax);
    gate.pausedUntilMs = Math.max(gate.pausedUntilMs, nowMs + heldMs);
    return heldMs;
  }

  /** Its URL is another one: what is still under way to the old one says nothing of it. */
  forget(app: string): void {
    this.apps.delete(app);
  }

  inspect(): Readonly<Record<string, unknown>> {
    return Object.fromEntries(
      [...this.apps].map(([app, { circuit, underWay, asked, failed, turnedAway }]) => [
        app,
        { circuit: circuit.isOpen ? "open" : "closed", underWay, asked, failed, turnedAway },
      ]),
    );
  }

  /** 0: it may be asked. */
  private waitMs(gate: AppGate, nowMs: number): number {
    const { nodeMax, trialMs } = this.limits;
    if (gate.pausedUntilMs > nowMs) return gate.pausedUntilMs - nowMs;
    if (gate.circuit.isOpen) {
      if (gate.isTrying) return trialMs;
      if (gate.trialAtMs > nowMs) return Math.max(trialMs, gate.trialAtMs - nowMs);
    }
    const free = nodeMax - this.underWay;
    const isFull = free <= 0 || gate.underWay * freePerRequest >= free;
    return isFull ? busyMs : 0;
  }

  private leave({ gate, isTrial }: WebhookTurn): AppGate {
    gate.underWay--;
    this.underWay--;
    if (isTrial) gate.isTrying = false;
    return gate;
  }

  private gateOf(app: string): AppGate {
    const known = this.apps.get(app);
    if (known !== undefined) return known;
    const made = {
      ...{ circuit: new Circuit(this.limits.failuresMax), underWay: 0 },
      ...{ trialAtMs: 0, trials: 0, isTrying: false, pausedUntilMs: 0 },
      ...{ asked: 0, failed: 0, turnedAway: 0 },
    };
    this.apps.set(app, made);
    return made;
  }
}
