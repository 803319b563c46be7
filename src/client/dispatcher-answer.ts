/**
 * What a dispatcher answers to "where do I connect", read from bytes of outside: what is
 * not well formed is refused as a whole, and no field is believed beyond its bounds.
 */
import { isMap } from "../protocol/codec.js";
import type { BackoffLimits } from "./backoff.js";

export interface EdgeAddress {
  /** `wss://` or `ws://`. */
  readonly url: string;
  /** Its datacenter, where there are several. */
  readonly idc?: string;
}

export interface DispatcherAnswer {
  /** In the order in which to try them: the user's own edge first. */
  readonly edges: readonly EdgeAddress[];
  readonly ttlMs: number;
  readonly backoff: Partial<BackoffLimits>;
  /** The share of those who ask that may connect now. */
  readonly letIn: number;
  /** For the others, and at least. */
  readonly retryAfterMs: number;
}

export const edgesMax = 32;
const urlCharactersMax = 512;
const idcCharactersMax = 16;
const ttlMsMax = 24 * 3_600_000;
const ttlMsDefault = 300_000;
const retryAfterMsDefault = 10_000;

/** Undefined for what is none; `isSecure` leaves out addresses without TLS. */
export function readDispatcherAnswer(
  value: unknown,
  isSecure: boolean,
): DispatcherAnswer | undefined {
  if (!isMap(value) || !Array.isArray(value.edges)) return undefined;
  const edges = readEdges(value.edges, isSecure);
  const { ttlMs, backoff, letIn, retryAfterMs } = value;
  const isOpen = !(isNumber(letIn) && letIn < 1);
  // Nowhere to go is an answer only where nobody is to go.
  if (edges.length === 0 && isOpen) return undefined;
  const pace = isMap(backoff) ? backoff : {};
  return {
    edges,
    ttlMs: isNumber(ttlMs) ? Math.min(ttlMs, ttlMsMax) : ttlMsDefault,
    backoff: {
      ...(isNumber(pace.baseMs) ? { baseMs: pace.baseMs } : {}),
      ...(isNumber(pace.capMs) ? { capMs: pace.capMs } : {}),
    },
    letIn: isOpen ? 1 : (letIn as number),
    retryAfterMs: isNumber(retryAfterMs) ? retryAfterMs : isOpen ? 0 : retryAfterMsDefault,
  };
}

/** Also of a directive, which says where to move. */
export function readEdges(values: readonly unknown[], isSecure: boolean): EdgeAddress[] {
  const edges: EdgeAddress[] = [];
  for (const value of values.slice(0, edgesMax)) {
    if (!isMap(value) || typeof value.url !== "string") continue;
    const { url, idc } = value;
    if (url.length > urlCharactersMax || !isAddress(url, isSecure)) continue;
    const isNamed = typeof idc === "string" && idc !== "" && idc.length <= idcCharactersMax;
    edges.push(isNamed ? { url, idc } : { url });
  }
  return edges;
}

function isAddress(url: string, isSecure: boolean): boolean {
  return url.startsWith("wss://") || (!isSecure && url.startsWith("ws://"));
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && Number.isFinite(value);
}
