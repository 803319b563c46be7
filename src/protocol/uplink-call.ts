/**
 * A client's call as an edge hands it to a service, and the service's answer: one map each,
 * JSON or msgpack, told apart by its first byte (docs/api.md, Uplink calls).
 */
import { packValue } from "./codec.js";
import { toJson } from "./plain-json.js";
import { decodeCommandMap, type Encoding, encodingOf } from "./push-command.js";
import { isShortText } from "./short-text.js";

export const uplinkVersion = 1;
export const answerCodeBytesMax = 64;
/** Of an answer, and of the frame that carries it to the client. */
export const answerBytesMax = 256 * 1024;
const answerMessageMax = 1_024;

export interface UplinkCall {
  readonly v: number;
  /** Of this call and of no other; for logs. */
  readonly id: string;
  readonly app: string;
  readonly uid: string;
  readonly device: string;
  readonly route: string;
  /** How long the answer is waited for, from when the edge sent this. */
  readonly deadlineMs: number;
  readonly body: unknown;
}

export type UplinkAnswer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly code: string; readonly message: string };

export function encodeUplink(map: UplinkCall | UplinkAnswer, encoding: Encoding): Uint8Array {
  return encoding === "json" ? new TextEncoder().encode(toJson(map)) : packValue(map);
}

export interface ReceivedCall extends UplinkCall {
  /** In which its answer is to be. */
  readonly encoding: Encoding;
}

/** Undefined for what is no call, or of another version. */
export function decodeUplinkCall(bytes: Uint8Array): ReceivedCall | undefined {
  const decoded = decodeCommandMap(bytes);
  if (!decoded.ok || decoded.value["v"] !== uplinkVersion) return undefined;
  const { id, app, uid, device, route, deadlineMs, body } = decoded.value;
  const names = [id, app, uid, device, route];
  if (!names.every((name) => typeof name === "string") || typeof deadlineMs !== "number") {
    return undefined;
  }
  const call = { v: uplinkVersion, id, app, uid, device, route, deadlineMs, body } as UplinkCall;
  return { ...call, encoding: encodingOf(bytes) };
}

/** Undefined for what is no answer; an absent value is null. */
export function decodeUplinkAnswer(bytes: Uint8Array): UplinkAnswer | undefined {
  const decoded = decodeCommandMap(bytes);
  if (!decoded.ok) return undefined;
  const { ok, value, code, message } = decoded.value;
  if (ok === true) return { ok, value: value ?? null };
  if (ok !== false || !isShortText(code, answerCodeBytesMax)) return undefined;
  const text = typeof message === "string" ? message.slice(0, answerMessageMax) : code;
  return { ok, code, message: text };
}
