/** Fields of a node's report, which has no fixed form: absent is null, never an error. */
import { isMap } from "../protocol/codec.js";

export function fieldAt(report: unknown, ...path: readonly string[]): unknown {
  let at = report;
  for (const name of path) {
    if (!isMap(at)) return undefined;
    at = at[name];
  }
  return at;
}

export function numberAt(report: unknown, ...path: readonly string[]): number | null {
  const value = fieldAt(report, ...path);
  return typeof value === "number" ? value : null;
}

export function textAt(report: unknown, ...path: readonly string[]): string | null {
  const value = fieldAt(report, ...path);
  return typeof value === "string" ? value : null;
}

export function listAt(report: unknown, ...path: readonly string[]): readonly unknown[] {
  const value = fieldAt(report, ...path);
  return Array.isArray(value) ? value : [];
}

/** The sum of a map's numbers; null when there is no such map. */
export function sumAt(report: unknown, ...path: readonly string[]): number | null {
  const value = fieldAt(report, ...path);
  if (!isMap(value)) return null;
  let sum = 0;
  for (const each of Object.values(value)) if (typeof each === "number") sum += each;
  return sum;
}
