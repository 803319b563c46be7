/**
 * msgpack as Belfry speaks it to the outside: plain maps and arrays, no
 * extensions, so that any msgpack library in any language reads it.
 */
import { Packr, Unpackr } from "msgpackr";
import { isPlainMsgpack } from "./plain-msgpack.js";

// Without `encodeUndefinedAsNil` an undefined field becomes an extension.
const packr = new Packr({
  useRecords: false,
  variableMapSize: true,
  encodeUndefinedAsNil: true,
});
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });

export function packValue(value: unknown): Uint8Array {
  return packr.pack(value);
}

/** Throws on bytes that are not exactly one value: callers decode what came from outside. */
export function unpackValue(bytes: Uint8Array): unknown {
  return unpackr.unpack(bytes);
}

/**
 * Throws like `unpackValue`, and on what is not plain. For bytes from outside: msgpackr
 * reads extensions into objects of its own choice (records, regular expressions, cycles).
 */
export function unpackPlain(bytes: Uint8Array): unknown {
  if (!isPlainMsgpack(bytes)) throw new Error("not one plain msgpack value");
  return unpackValue(bytes);
}

/** Throws like `unpackValue`; the values stand one after the other. */
export function unpackValues(bytes: Uint8Array): unknown[] {
  const values = unpackr.unpackMultiple(bytes);
  return Array.isArray(values) ? values : [];
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Uint8Array) &&
    !(value instanceof Date)
  );
}
