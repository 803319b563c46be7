/**
 * The request that opens a WebSocket (RFC 6455, 4.2), read strictly and without a socket:
 * what is no such request is somebody else's, what is a bad one is refused with the status
 * that says why.
 */
import { hash } from "node:crypto";
import { STATUS_CODES } from "node:http";
import type { HandshakeRefusal, Subprotocol } from "../ports/edge-transport.js";

/** Of Node's own HTTP server. */
export const headBytesMax = 16 * 1024;
const headersMax = 100;

/** A request's head as it came: the parser's or Node's own. */
export interface RequestHead {
  readonly method: string;
  readonly target: string;
  /** As in HTTP/1.1. */
  readonly version: string;
  /** By lower-case name; what came several times is joined by ", ". */
  readonly headers: ReadonlyMap<string, string>;
}

export interface Refusal extends HandshakeRefusal {
  /** Beside those that every refusal has. */
  readonly header?: string;
}

export const notListening: Refusal = {
  status: 503,
  reason: "the edge takes no connections now",
  retryAfterSeconds: 1,
};
export const noRoom: Refusal = {
  status: 503,
  reason: "too many slow peers at once",
  retryAfterSeconds: 5,
};

export type HeadFound =
  /** More bytes are needed to say. */
  | { readonly kind: "incomplete" }
  /** Not for a WebSocket: for an HTTP server, from its first byte on. */
  | { readonly kind: "other" }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  /** `end`: where in the bytes the first frame would be. */
  | { readonly kind: "upgrade"; readonly head: RequestHead; readonly end: number };

const incomplete: HeadFound = { kind: "incomplete" };
const other: HeadFound = { kind: "other" };
const getText = "GET ";
const headEnd = "\r\n\r\n";
const asksForUpgrade = /\r\nupgrade[ \t]*:/i;
const requestLine = /^GET ([\x21-\x7e]+) HTTP\/(\d\.\d)$/;
const headerName = /^[!#$%&'*+\-.^_`|~\w]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused.
const controlCharacter = /[\0-\x08\x0a-\x1f\x7f]/;
const webSocketKey = /^[+/\dA-Za-z]{21}[AQgw]==$/;
const subprotocols: readonly Subprotocol[] = ["belfry.v1", "belfry.v1.json"];
const keySuffix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** `from`: up to there nothing was found before, so it is not looked at again. */
export function findHead(bytes: Buffer, from: number): HeadFound {
  const known = Math.min(bytes.length, getText.length);
  if (bytes.toString("latin1", 0, known) !== getText.slice(0, known)) return other;
  const end = bytes.indexOf(headEnd, Math.max(0, from - headEnd.length), "latin1");
  // The HTTP server has its own answer to a head that is too large.
  if (end < 0 || end > headBytesMax) return bytes.length > headBytesMax ? other : incomplete;
  const text = bytes.toString("latin1", 0, end);
  return asksForUpgrade.test(text) ? readHead(text, end + headEnd.length) : other;
}

function readHead(text: string, end: number): HeadFound {
  const [first = "", ...lines] = text.split("\r\n");
  const [, target, version] = requestLine.exec(first) ?? [];
  if (target === undefined || version === undefined) return refused(400, "no HTTP request");
  if (lines.length > headersMax) return refused(431, "too many headers");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0));
    if (!headerName.test(name) || controlCharacter.test(line)) {
      return refused(400, "a header that is none");
    }
    addHeader(headers, name.toLowerCase(), line.slice(colon + 1).trim());
  }
  const head = { method: "GET", target, version, headers };
  return isUpgrade(head) ? { kind: "upgrade", head, end } : other;
}

function refused(status: number, reason: string): HeadFound {
  return { kind: "refused", refusal: { status, reason } };
}

function addHeader(headers: Map<string, string>, name: string, value: string): void {
  const before = headers.get(name);
  headers.set(name, before === undefined ? value : `${before}, ${value}`);
}

