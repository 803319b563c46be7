/**
 * What an edge tells a client to do (docs/protocol.md, frame 24): a map whose `do` names
 * it. Another `do` may come with a later version.
 */
import { isMap } from "./codec.js";

export type Directive =
  /** Come back; in the order in which to try them, the client's own ways come after them. */
  | {
      readonly do: "reconnect";
      readonly edges: readonly { readonly url: string; readonly idc?: string }[];
      /** A moment within so long is the client's to draw; at once where absent. */
      readonly spreadMs?: number;
    }
  /** The edge beats so from now on. */
  | { readonly do: "heartbeat"; readonly heartbeatMs: number }
  /** Go, and stay away until a person or the app says otherwise. */
  | { readonly do: "kick"; readonly reason: string }
  /** For the app: something that it follows has changed. */
  | { readonly do: "config"; readonly config: unknown };

export const directiveSpreadMsMax = 3_600_000;
export const directiveEdgesMax = 4;
export const kickReasonBytesMax = 256;
export const configBytesMax = 4 * 1_024;
/** Of a heartbeat's interval. */
export const heartbeatMsRange = { least: 1_000, most: 3_600_000 };
const urlLengthMax = 512;
const utf8 = new TextEncoder();

/** Of an operator's words; undefined where a field is missing or out of range. URLs are not judged. */
export function readDirective(value: unknown): Directive | undefined {
  if (!isMap(value)) return undefined;
  switch (value.do) {
    case "reconnect":
      return readReconnect(value);
    case "heartbeat":
      return isHeartbeatMs(value.heartbeatMs)
        ? { do: "heartbeat", heartbeatMs: value.heartbeatMs }
        : undefined;
    case "kick": {
      const { reason } = value;
      if (typeof reason !== "string" || reason === "") return undefined;
      return isWithin(reason, kickReasonBytesMax) ? { do: "kick", reason } : undefined;
    }
    case "config": {
      const { config } = value;
      if (config === undefined) return undefined;
      return isWithin(JSON.stringify(config), configBytesMax)
        ? { do: "config", config }
        : undefined;
    }
    default:
      return undefined;
  }
}

function readReconnect(value: Readonly<Record<string, unknown>>): Directive | undefined {
  const { edges = [], spreadMs } = value;
  if (!Array.isArray(edges) || edges.length > directiveEdgesMax) return undefined;
  const read = edges.flatMap((edge) => (isMap(edge) && isUrl(edge.url) ? { url: edge.url } : []));
  if (read.length < edges.length) return undefined;
  if (spreadMs === undefined) return { do: "reconnect", edges: read };
  if (!isCount(spreadMs, 0, directiveSpreadMsMax)) return undefined;
  return { do: "reconnect", edges: read, spreadMs };
}

export function isHeartbeatMs(value: unknown): value is number {
  return isCount(value, heartbeatMsRange.least, heartbeatMsRange.most);
}

function isUrl(value: unknown): value is string {
  return typeof value === "string" && value.length <= urlLengthMax;
}

function isWithin(text: string, bytesMax: number): boolean {
  return text.length <= bytesMax && utf8.encode(text).length <= bytesMax;
}

function isCount(value: unknown, least: number, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}
