/**
 * `GET /edges?key=…&attempt=…`: where a client is to connect, as JSON that caches may keep
 * for a moment. docs/protocol.md says what stands in it.
 *
 * Anybody may ask, from any page: the addresses are public, and nothing is looked up by `key`.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Dispatcher } from "../../actors/dispatcher.js";
import { randomToken } from "../base/random.js";
import { systemRandom } from "../drivers/system-clock.js";
import { sendText } from "./http.js";

const keyLengthMax = 256;
const randomKeyLength = 8;
const attemptMax = 1_000_000;
const datacenterName = /^[a-z0-9-]{1,16}$/;
/** Short, so that an edge in drain is told of no longer; a cache may bridge an outage of ours. */
const cacheControl = "public, max-age=10, stale-if-error=3600";
const anyOrigin = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": "ETag, Retry-After",
};
const preflight = {
  ...anyOrigin,
  "access-control-allow-methods": "GET, HEAD",
  "access-control-allow-headers": "If-None-Match",
  "access-control-max-age": "86400",
};

interface Question {
  /** Empty: the client names nothing, and may be sent anywhere. */
  readonly key: string;
  readonly attempt: number;
  /** The datacenter whose dispatcher sent the client here: it is not sent on. */
  readonly from: string | undefined;
}

export function sendDispatch(
  dispatcher: Dispatcher,
  idc: string,
  search: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  if (request.method === "OPTIONS") {
    response.writeHead(204, preflight).end();
    return;
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD, OPTIONS");
    sendText(response, 405, "this is to be read");
    return;
  }
  const question = readQuestion(search);
  if (typeof question === "string") {
    for (const [name, value] of Object.entries(anyOrigin)) response.setHeader(name, value);
    sendText(response, 400, question);
    return;
  }
  const elsewhere = question.from === undefined ? dispatcher.elsewhere : undefined;
  if (elsewhere !== undefined) sendElsewhere(elsewhere, question, idc, response);
  else sendAnswer(dispatcher, question, request, response);
}

/** A sentence for what cannot be asked. */
function readQuestion(search: URLSearchParams): Question | string {
  const key = search.get("key") ?? "";
  if (key.length > keyLengthMax) return `key is at most ${keyLengthMax} characters`;
  const attempt = search.get("attempt") ?? "0";
  if (!/^\d{1,7}$/.test(attempt) || Number(attempt) > attemptMax) {
    return `attempt is a number from 0 to ${attemptMax}`;
  }
  const from = search.get("from") ?? undefined;
  if (from !== undefined && !datacenterName.test(from)) return "from is a datacenter's name";
  return { key, attempt: Number(attempt), from };
}

function sendElsewhere(
  dispatcher: string,
  { key, attempt }: Question,
  idc: string,
  response: ServerResponse,
): void {
  const location = new URL(dispatcher);
  location.searchParams.set("key", key);
  location.searchParams.set("attempt", String(attempt));
  location.searchParams.set("from", idc);
  response.writeHead(307, { ...anyOrigin, location: location.href, "cache-control": cacheControl });
  response.end();
}

function sendAnswer(
  dispatcher: Dispatcher,
  { key, attempt }: Question,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  // Without a key all of them would be sent to the same edge.
  const answer = dispatcher.answer(key || randomToken(systemRandom, randomKeyLength), attempt);
  const body = JSON.stringify(answer);
  if (answer.edges.length === 0) {
    const seconds = Math.ceil((answer.retryAfterMs ?? 0) / 1_000);
    const headers = { "cache-control": "no-store", "retry-after": String(seconds) };
    sendJson(response, 503, headers, body, request.method === "HEAD");
    return;
  }
  const etag = `"${createHash("sha1").update(body).digest("base64url")}"`;
  const headers = { "cache-control": key === "" ? "no-store" : cacheControl, etag };
  if (namesTag(request.headers["if-none-match"], etag)) {
    response.writeHead(304, { ...anyOrigin, ...headers }).end();
    return;
  }
  sendJson(response, 200, headers, body, request.method === "HEAD");
}

/** RFC 9110, 13.1.2: compared weakly. */
function namesTag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  const tags = header.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes(etag) || tags.includes("*");
}

function sendJson(
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string,
  isHead: boolean,
): void {
  response.writeHead(status, {
    ...anyOrigin,
    ...headers,
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  });
  response.end(isHead ? undefined : body);
}
