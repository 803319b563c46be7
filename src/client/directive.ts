/** What an edge tells a client to do, read from its frame; unknown ones are ignored. */
import { isMap } from "../protocol/codec.js";
import { type EdgeAddress, readEdges } from "./dispatcher-answer.js";

export type Directive =
  /** Come back within a window, to the addresses where there are some; nothing is lost. */
  | {
      readonly do: "reconnect";
      readonly edges: readonly EdgeAddress[];
      readonly afterMs: number;
      readonly spreadMs: number;
    }
  /** Go, and stay away until the app says otherwise. */
  | { readonly do: "kick"; readonly reason: string }
  /** The edge beats so from now on. */
  | { readonly do: "heartbeat"; readonly heartbeatMs: number }
  /** Something that the app may want to know, such as a new version of a document. */
  | { readonly do: "config"; readonly config: unknown };

const windowMsMax = 3_600_000;
export const heartbeatMsRange = { min: 1_000, max: 3_600_000 } as const;

/** Undefined for one of a later version, and for what is none. */
export function readDirective(value: unknown): Directive | undefined {
  if (!isMap(value)) return undefined;
  switch (value.do) {
    case "reconnect":
      return {
        do: "reconnect",
        edges: Array.isArray(value.edges) ? readEdges(value.edges, false) : [],
        afterMs: boundedMs(value.afterMs),
        spreadMs: boundedMs(value.spreadMs),
      };
    case "kick":
      return { do: "kick", reason: typeof value.reason === "string" ? value.reason : "" };
    case "heartbeat":
      return isHeartbeat(value.heartbeatMs)
        ? { do: "heartbeat", heartbeatMs: value.heartbeatMs }
        : undefined;
    case "config":
      return { do: "config", config: value.config };
    default:
      return undefined;
  }
}

function boundedMs(value: unknown): number {
  return typeof value === "number" && value > 0 ? Math.min(value, windowMsMax) : 0;
}

function isHeartbeat(value: unknown): value is number {
  const { min, max } = heartbeatMsRange;
  return typeof value === "number" && value >= min && value <= max;
}
