/**
 * The push command as a service sends it: one map, JSON or msgpack, told apart by
 * its first byte. Fields and bounds are DESIGN §4's and docs/api.md's.
 *
 * Unknown fields are ignored; an unknown `kind`, `priority` or `qos` is UNSUPPORTED.
 */
import { accepted, type Refusal, type Result, refused } from "../base/result.js";
import { isMap, packValue, unpackPlain } from "./codec.js";
import type { ErrorCode } from "./errors.js";
import { isNestedWithin } from "./nesting.js";
import { nestingMax } from "./plain-msgpack.js";

export type Kind = "notification" | "transparent";
export type Priority = "high" | "normal" | "low";
export type Encoding = "json" | "msgpack";

export interface Target {
  readonly device?: string;
  readonly platform?: string;
}

export interface Pull {
  readonly ref: string;
  readonly notBeforeMs?: number;
  readonly spreadMs?: number;
}

export interface Notification {
  readonly title?: string;
  readonly body?: string;
  readonly url?: string;
  readonly [field: string]: unknown;
}

export interface Fallback {
  /** Seconds without an ack until the next channel is tried. */
  readonly after: number;
  readonly channels: readonly string[];
}

export interface PushCommand {
  /** The body as one msgpack value, whatever encoding the command came in. */
  readonly body: Uint8Array;
  readonly id?: string;
  readonly qos: 0 | 1;
  readonly ttlSeconds: number;
  readonly collapse?: string;
  readonly type?: string;
  readonly target?: Target;
  readonly pull?: Pull;
  readonly enc?: string;
  readonly kind: Kind;
  readonly notification?: Notification;
  readonly fallback?: Fallback | false;
  readonly priority: Priority;
}

export const bodyBytesMax = 64 * 1024;
export const keyBytesMax = 64;
export const ttlSecondsDefault = 7 * 24 * 3600;
export const ttlSecondsMax = 30 * 24 * 3600;
/** Head fields beside the body, encoded; the body has a bound of its own. */
const notificationBytesMax = 4 * 1024;
const fallbackChannelsMax = 8;

type CommandError = Extract<
  ErrorCode,
  "BAD_ENCODING" | "BAD_COMMAND" | "BODY_TOO_LARGE" | "UNSUPPORTED"
>;

/** The encoding that an answer to these bytes should be in. */
export function encodingOf(payload: Uint8Array): Encoding {
  const first = payload[0] ?? 0;
  return isJsonStart(first) ? "json" : "msgpack";
}

/** One map, JSON or msgpack, told apart by its first byte: what services send. */
export function decodeCommandMap(
  payload: Uint8Array,
): Result<Record<string, unknown>, "BAD_ENCODING"> {
  const first = payload[0];
  if (first === undefined) return refused("BAD_ENCODING", "the command is empty");
  if (!isJsonStart(first) && !isMsgpackMap(first)) {
    return refused("BAD_ENCODING", "the first byte starts neither a JSON nor a msgpack map");
  }
  let map: unknown;
  try {
    map = isJsonStart(first) ? JSON.parse(utf8.decode(payload)) : unpackPlain(payload);
  } catch (cause) {
    return refused("BAD_ENCODING", `the command does not decode: ${(cause as Error).message}`);
  }
  if (!isMap(map)) return refused("BAD_ENCODING", "the command is not a map");
  // JSON has no bound of its own, and every packing and unpacking on the way recurses.
  if (isJsonStart(first) && !isNestedWithin(map, nestingMax)) {
    return refused("BAD_ENCODING", `the command is nested deeper than ${nestingMax}`);
  }
  return accepted(map);
}

