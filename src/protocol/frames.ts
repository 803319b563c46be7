/**
 * The frames between an edge and a client: arrays, `[kind, …]`, as msgpack
 * (subprotocol `belfry.v1`) or JSON text (`belfry.v1.json`). docs/protocol.md is
 * their description for people who write clients.
 *
 * What comes from a client is decoded here and refused, never asserted. Longer
 * arrays than known are read up to what is known: fields are only ever appended.
 */
import { accepted, type Result, refused } from "../base/result.js";
import { type CallFrame, type OpenedFrame, readCall, readOpened } from "./call-frames.js";
import { type ClientSurroundings, readSurroundings } from "./client-surroundings.js";
import { concatBytes, isMap, packValue, unpackPlain, unpackValue } from "./codec.js";
import type { Directive } from "./directive.js";
import { toJson } from "./plain-json.js";
import { isSequence, type Position } from "./position.js";
import { isShortText } from "./short-text.js";

export const protocolVersion = 1;
export const clientFrameBytesMax = 64 * 1024;

/** From `tell` on only to an edge whose welcome names them in `takes`. */
export const clientKinds = {
  hello: 1,
  ack: 2,
  resend: 3,
  pong: 4,
  token: 5,
  tell: 6,
  call: 7,
  bind: 8,
  unbind: 9,
  opened: 10,
} as const;
/** Kinds beside 1 to 5 that an edge reads: what its welcome says in `takes`. */
export const takenKinds: readonly number[] = [
  clientKinds.tell,
  clientKinds.call,
  ...[clientKinds.bind, clientKinds.unbind], // several sessions on one connection
  clientKinds.opened,
];
export const serverKinds = {
  welcome: 16,
  attached: 17,
  message: 18,
  passing: 19,
  ping: 20,
  refused: 21,
  tokenWanted: 22,
  recalled: 23,
  directive: 24,
  answer: 25,
  ended: 26,
} as const;

/** Where a device that was never seen starts: with what comes, with the last n, or with all. */
export type Start = "new" | "all" | `tail:${number}`;

export interface Hello extends ClientSurroundings {
  readonly kind: "hello";
  readonly version: number;
  readonly token: string;
  /** Names this installation; the token's `device` wins. */
  readonly device?: string;
  readonly platform?: string;
  /** Grows with each connection of the device; the edge's clock where absent. */
  readonly connect?: number;
  /** The last contiguous position that the app took. */
  readonly position?: Position;
  readonly start: Start;
}

export type ClientFrame =
  | Hello
  | { readonly kind: "ack"; readonly session: number; readonly position: Position }
  | { readonly kind: "resend"; readonly session: number; readonly position: Position }
  | { readonly kind: "pong"; readonly nonce: number }
  | { readonly kind: "token"; readonly session: number; readonly token: string }
  | CallFrame
  | OpenedFrame
  | Bind
  | { readonly kind: "unbind"; readonly session: number }
  | { readonly kind: "tell"; readonly now: ClientSurroundings };

/** One more session on this connection, under an index that the client chose. */
export interface Bind {
  readonly kind: "bind";
  readonly session: number;
  readonly hello: Hello;
}

/** The session that hello signed in; the client's own indexes lie between it and the bound. */
export const firstSession = 0;
export const sessionIndexMax = 15;

export type FrameError = "BAD_FRAME" | "UNSUPPORTED";

