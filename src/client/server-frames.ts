/**
 * The frames of an edge as a client reads them, and the client's own as it writes
 * them; docs/protocol.md describes both. What does not decode is undefined, never
 * thrown: the connection decides what follows.
 */

import { isMap, packValue, unpackValue } from "../protocol/codec.js";
import { type AttachedInfo, serverKinds, type Welcome } from "../protocol/frames.js";
import type { MessageHead } from "../protocol/message-record.js";
import { isSequence, type Position } from "../protocol/position.js";
import { type Directive, readDirective } from "./directive.js";

export interface AttachedFrame {
  readonly kind: "attached";
  readonly session: number;
  readonly base: Position;
  readonly info: AttachedInfo;
}

export interface MessageFrame {
  readonly kind: "message";
  readonly session: number;
  readonly generation: number;
  readonly seq: number;
  readonly prev: number;
  readonly id: string;
  readonly head: MessageHead;
  readonly body: unknown;
}

export interface PassingFrame {
  readonly kind: "passing";
  readonly session: number;
  readonly id: string;
  readonly head: MessageHead;
  readonly body: unknown;
}

export interface RefusedFrame {
  readonly kind: "refused";
  readonly session: number;
  readonly code: string;
  readonly message: string;
}

export interface RecalledFrame {
  readonly kind: "recalled";
  readonly session: number;
  readonly ids: readonly string[];
}

export interface AnswerFrame {
  readonly kind: "answer";
  readonly session: number;
  readonly call: number;
  /** Null: `value` is the service's answer; else why there is none, and `value` is for people. */
  readonly code: string | null;
  readonly value: unknown;
}

/** That session is over; the connection goes on with what else is bound to it. */
export interface EndedFrame {
  readonly kind: "ended";
  readonly session: number;
  /** As of a close, or 1000. */
  readonly code: number;
  readonly name: string;
}

export type ServerFrame =
  | { readonly kind: "welcome"; readonly welcome: Welcome }
  | AttachedFrame
  | MessageFrame
  | PassingFrame
  | { readonly kind: "ping"; readonly nonce: number }
  | RefusedFrame
  | { readonly kind: "tokenWanted"; readonly session: number; readonly expiresInMs: number }
  | RecalledFrame
  | { readonly kind: "directive"; readonly directive: Directive }
  | AnswerFrame
  | EndedFrame
  /** Of a later version; to be ignored. */
  | { readonly kind: "unknown" };

/** `data` is what a WebSocket gave: text, an ArrayBuffer or a view. */
export function decodeServerFrame(data: unknown): ServerFrame | undefined {
  let frame: unknown;
  try {
    if (typeof data === "string") frame = JSON.parse(data, reviveBytes);
    else if (data instanceof ArrayBuffer) frame = unpackValue(new Uint8Array(data));
    else if (data instanceof Uint8Array) frame = unpackValue(data);
  } catch {
    return undefined;
  }
  return Array.isArray(frame) ? readServerFrame(frame) : undefined;
}

/** Encodes a client's frame for its subprotocol. */
export function encodeClientFrame(
  frame: readonly unknown[],
  isText: boolean,
): string | Uint8Array<ArrayBuffer> {
  // msgpackr packs into buffers of its own, which are never shared ones.
  return isText ? JSON.stringify(frame) : (packValue(frame) as Uint8Array<ArrayBuffer>);
}

function readServerFrame(frame: readonly unknown[]): ServerFrame | undefined {
  const [kind, first, second, third, fourth] = frame;
  switch (kind) {
    case serverKinds.welcome:
      return isWelcome(first) ? { kind: "welcome", welcome: first } : undefined;
    case serverKinds.attached: {
      const isWellFormed = isSequence(first) && isSequence(second) && isSequence(third);
      if (!isWellFormed || !isAttachedInfo(fourth)) return undefined;
      const base = { generation: second, seq: third };
      return { kind: "attached", session: first, base, info: fourth };
    }
    case serverKinds.message:
      return readMessage(frame);
    case serverKinds.passing: {
      if (!isSequence(first) || typeof second !== "string" || !isHead(third)) return undefined;
      return { kind: "passing", session: first, id: second, head: third ?? {}, body: fourth };
    }
    case serverKinds.ping:
      return isSequence(first) ? { kind: "ping", nonce: first } : undefined;
    case serverKinds.refused: {
      const isWellFormed = isSequence(first) && typeof second === "string";
      if (!isWellFormed || typeof third !== "string") return undefined;
      return { kind: "refused", session: first, code: second, message: third };
    }
    case serverKinds.tokenWanted:
      if (!isSequence(first) || typeof second !== "number") return undefined;
      return { kind: "tokenWanted", session: first, expiresInMs: second };
    case serverKinds.recalled:
      if (!isSequence(first) || !Array.isArray(second)) return undefined;
      if (!second.every((id) => typeof id === "string")) return undefined;
      return { kind: "recalled", session: first, ids: second };
    case serverKinds.answer: {
      const isWellFormed = isSequence(first) && isSequence(second);
      if (!isWellFormed || !(third === null || typeof third === "string")) return undefined;
      return { kind: "answer", session: first, call: second, code: third, value: fourth };
    }
    case serverKinds.ended: {
      const isWellFormed = isSequence(first) && isSequence(second) && typeof third === "string";
      if (!isWellFormed) return undefined;
      return { kind: "ended", session: first, code: second, name: third };
    }
    case serverKinds.directive: {
      if (!isMap(first)) return undefined;
      const directive = readDirective(first);
      return directive === undefined ? { kind: "unknown" } : { kind: "directive", directive };
    }
    default:
      return typeof kind === "number" ? { kind: "unknown" } : undefined;
  }
}

function readMessage(frame: readonly unknown[]): MessageFrame | undefined {
  const [, session, generation, seq, prev, id, head, body] = frame;
  const isPlaced = isSequence(session) && isSequence(generation) && isSequence(seq);
  if (!isPlaced || !isSequence(prev) || typeof id !== "string" || !isHead(head)) return undefined;
  return { kind: "message", session, generation, seq, prev, id, head: head ?? {}, body };
}

function isHead(value: unknown): value is MessageHead | null {
  return value === null || isMap(value);
}

function isWelcome(value: unknown): value is Welcome {
  if (!isMap(value) || !(typeof value.heartbeatMs === "number" && value.heartbeatMs > 0))
    return false;
  const { takes } = value;
  return takes === undefined || (Array.isArray(takes) && takes.every((kind) => isSequence(kind)));
}

function isAttachedInfo(value: unknown): value is AttachedInfo {
  if (!isMap(value)) return false;
  const { app, uid, device } = value;
  return typeof app === "string" && typeof uid === "string" && typeof device === "string";
}

/** `{"$base64": "…"}`, and nothing beside it, stands for bytes. */
function reviveBytes(_key: string, value: unknown): unknown {
  if (!isMap(value) || typeof value.$base64 !== "string") return value;
  if (Object.keys(value).length !== 1) return value;
  return Uint8Array.from(atob(value.$base64), (character) => character.charCodeAt(0));
}