export function decodePushCommand(payload: Uint8Array): Result<PushCommand, CommandError> {
  const map = decodeCommandMap(payload);
  if (!map.ok) return map;
  try {
    return accepted(readCommand(map.value));
  } catch (cause) {
    if (cause instanceof FieldRefused) return cause.refusal;
    throw cause;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function isJsonStart(byte: number): boolean {
  return byte === 0x7b || byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}

function isMsgpackMap(byte: number): boolean {
  return (byte & 0xf0) === 0x80 || byte === 0xde || byte === 0xdf;
}

/** Leaves the reading of fields at the first bad one; never leaves this file. */
class FieldRefused extends Error {
  constructor(readonly refusal: Refusal<CommandError>) {
    super(refusal.message);
  }
}

function refuseField(code: CommandError, message: string): never {
  throw new FieldRefused(refused(code, message));
}

function readCommand(map: Record<string, unknown>): PushCommand {
  const command: { -readonly [Field in keyof PushCommand]: PushCommand[Field] } = {
    body: readBody(map),
    qos: oneOf(map, "qos", [0, 1] as const, 1),
    ttlSeconds: wholeNumber(map, "ttl", 1, ttlSecondsMax) ?? ttlSecondsDefault,
    kind: oneOf(map, "kind", ["transparent", "notification"] as const, "transparent"),
    priority: oneOf(map, "priority", ["normal", "high", "low"] as const, "normal"),
  };
  const id = text(map, "id", keyBytesMax);
  if (id?.startsWith("\u0000")) refuseField("BAD_COMMAND", "`id` must not begin with U+0000");
  if (id !== undefined) command.id = id;
  const collapse = text(map, "collapse", keyBytesMax);
  if (collapse !== undefined) command.collapse = collapse;
  const type = text(map, "type", keyBytesMax);
  if (type !== undefined) command.type = type;
  const enc = text(map, "enc", keyBytesMax);
  if (enc !== undefined) command.enc = enc;
  if (isGiven(map.target)) command.target = readTarget(map.target);
  if (isGiven(map.pull)) command.pull = readPull(map.pull);
  if (isGiven(map.notification)) command.notification = readNotification(map.notification);
  if (isGiven(map.fallback)) command.fallback = readFallback(map.fallback);
  return command;
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function readBody(map: Record<string, unknown>): Uint8Array {
  // A pull message carries its reference in place of a body.
  if (map.body === undefined && !isGiven(map.pull)) {
    refuseField("BAD_COMMAND", "body is required");
  }
  let body: Uint8Array;
  try {
    body = packValue(map.body ?? null);
  } catch (cause) {
    refuseField("BAD_COMMAND", `body cannot be encoded: ${(cause as Error).message}`);
  }
  if (body.length > bodyBytesMax) {
    refuseField("BODY_TOO_LARGE", `body is ${body.length} bytes encoded, at most ${bodyBytesMax}`);
  }
  return body;
}

function readTarget(value: unknown): Target {
  if (!isMap(value)) refuseField("BAD_COMMAND", "target is a map {device, platform}");
  const device = text(value, "device", keyBytesMax);
  const platform = text(value, "platform", keyBytesMax);
  return {
    ...(device === undefined ? {} : { device }),
    ...(platform === undefined ? {} : { platform }),
  };
}

function readPull(value: unknown): Pull {
  if (!isMap(value)) refuseField("BAD_COMMAND", "pull is a map {ref, notBeforeMs, spreadMs}");
  const ref = text(value, "ref", 1024);
  if (ref === undefined) refuseField("BAD_COMMAND", "pull.ref is required");
  const notBeforeMs = wholeNumber(value, "notBeforeMs", 0, Number.MAX_SAFE_INTEGER);
  const spreadMs = wholeNumber(value, "spreadMs", 0, 24 * 3600 * 1000);
  return {
    ref,
    ...(notBeforeMs === undefined ? {} : { notBeforeMs }),
    ...(spreadMs === undefined ? {} : { spreadMs }),
  };
}

function readNotification(value: unknown): Notification {
  if (!isMap(value)) refuseField("BAD_COMMAND", "notification is a map {title, body, url, …}");
  if (packValue(value).length > notificationBytesMax) {
    refuseField("BAD_COMMAND", `notification is at most ${notificationBytesMax} bytes encoded`);
  }
  for (const field of ["title", "body", "url"]) text(value, field, notificationBytesMax);
  return value;
}

function readFallback(value: unknown): Fallback | false {
  if (value === false) return false;
  if (!isMap(value)) refuseField("BAD_COMMAND", "fallback is false or {after, channels}");
  const after = wholeNumber(value, "after", 0, ttlSecondsMax);
  const { channels } = value;
  if (after === undefined) refuseField("BAD_COMMAND", "fallback.after is required, in seconds");
  const isList = Array.isArray(channels) && channels.length <= fallbackChannelsMax;
  if (!isList || !channels.every((channel) => typeof channel === "string")) {
    refuseField("BAD_COMMAND", `fallback.channels is a list of at most ${fallbackChannelsMax}`);
  }
  return { after, channels };
}

function text(map: Record<string, unknown>, field: string, bytesMax: number): string | undefined {
  const value = map[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") refuseField("BAD_COMMAND", `${field} is a string`);
  // A character is at most three bytes of UTF-8 for each of its UTF-16 units.
  const isTooLong =
    value.length > bytesMax ||
    (value.length * 3 > bytesMax && new TextEncoder().encode(value).length > bytesMax);
  if (value === "" || isTooLong) refuseField("BAD_COMMAND", `${field} is 1 to ${bytesMax} bytes`);
  return value;
}

function wholeNumber(
  map: Record<string, unknown>,
  field: string,
  least: number,
  most: number,
): number | undefined {
  const value = map[field];
  if (value === undefined || value === null) return undefined;
  const isInRange = Number.isSafeInteger(value) && (value as number) >= least;
  if (!isInRange || (value as number) > most) {
    refuseField("BAD_COMMAND", `${field} is a whole number from ${least} to ${most}`);
  }
  return value as number;
}

function oneOf<Choice extends string | number>(
  map: Record<string, unknown>,
  field: string,
  choices: readonly Choice[],
  fallback: Choice,
): Choice {
  const value = map[field];
  if (value === undefined || value === null) return fallback;
  if (typeof value !== typeof fallback) {
    refuseField("BAD_COMMAND", `${field} is one of ${choices.join(", ")}`);
  }
  const choice = choices.find((candidate) => candidate === value);
  if (choice === undefined) {
    refuseField("UNSUPPORTED", `${field} ${String(value)} is not one of ${choices.join(", ")}`);
  }
  return choice;
}
