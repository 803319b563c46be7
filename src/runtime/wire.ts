/**
 * The bytes between two nodes: one msgpack array a batch,
 *
 *   [version, sender, entry, entry, …]
 *
 * An entry is an array that begins with its type. The field names of messages
 * are written once a batch: a SHAPE entry lists them, and messages refer to the
 * n-th shape of the batch and carry values only. (msgpackr's own records would
 * do the same but compile a reader for each shape anew in every batch.)
 *
 * What is read here comes from outside: nothing in it may throw or assert. Strings
 * that are given out own their characters: msgpackr cuts short ones out of one string
 * of up to 6,000, which a single address in an actor's field would keep alive.
 */
import { Packr, Unpackr } from "msgpackr";
import { StringPool } from "../base/string-pool.js";
import type { StopReason, TerminatedReason } from "./envelope.js";

export const WIRE_VERSION = 1;

export const SHAPE = 0;
export const TELL = 1;
export const ASK = 2;
export const ANSWER = 3;
export const REFUSAL = 4;
export const WATCH = 5;
export const UNWATCH = 6;
export const TERMINATED = 7;

/** A message in a batch: `[shape, ...values]`, or `[-1, value]` when it is no plain object. */
export type Packed = readonly unknown[];

export type Entry =
  | { type: typeof TELL; path: string; message: unknown; context: WireContext | undefined }
  | { type: typeof ASK; path: string; message: unknown; context: WireContext; id: number }
  | { type: typeof ANSWER; id: number; value: unknown }
  | { type: typeof REFUSAL; id: number; code: string; message: string }
  | { type: typeof WATCH | typeof UNWATCH; path: string; watcherPath: string }
  | { type: typeof TERMINATED; watcherPath: string; path: string; reason: TerminatedReason };

export interface WireContext {
  /** What is left of the deadline when the entry is written. */
  readonly remainingMs: number | undefined;
  readonly trace: string | undefined;
  readonly requestId: string | undefined;
}

// Plain maps, not records, for nested objects: an entry must be readable by itself.
export const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

export type Batch =
  | { readonly ok: true; readonly from: string; readonly entries: Entry[] }
  | { readonly ok: false; readonly why: "garbage" | "unknown-version" };

const SHAPES_MAX = 4_096;
const FIELDS_MAX = 256;
// msgpackr-extract reads longer ones (str 16 and 32) each as a string of its own.
const CUT_LENGTH_MAX = 255;
// How deep in a message strings are looked for; what is nested deeper keeps its batch.
const OWN_DEPTH_MAX = 8;

const pool = new StringPool(CUT_LENGTH_MAX);

/** Refuses the whole batch when any entry of a known type is malformed; skips unknown types. */
export function decodeBatch(bytes: Uint8Array): Batch {
  const batch = unpackArray(bytes);
  if (batch === undefined || !Number.isInteger(batch[0])) return GARBAGE;
  if (batch[0] !== WIRE_VERSION) return { ok: false, why: "unknown-version" };
  const from = batch[1];
  if (typeof from !== "string") return GARBAGE;
  const shapes: string[][] = [];
  const entries: Entry[] = [];
  for (let at = 2; at < batch.length; at++) {
    const item = batch[at];
    if (!Array.isArray(item)) return GARBAGE;
    if (item[0] === SHAPE) {
      if (!isShape(item) || shapes.length >= SHAPES_MAX) return GARBAGE;
      shapes.push(item.slice(1) as string[]);
      continue;
    }
    const entry = decodeEntry(item, shapes);
    if (entry === "garbage") return GARBAGE;
    if (entry !== "unknown") entries.push(entry);
  }
  return { ok: true, from: pool.own(from), entries };
}

const GARBAGE: Batch = { ok: false, why: "garbage" };