/** Of Node's `rawHeaders`: names and values in turn. */
export function headersOf(raw: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (let at = 0; at + 1 < raw.length; at += 2) {
    addHeader(headers, (raw[at] ?? "").toLowerCase(), raw[at + 1] ?? "");
  }
  return headers;
}

/** As Node's server sees it: without `Connection: Upgrade` it is a plain request. */
function isUpgrade({ headers }: RequestHead): boolean {
  return hasToken(headers.get("connection"), "upgrade");
}

function hasToken(value: string | undefined, token: string): boolean {
  return (
    value
      ?.toLowerCase()
      .split(",")
      .some((each) => each.trim() === token) ?? false
  );
}

/** Undefined when it opens a WebSocket on `path`. */
export function refusalOf(head: RequestHead, path: string): Refusal | undefined {
  const { method, target, version, headers } = head;
  const pathname = target === path ? path : pathOf(target);
  if (pathname === undefined) return { status: 400, reason: "the target is no URL" };
  if (pathname !== path) return { status: 404, reason: "no such path" };
  if (method !== "GET") return { status: 405, reason: "only GET", header: "Allow: GET" };
  if (version !== "1.1") return { status: 400, reason: "only HTTP/1.1" };
  if (!hasToken(headers.get("upgrade"), "websocket")) {
    return { status: 400, reason: "only WebSockets" };
  }
  if (headers.get("sec-websocket-version") !== "13") {
    return { status: 426, reason: "only version 13", header: "Sec-WebSocket-Version: 13" };
  }
  if (!webSocketKey.test(headers.get("sec-websocket-key") ?? "")) {
    return { status: 400, reason: "a Sec-WebSocket-Key that is none" };
  }
  // Two of them come joined and are none; a proxy in front may have gone by either.
  if (!/^[^\s,]+$/.test(headers.get("host") ?? "")) return { status: 400, reason: "no one host" };
  // A body's bytes would be taken for frames.
  if (headers.has("transfer-encoding") || (headers.get("content-length") ?? "0") !== "0") {
    return { status: 400, reason: "no body" };
  }
  return undefined;
}

/** Targets have a path alone; the host that they would be of says nothing here. */
const base = "http://edge";

function pathOf(target: string): string | undefined {
  return URL.canParse(target, base) ? new URL(target, base).pathname : undefined;
}

/** Undefined where none was offered that is known here. */
/** All that is kept of a head while its handshake waits: a head may be large. */
export interface Acceptance {
  readonly answer: Buffer;
  readonly subprotocol: Subprotocol | undefined;
}

export function acceptanceOf(head: RequestHead): Acceptance {
  const subprotocol = chooseSubprotocol(head);
  return { subprotocol, answer: Buffer.from(upgradeAnswer(head, subprotocol), "latin1") };
}

export function chooseSubprotocol({ headers }: RequestHead): Subprotocol | undefined {
  const offered = headers.get("sec-websocket-protocol");
  if (offered === undefined) return undefined;
  const names = offered.split(",").map((name) => name.trim());
  return subprotocols.find((known) => names.includes(known));
}

export function upgradeAnswer(head: RequestHead, subprotocol: Subprotocol | undefined): string {
  const accepted = hash("sha1", head.headers.get("sec-websocket-key") + keySuffix, "base64");
  const chosen = subprotocol === undefined ? "" : `Sec-WebSocket-Protocol: ${subprotocol}\r\n`;
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accepted}\r\n${chosen}\r\n`;
}

export function refusalAnswer({ status, reason, retryAfterSeconds, header }: Refusal): string {
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Refused"}`,
    ...(retryAfterSeconds === undefined ? [] : [`Retry-After: ${retryAfterSeconds}`]),
    ...(header === undefined ? [] : [header]),
    "Connection: close",
    "Content-Type: text/plain",
    `Content-Length: ${Buffer.byteLength(reason)}`,
  ];
  return `${lines.join("\r\n")}\r\n\r\n${reason}`;
}
