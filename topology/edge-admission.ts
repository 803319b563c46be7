/**
 * Whom an edge lets in: each rule in its order, the cheap and the hard ones first. Pure.
 *
 *   room ─▶ accept rate ─▶ address ─▶ its connections ─▶ origin ─▶ let-in ─▶ lag ─┬─▶ in
 *                                                                                └─▶ in line
 *
 * Above the accept rate a handshake waits in line for its turn: a refused one that asks again
 * at once costs more than one that is let in. Only whom the line has no time for is refused.
 * When its turn has come all rules but the rate are asked again.
 *
 * The deadline of a handshake is before it (the transport's), the token behind it (it
 * comes with the hello).
 */
import type { AddressRanges } from "../src/base/address-ranges.js";
import { type Rate, taken, waitMs } from "../src/base/token-bucket.js";

export interface EdgeRules {
  readonly connectionsMax: number;
  readonly accepts: Rate;
  /** In line; who would wait longer is refused. */
  readonly acceptWaitMsMax: number;
  readonly lagMaxMs: number;
  /** Absent: all but those of `deny`, which goes before it. */
  readonly allow?: AddressRanges;
  readonly deny?: AddressRanges;
  /** Of one address; absent: as many as there is room for. */
  readonly connectionsPerAddressMax?: number;
  /** Of browsers' pages, in lower case; absent: any. Who names none is no browser. */
  readonly origins?: ReadonlySet<string>;
}

export interface EdgeFacts {
  /** Those in line beside: each is to have room when its turn comes. */
  readonly connections: number;
  /** The bucket of `accepts`; 0 of one whose turn has come: it has been taken from. */
  readonly fullAtMs: number;
  readonly nowMs: number;
  readonly address: string;
  readonly connectionsOfAddress: number;
  readonly origin: string | undefined;
  /** Of all handshakes, 0 to 100. */
  readonly letInPercent: number;
  /** Drawn for this handshake, 0 to under 100. */
  readonly draw: number;
  readonly lagMs: number;
}

export const edgeRefusals = {
  full: { status: 503, reason: "the edge is full", retryAfterSeconds: 5 },
  rate: { status: 503, reason: "too many come at once", retryAfterSeconds: 1 },
  address: { status: 403, reason: "not from this address" },
  perAddress: { status: 429, reason: "too many from this address", retryAfterSeconds: 30 },
  origin: { status: 403, reason: "not for pages of this origin" },
  letIn: { status: 503, reason: "not all are let in now", retryAfterSeconds: 10 },
  lag: { status: 503, reason: "the edge is busy", retryAfterSeconds: 5 },
} as const;

export type EdgeRefusal = keyof typeof edgeRefusals;

/** Undefined: let in. */
export function refusalOf(facts: EdgeFacts, rules: EdgeRules): EdgeRefusal | undefined {
  const { address, origin } = facts;
  if (facts.connections >= rules.connectionsMax) return "full";
  if (waitMs(facts.fullAtMs, rules.accepts, facts.nowMs) > rules.acceptWaitMsMax) return "rate";
  if (rules.deny?.has(address) === true || rules.allow?.has(address) === false) return "address";
  const perAddressMax = rules.connectionsPerAddressMax ?? Number.POSITIVE_INFINITY;
  if (facts.connectionsOfAddress >= perAddressMax) return "perAddress";
  if (origin !== undefined && rules.origins?.has(origin.toLowerCase()) === false) return "origin";
  if (facts.draw >= facts.letInPercent) return "letIn";
  return facts.lagMs > rules.lagMaxMs ? "lag" : undefined;
}

export interface Place {
  /** 0: at once. */
  readonly waitMs: number;
  /** The bucket, with this one taken: whoever comes next stands behind. */
  readonly fullAtMs: number;
}

/** Of one whom no rule refuses. */
export function placeInLine(fullAtMs: number, accepts: Rate, nowMs: number): Place {
  return {
    waitMs: waitMs(fullAtMs, accepts, nowMs),
    fullAtMs: taken(fullAtMs, accepts, nowMs),
  };
}

/** When all who are in line now will have had their turn. */
export function lineSeconds(fullAtMs: number, accepts: Rate, nowMs: number): number {
  return Math.max(1, Math.ceil(waitMs(fullAtMs, accepts, nowMs) / 1_000));
}
