/** What operators ask about the edges of a datacenter; any of its nodes answers. */
import { isHeartbeatMs } from "./directive.js";

export type DispatcherRequest =
  /** What operators have said, and every edge with what follows for it. */
  | { readonly kind: "edges" }
  /** What a client would be told. */
  | { readonly kind: "edges-told"; readonly key: string; readonly attempt: number }
  | { readonly kind: "edge-weigh"; readonly node: string; readonly weight: number }
  /** Its clients are told to move, so many a second. Answered with `changed`. */
  | { readonly kind: "edge-drain"; readonly node: string; readonly perSecond?: number }
  | { readonly kind: "edge-undrain"; readonly node: string }
  /** Another datacenter: where its dispatcher and its edges are. */
  | {
      readonly kind: "edges-other";
      readonly idc: string;
      readonly dispatcher?: string;
      readonly edges: readonly string[];
    }
  | { readonly kind: "edges-forget"; readonly idc: string }
  /** Bounds of the heartbeats that every edge grants; without any the nodes' settings hold. */
  | { readonly kind: "edges-heartbeat"; readonly minMs?: number; readonly maxMs?: number }
  /** Clients are sent to that datacenter; where none is named they are at home again. */
  | { readonly kind: "edges-away"; readonly idc?: string };

const keyLengthMax = 256;

/** Undefined where a field is missing or out of range; names and URLs are judged by the desk. */
export function readDispatcherRequest(
  map: Readonly<Record<string, unknown>>,
): DispatcherRequest | undefined {
  const { kind, node, idc } = map;
  switch (kind) {
    case "edges":
      return { kind };
    case "edges-told": {
      const { key, attempt } = map;
      if (!isText(key, keyLengthMax) || !isCount(attempt)) return undefined;
      return { kind, key, attempt };
    }
    case "edge-weigh":
      return isNode(node) && isCount(map.weight) ? { kind, node, weight: map.weight } : undefined;
    case "edge-drain": {
      const { perSecond } = map;
      if (!isNode(node)) return undefined;
      if (perSecond === undefined) return { kind, node };
      return isCount(perSecond) ? { kind, node, perSecond } : undefined;
    }
    case "edge-undrain":
      return isNode(node) ? { kind, node } : undefined;
    case "edges-other": {
      const { dispatcher, edges } = map;
      if (typeof idc !== "string" || !isTextList(edges)) return undefined;
      if (dispatcher === undefined) return { kind, idc, edges };
      return typeof dispatcher === "string" ? { kind, idc, edges, dispatcher } : undefined;
    }
    case "edges-forget":
      return typeof idc === "string" ? { kind, idc } : undefined;
    case "edges-heartbeat": {
      const { minMs, maxMs } = map;
      if (minMs !== undefined && !isHeartbeatMs(minMs)) return undefined;
      if (maxMs !== undefined && !isHeartbeatMs(maxMs)) return undefined;
      const least = minMs === undefined ? {} : { minMs };
      return { kind, ...least, ...(maxMs === undefined ? {} : { maxMs }) };
    }
    case "edges-away":
      if (idc === undefined) return { kind };
      return typeof idc === "string" ? { kind, idc } : undefined;
    default:
      return undefined;
  }
}

export const dispatcherRequestKinds: ReadonlySet<string> = new Set<DispatcherRequest["kind"]>([
  ...(["edges", "edges-told", "edges-other", "edges-forget"] as const),
  ...(["edges-away", "edge-weigh", "edge-drain", "edge-undrain"] as const),
  "edges-heartbeat",
]);

/** Of a node: it goes into messages and the log, so it is short and plain. */
function isNode(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z0-9_.-]{1,64}$/.test(value);
}

function isText(value: unknown, lengthMax: number): value is string {
  return typeof value === "string" && value.length <= lengthMax;
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}
