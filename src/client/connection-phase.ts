/**
 * Where a device stands. Each phase holds what exists only in it; `leavePhase`
 * gives that up.
 *
 *            connect()              token                attached frame
 *   ┌──────┐ ────────▶ ┌───────────┐ ────▶ ┌──────────┐ ──────────────▶ ┌──────────┐
 *   │ idle │           │ preparing │       │ greeting │                 │ attached │
 *   └──────┘           └───────────┘       └──────────┘                 └──────────┘
 *      ▲                 ▲       │ no token      │ ended                     │ ended
 *      │ close()         │       ▼               ▼                           ▼
 *   (from any)           │     ┌──────────────────────────────────────────────┐
 *                        └──── │ waiting (full-jitter backoff)                │
 *              time is up, or  └──────────────────────────────────────────────┘
 *              connect()
 *   greeting, attached ── close code 4500-4999 ──▶ stopped {code} ── connect() ──▶ preparing
 */
import type { Cancel } from "../base/clock.js";
import type { AttachedInfo } from "../protocol/frames.js";
import type { Attach } from "./attach.js";
import type { EdgeConnection } from "./edge-connection.js";
import type { EdgePlace } from "./edge-finder.js";

export type Phase =
  | { readonly name: "idle" }
  | { readonly name: "preparing" }
  | {
      readonly name: "greeting";
      readonly connection: EdgeConnection;
      readonly place: EdgePlace;
    }
  | {
      readonly name: "attached";
      readonly connection: EdgeConnection;
      readonly place: EdgePlace;
      readonly attach: Attach;
      readonly info: AttachedInfo;
      readonly isResumed: boolean;
      readonly cancelStable: Cancel;
    }
  | {
      readonly name: "waiting";
      readonly retryInMs: number;
      readonly reason: string;
      readonly cancelRetry: Cancel;
    }
  | StoppedPhase;

export interface StoppedPhase {
  readonly name: "stopped";
  readonly code: number;
  readonly reason: string;
  /** Where others are bound to it: only the device's own session was ended. */
  readonly connection?: EdgeConnection;
}

/** What the app is told. */
export type DeviceState =
  /** Not connected, and not about to be. */
  | { readonly name: "idle" }
  /** Fetching a token, opening the socket or waiting for the session. */
  | { readonly name: "connecting" }
  /**
   * The session is bound; pushes come. `tokenExpiresAt` is in seconds since the epoch.
   * `isResumed`: it goes on behind what the app took last; otherwise what the app shows may
   * be of another time, and it had better load its own state anew.
   */
  | ({ readonly name: "attached"; readonly isResumed: boolean } & AttachedInfo)
  /** Comes back by itself after `retryInMs` milliseconds, or at once by `connect()`. */
  | { readonly name: "waiting"; readonly retryInMs: number; readonly reason: string }
  /** The edge closed with a code (4500-4999) that says not to come back unchanged. */
  | { readonly name: "stopped"; readonly code: number; readonly reason: string };

export function deviceState(phase: Phase): DeviceState {
  switch (phase.name) {
    case "idle":
      return { name: "idle" };
    case "preparing":
    case "greeting":
      return { name: "connecting" };
    case "attached":
      return { ...phase.info, name: "attached", isResumed: phase.isResumed };
    case "waiting":
      return { name: "waiting", retryInMs: phase.retryInMs, reason: phase.reason };
    case "stopped":
      return { name: "stopped", code: phase.code, reason: phase.reason };
  }
}

/** Stops what only this phase needs; its connection is ended by whoever leaves it. */
export function leavePhase(phase: Phase): void {
  if (phase.name === "waiting") phase.cancelRetry();
  if (phase.name !== "attached") return;
  phase.cancelStable();
  phase.attach.stop();
}

export function connectionOf(phase: Phase): EdgeConnection | undefined {
  return "connection" in phase ? phase.connection : undefined;
}
