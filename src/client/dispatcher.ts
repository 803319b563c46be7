/** Asks a dispatcher where to connect: with a deadline, and a bound on what it answers. */
import type { Clock } from "../base/clock.js";
import { retryAfterMs } from "../base/retry-after.js";
import { userKey } from "./address-order.js";
import { type DispatcherAnswer, readDispatcherAnswer } from "./dispatcher-answer.js";

/** The part of `fetch` that is used; a redirect (307) is followed by it. */
export type HttpFetch = (
  url: string,
  init: { readonly signal: AbortSignal; readonly cache: "no-cache" },
) => Promise<HttpAnswer>;

export interface HttpAnswer {
  readonly ok: boolean;
  readonly status: number;
  /** Where it came from in the end, if the platform tells. */
  readonly url?: string;
  /** As it comes, where the platform can: so much is read and no more. */
  readonly body?: AnswerBody | null;
  readonly headers: { get(name: string): string | null };
  text(): Promise<string>;
}

interface AnswerBody {
  getReader(): { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> };
}

export type DispatcherOutcome =
  | { readonly kind: "answered"; readonly answer: DispatcherAnswer }
  /** It refused (429, 503), or could not be asked; `retryAfterMs` is 0 where it said nothing. */
  | { readonly kind: "failed"; readonly reason: string; readonly retryAfterMs: number };

const timeoutMs = 5_000;
const answerCharactersMax = 64 * 1024;
/** The dispatcher needs no more to know that all addresses failed. */
const attemptMax = 1_000;

/**
 * `GET <url>?key=…&attempt=…`: the same user is given the same edge again, and others after
 * failures. The key is a hash: users' names have no business in the logs of caches.
 */
export function dispatcherUrl(url: string, user: string, attempt: number): string {
  // By hand: not every platform's URL can change its parameters.
  return `${url}${url.includes("?") ? "&" : "?"}key=${userKey(user)}&attempt=${Math.min(attempt, attemptMax)}`;
}

/** Never rejects. */
export async function askDispatcher(
  fetch: HttpFetch,
  url: string,
  clock: Clock,
): Promise<DispatcherOutcome> {
  const abort = new AbortController();
  let cancel = (): void => {};
  const late = new Promise<DispatcherOutcome>((resolve) => {
    cancel = clock.after(timeoutMs, () => {
      abort.abort();
      resolve(failed(`no answer within ${timeoutMs} ms`));
    });
  });
  try {
    return await Promise.race([late, ask(fetch, url, clock, abort.signal)]);
  } catch (error) {
    return failed(String(error));
  } finally {
    cancel();
    // What was not read is not sent either, and its connection is free.
    abort.abort();
  }
}

async function ask(
  fetch: HttpFetch,
  url: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<DispatcherOutcome> {
  const response = await fetch(url, { signal, cache: "no-cache" });
  if (!response.ok) {
    const waitMs = retryAfterMs(response.headers.get("retry-after"), clock.wallMs());
    return failed(`HTTP ${response.status}`, waitMs);
  }
  const isSecure = isHttps(url);
  // Who stands on that way could send everybody, with their tokens, to edges of his own.
  if (isSecure && response.url && !isHttps(response.url)) return failed("answered without TLS");
  const text = await readText(response);
  if (text === undefined) return failed("its answer is too long");
  const answer = readDispatcherAnswer(JSON.parse(text), isSecure);
  return answer === undefined ? failed("it answered nonsense") : { kind: "answered", answer };
}

export function isHttps(url: string): boolean {
  return /^https:/i.test(url);
}

/** Undefined above the bound. */
async function readText(response: HttpAnswer): Promise<string | undefined> {
  const reader = response.body?.getReader?.();
  let text = "";
  if (reader === undefined) text = await response.text();
  const decoder = new TextDecoder();
  while (reader !== undefined && text.length <= answerCharactersMax) {
    const { done, value } = await reader.read();
    text += decoder.decode(value, { stream: !done });
    if (done) break;
  }
  return text.length > answerCharactersMax ? undefined : text;
}

function failed(reason: string, waitMs = 0): DispatcherOutcome {
  return { kind: "failed", reason: `the dispatcher: ${reason}`, retryAfterMs: waitMs };
}