function unpackArray(bytes: Uint8Array): unknown[] | undefined {
  try {
    const value: unknown = unpackr.unpack(bytes);
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isShape(item: unknown[]): boolean {
  if (item.length > FIELDS_MAX + 1) return false;
  for (let at = 1; at < item.length; at++) {
    if (typeof item[at] !== "string" || item[at] === "__proto__") return false;
  }
  return true;
}

function decodeEntry(item: unknown[], shapes: string[][]): Entry | "garbage" | "unknown" {
  const [type, first, second, third, fourth] = item;
  switch (type) {
    case TELL: {
      const message = unpackMessage(second, shapes);
      const context = readContext(third);
      if (typeof first !== "string" || message === NOTHING) return "garbage";
      return { type, path: first, message, context };
    }
    case ASK: {
      const message = unpackMessage(second, shapes);
      const context = readContext(third);
      if (typeof first !== "string" || message === NOTHING || !isId(fourth)) return "garbage";
      if (context?.remainingMs === undefined) return "garbage";
      return { type, path: first, message, context, id: fourth };
    }
    case ANSWER: {
      const value = unpackMessage(second, shapes);
      return isId(first) && value !== NOTHING ? { type, id: first, value } : "garbage";
    }
    case REFUSAL:
      if (!isId(first) || typeof second !== "string" || typeof third !== "string") return "garbage";
      return { type, id: first, code: pool.own(second), message: pool.own(third) };
    case WATCH:
    case UNWATCH:
      if (typeof first !== "string" || typeof second !== "string") return "garbage";
      return { type, path: pool.own(first), watcherPath: pool.own(second) };
    case TERMINATED:
      if (typeof first !== "string" || typeof second !== "string") return "garbage";
      return { type, watcherPath: first, path: pool.own(second), reason: readReason(third) };
    default:
      return Number.isInteger(type) ? "unknown" : "garbage";
  }
}

const NOTHING = Symbol("nothing");
// Not worth a store: V8 never cuts these.
const SHORT = 12;

function unpackMessage(packed: unknown, shapes: string[][]): unknown {
  if (!Array.isArray(packed)) return NOTHING;
  if (packed[0] === -1) return packed.length === 2 ? owned(packed[1], 0) : NOTHING;
  const shape = typeof packed[0] === "number" ? shapes[packed[0]] : undefined;
  if (shape === undefined || packed.length !== shape.length + 1) return NOTHING;
  const message: Record<string, unknown> = {};
  for (let at = 0; at < shape.length; at++) message[shape[at] as string] = owned(packed[at + 1], 0);
  return message;
}

/** `value`, in it no string that keeps the batch. */
function owned(value: unknown, depth: number): unknown {
  if (typeof value === "string") return pool.own(value);
  if (typeof value === "object" && value !== null && depth < OWN_DEPTH_MAX) {
    if (Array.isArray(value)) ownItems(value, depth + 1);
    else if (!ArrayBuffer.isView(value)) ownFields(value as Record<string, unknown>, depth + 1);
  }
  return value;
}

function ownItems(items: unknown[], depth: number): void {
  for (let at = 0; at < items.length; at++) {
    const item = items[at];
    if (typeof item === "string") items[at] = pool.own(item);
    else if (typeof item === "object") owned(item, depth);
  }
}

function ownFields(fields: Record<string, unknown>, depth: number): void {
  for (const name in fields) {
    const value = fields[name];
    if (typeof value === "string") {
      if (value.length > SHORT) fields[name] = pool.own(value);
    } else if (typeof value === "object") owned(value, depth);
  }
}

function isId(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function readContext(value: unknown): WireContext | undefined {
  if (!Array.isArray(value)) return undefined;
  const [remainingMs, trace, requestId] = value as unknown[];
  return {
    remainingMs:
      typeof remainingMs === "number" && Number.isFinite(remainingMs) ? remainingMs : undefined,
    trace: typeof trace === "string" ? pool.own(trace) : undefined,
    requestId: typeof requestId === "string" ? pool.own(requestId) : undefined,
  };
}

const REASONS: readonly (StopReason | TerminatedReason)[] = [
  "normal",
  "crashed",
  "gave-up",
  "no-such-actor",
  "unreachable",
];

// A reason that a newer node invents must still end the watch.
function readReason(value: unknown): TerminatedReason {
  return REASONS.find((reason) => reason === value) ?? "normal";
}