export function decodeClientFrame(
  bytes: Uint8Array,
  isText: boolean,
): Result<ClientFrame, FrameError> {
  let frame: unknown;
  try {
    frame = isText ? JSON.parse(utf8.decode(bytes)) : unpackPlain(bytes);
  } catch {
    return refused("BAD_FRAME", "the frame does not decode");
  }
  if (!Array.isArray(frame)) return refused("BAD_FRAME", "a frame is an array");
  return readClientFrame(frame);
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
/** Also the platform's. */
export const deviceBytesMax = 64;
export const tokenBytesMax = 8 * 1024;

function readClientFrame(frame: readonly unknown[]): Result<ClientFrame, FrameError> {
  const [kind, first, second, third] = frame;
  switch (kind) {
    case clientKinds.hello:
      return readHello(first);
    case clientKinds.ack:
    case clientKinds.resend: {
      if (!isSequence(first) || !isSequence(second) || !isSequence(third)) break;
      const position = { generation: second, seq: third };
      const name = kind === clientKinds.ack ? "ack" : "resend";
      return accepted({ kind: name, session: first, position });
    }
    case clientKinds.pong:
      if (!isSequence(first)) break;
      return accepted({ kind: "pong", nonce: first });
    case clientKinds.token:
      if (!isSequence(first) || !isShortText(second, tokenBytesMax)) break;
      return accepted({ kind: "token", session: first, token: second });
    case clientKinds.call:
      return readCall(frame);
    case clientKinds.opened:
      return readOpened(frame);
    case clientKinds.bind:
      return readBind(first, second);
    case clientKinds.unbind:
      if (!isSequence(first)) break;
      return accepted({ kind: "unbind", session: first });
    case clientKinds.tell: {
      const now = isMap(first) ? readSurroundings(first) : undefined;
      if (now === undefined) break;
      return accepted({ kind: "tell", now });
    }
    default:
      if (typeof kind !== "number") break;
      return refused("UNSUPPORTED", `unknown frame kind ${kind}`);
  }
  return refused("BAD_FRAME", "a field of the frame has the wrong type");
}

function readHello(hello: unknown): Result<Hello, FrameError> {
  if (!isMap(hello)) return refused("BAD_FRAME", "hello carries a map");
  const { v, token, device, platform, connect, position, start } = hello;
  if (v !== protocolVersion) return refused("UNSUPPORTED", `protocol version ${String(v)}`);
  const isWellFormed =
    isShortText(token, tokenBytesMax) &&
    (device === undefined || isShortText(device, deviceBytesMax)) &&
    (platform === undefined || isShortText(platform, deviceBytesMax)) &&
    (connect === undefined || isSequence(connect)) &&
    (start === undefined || isStart(start));
  const surroundings = readSurroundings(hello);
  if (!isWellFormed || surroundings === undefined) {
    return refused("BAD_FRAME", "a field of hello has the wrong type");
  }
  const read: { -readonly [Field in keyof Hello]: Hello[Field] } = {
    ...surroundings,
    kind: "hello",
    version: protocolVersion,
    token,
    start: start ?? "new",
  };
  if (device !== undefined) read.device = device;
  if (platform !== undefined) read.platform = platform;
  if (connect !== undefined) read.connect = connect;
  if (position !== undefined && position !== null) {
    if (!Array.isArray(position) || !isSequence(position[0]) || !isSequence(position[1])) {
      return refused("BAD_FRAME", "hello.position is [generation, seq]");
    }
    read.position = { generation: position[0], seq: position[1] };
  }
  return accepted(read);
}

/** What concerns the connection and not a session is ignored in it. */
function readBind(session: unknown, bind: unknown): Result<Bind, FrameError> {
  if (!isSequence(session) || !isMap(bind)) {
    return refused("BAD_FRAME", "bind carries an index and a map");
  }
  const { token, device, platform, connect, position, start } = bind;
  const fields = { token, device, platform, connect, position, start };
  const read = readHello({ v: protocolVersion, ...fields });
  return read.ok ? accepted({ kind: "bind", session, hello: read.value }) : read;
}

function isStart(value: unknown): value is Start {
  return value === "new" || value === "all" || (typeof value === "string" && tail.test(value));
}

const tail = /^tail:\d{1,6}$/;

export interface Welcome {
  readonly v: number;
  readonly node: string;
  readonly connection: number;
  readonly heartbeatMs: number;
  readonly frameBytesMax: number;
  readonly serverTimeMs: number;
  /** Kinds of clients' frames that it takes beside 1 to 5. */
  readonly takes?: readonly number[];
}

export interface AttachedInfo {
  readonly app: string;
  readonly uid: string;
  readonly device: string;
  /** Seconds since the epoch. */
  readonly tokenExpiresAt: number;
}

export function welcomeFrame(welcome: Welcome): unknown[] {
  return [serverKinds.welcome, welcome];
}

/** `base`: the position that the first message's `prev` will name. */
export function attachedFrame(session: number, base: Position, info: AttachedInfo): unknown[] {
  return [serverKinds.attached, session, base.generation, base.seq, info];
}

export function pingFrame(nonce: number): unknown[] {
  return [serverKinds.ping, nonce];
}

export function refusedFrame(session: number, code: string, message: string): unknown[] {
  return [serverKinds.refused, session, code, message];
}

export function tokenWantedFrame(session: number, expiresInMs: number): unknown[] {
  return [serverKinds.tokenWanted, session, expiresInMs];
}

/** Messages that were taken back, by their MsgIDs. */
export function recalledFrame(session: number, ids: readonly string[]): unknown[] {
  return [serverKinds.recalled, session, ids];
}

/** That session is over here, and the connection goes on; `code` as of a close, or 1000. */
export function endedFrame(session: number, code: number, name: string): unknown[] {
  return [serverKinds.ended, session, code, name];
}

/** The answer to a `call`; with a `code` there is none, and `value` says why to people. */
export function answerFrame(
  session: number,
  call: number,
  code: string | null,
  value: unknown,
): unknown[] {
  return [serverKinds.answer, session, call, code, value];
}

/** What the client is to do: a map whose `do` names it. */
export function directiveFrame(directive: Directive): unknown[] {
  return [serverKinds.directive, directive];
}

export function encodeFrame(frame: readonly unknown[], isText: boolean): Uint8Array {
  return isText ? new TextEncoder().encode(toJson(frame)) : packValue(frame);
}

/** `[message, session, generation, seq, prev, id, head, body]` around a record read nowhere. */
export function messageFrame(
  session: number,
  generation: number,
  seq: number,
  prev: number,
  record: Uint8Array,
  isText: boolean,
): Uint8Array {
  const fields = [serverKinds.message, session, generation, seq, prev];
  return isText ? textAround(fields, record) : spliced(8, fields, record);
}

/** `[passing, session, id, head, body]`: at most once, no position, no ack. */
export function passingFrame(session: number, record: Uint8Array, isText: boolean): Uint8Array {
  const fields = [serverKinds.passing, session];
  return isText ? textAround(fields, record) : spliced(5, fields, record);
}

const arrayOfUpTo15 = 0x90;

function spliced(length: number, fields: readonly number[], record: Uint8Array): Uint8Array {
  // Written by hand into one buffer: 0.6 µs for 220 bytes where packing and joining take 0.9.
  const frame = new Uint8Array(1 + fields.length * 9 + record.length);
  frame[0] = arrayOfUpTo15 | length;
  let at = 1;
  for (const field of fields) at = writeUnsigned(frame, at, field);
  frame.set(record, at);
  return frame.subarray(0, at + record.length);
}

function writeUnsigned(bytes: Uint8Array, at: number, value: number): number {
  if (value < 0x80) {
    bytes[at] = value;
    return at + 1;
  }
  if (value < 0x1_0000) {
    bytes[at] = 0xcd;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value;
    return at + 3;
  }
  if (value < 0x1_0000_0000) {
    bytes[at] = 0xce;
    writeUint32(bytes, at + 1, value);
    return at + 5;
  }
  bytes[at] = 0xcf;
  writeUint32(bytes, at + 1, Math.floor(value / 0x1_0000_0000));
  writeUint32(bytes, at + 5, value % 0x1_0000_0000);
  return at + 9;
}

function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

function textAround(fields: readonly unknown[], record: Uint8Array): Uint8Array {
  // The record is three msgpack values; an array header makes them one.
  const values = unpackValue(concatBytes([Uint8Array.of(arrayOfUpTo15 | 3), record]));
  return new TextEncoder().encode(toJson([...fields, ...(values as unknown[])]));
}
