/** How an edge on Node's sockets is bounded, and by what where nothing is said. */
import type { Server } from "node:http";
import type { Rate } from "../base/token-bucket.js";
import type { ProxyGate } from "./proxy-gate.js";

export interface NetEdgeOptions {
  /** Of `node:http` or `node:https`; what is no WebSocket upgrade is left to it. */
  readonly server: Server;
  /** Only upgrades of this path are taken. */
  readonly path: string;
  /** What was refused, closed, or left by its peer is gone so long after. */
  readonly closeDeadlineMs: number;
  /** From the accepted socket (under TLS: from its handshake, which has as long) to a whole head. */
  readonly handshakeDeadlineMs?: number;
  /** Under way at once beyond what connections leave room for; see handshakes. */
  readonly handshakesMax?: number;
  /** Sockets whose last request was a plain one, at once, and how long after it; see handshakes. */
  readonly askingMax?: number;
  readonly askingDeadlineMs?: number;
  /** Whom the handlers let in; none where absent. */
  readonly connectionsMax?: number;
  /** Of heads, frames and messages that are not whole, of all peers; see held-bytes. */
  readonly heldBytesMax?: number;
  /** Of what peers have not taken, of all of them; see unsent-bytes. */
  readonly unsentBytesMax?: number;
  /** Where proxies say whose each socket is. */
  readonly gate?: ProxyGate;
  /** How fast one peer is read; see read-pace. */
  readonly framesRate?: Rate;
}

export const handshakeDeadlineMsDefault = 10_000;
/** Also of a peer that takes its answer byte by byte, which is never idle. */
export const askingDeadlineMsDefault = 30_000;
export const heldBytesMaxDefault = 64 * 1024 * 1024;
export const unsentBytesMaxDefault = 512 * 1024 * 1024;
export const framesRateDefault: Rate = { perSecond: 2_000, burst: 4_000 };
