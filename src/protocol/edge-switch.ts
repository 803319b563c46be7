/** What holds for all edges of a datacenter, as it is kept: a JSON map. */
import { isMap } from "./codec.js";

/** Its key in the bucket `placement`. */
export const edgeSwitchKey = "edges";
const version = 1;

export interface EdgeSwitch {
  readonly letInPercent: number;
}

export function isPercent(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value <= 100;
}

export function encodeEdgeSwitch({ letInPercent }: EdgeSwitch): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ v: version, letInPercent }));
}

/** Undefined for what is none, and for a newer version's. */
export function decodeEdgeSwitch(bytes: Uint8Array): EdgeSwitch | undefined {
  try {
    const map: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (!isMap(map) || map.v !== version || !isPercent(map.letInPercent)) return undefined;
    return { letInPercent: map.letInPercent };
  } catch {
    return undefined;
  }
}
