/**
 * The SDK for services: push commands over the service's own NATS connection.
 *
 *   const nats = await connect({ servers, user, pass, inboxPrefix: "_INBOX_shop" });
 *   const service = createService({ connection: nats, app: "shop" });
 *   const answer = await service.pushReliably("alice", { body: { order: 17 } });
 *
 * Nothing here is needed to push (docs/api.md): it only encodes, names the subject,
 * types the answer, and repeats what may be repeated.
 */
import type { Clock } from "../base/clock.js";
import { type Random, randomToken } from "../base/random.js";
import { Fault } from "../base/result.js";
import { isMap, packValue, unpackPlain } from "../protocol/codec.js";
import { type ErrorAnswer, type ErrorCode, errorAnswer, errorTable } from "../protocol/errors.js";
import type { InboxErased, InboxListed, InboxRecalled } from "../protocol/inbox-answer.js";
import { decodeInboxRequest } from "../protocol/inbox-request.js";
import type { PushAccepted, PushAnswer } from "../protocol/push-answer.js";
import {
  decodePushCommand,
  type Fallback,
  type Kind,
  type Notification,
  type Priority,
  type Pull,
  type Target,
} from "../protocol/push-command.js";
import { inboxUserSubject, pushUserSubject } from "../protocol/subjects.js";
import { encodeToken, uidTokenBytesMax } from "../protocol/tokens.js";
import { Backoff, type BackoffLimits } from "./backoff.js";
import { platformClock, platformRandom } from "./platform.js";

export type { ErrorAnswer, ErrorCode } from "../protocol/errors.js";
export type {
  InboxDevice,
  InboxEntry,
  InboxErased,
  InboxListed,
  InboxRecalled,
} from "../protocol/inbox-answer.js";
export type { PushAccepted, PushAnswer } from "../protocol/push-answer.js";

/** What is used of a NATS connection; the one of `@nats-io/transport-node` fits. */
export interface ServiceConnection {
  request(
    subject: string,
    payload: Uint8Array,
    options: { timeout: number },
  ): Promise<{ readonly data: Uint8Array }>;
  publish(subject: string, payload: Uint8Array): void;
}

/** A push command; fields, bounds and defaults are in docs/api.md. */
export interface Push {
  /** Anything msgpack can carry, bytes too; at most 64 KiB encoded. */
  readonly body?: unknown;
  /** Idempotency key, at most 64 bytes, good for 10 minutes. */
  readonly id?: string;
  readonly qos?: 0 | 1;
  /** Seconds, at most 30 days. */
  readonly ttl?: number;
  readonly collapse?: string;
  readonly type?: string;
  readonly target?: Target;
  readonly pull?: Pull;
  readonly enc?: string;
  readonly kind?: Kind;
  readonly notification?: Notification;
  readonly fallback?: Fallback | false;
  readonly priority?: Priority;
}

export interface ServiceOptions {
  readonly connection: ServiceConnection;
  /** The app's name as it was registered, not encoded. */
  readonly app: string;
  /** How long one request waits for its answer; 5,000 ms unless given. */
  readonly timeoutMs?: number;
  /** Waits between the attempts of `pushReliably`: default [0, 100 ms), doubling to 2 s. */
  readonly backoff?: Partial<BackoffLimits>;
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface Service {
  /**
   * One request. Resolves to `{ok: true, id, seq}` once the push is stored (QoS 1) or
   * handed on (QoS 0), else to `{ok: false, code, message, retryable}`; without an
   * owner for the user the code is NOT_READY, without an answer in time TIMEOUT.
   * After TIMEOUT, STORE_UNAVAILABLE and INTERNAL the push may have been stored: give
   * it an `id` and repeat it, or use `pushReliably`.
   * Rejects with a `Fault` when the connection failed; its `outcome` is "unknown".
   */
  push(uid: string, push: Push): Promise<PushAnswer>;
  /**
   * Like `push`, repeated under one idempotency key (the given `id`, or one made here)
   * until it is accepted, refused for good, or `deadlineMs` (30,000 unless given) have
   * passed; then resolves to the last answer, or rejects with the last `Fault`.
   * A repeat of what had been stored is answered as it was, with `duplicate: true`.
   */
  pushReliably(
    uid: string,
    push: Push,
    options?: { readonly deadlineMs?: number },
  ): Promise<PushAnswer>;
  /**
   * A plain publish: no answer, and lost when no owner listens at this moment (as safe
   * as core NATS is). Returns the refusal of a command that would be refused by its
   * form, else undefined.
   */
  publish(uid: string, push: Push): ErrorAnswer | undefined;
  /** What waits for the user, ascending by seq above `after`; 100 at a time unless given. */
  listInbox(
    uid: string,
    page?: { readonly after?: number; readonly limit?: number },
  ): Promise<InboxListed | ErrorAnswer>;
  /**
   * Takes back one message by its id, or all that wait under a collapse key. Answered with
   * what was still there to take; the same when repeated.
   */
  recall(
    uid: string,
    which: { readonly id: string } | { readonly collapse: string },
  ): Promise<InboxRecalled | ErrorAnswer>;
  /** The user and all that is kept of them, for good; may be repeated. */
  erase(uid: string): Promise<InboxErased | ErrorAnswer>;
}

export function createService(options: ServiceOptions): Service {
  return new ServiceClient(options);
}

const timeoutMsDefault = 5_000;
/** Below the 10 minutes that the platform remembers a key. */
const deadlineMsDefault = 30_000;
const deadlineMsMax = 9 * 60_000;
const keyLength = 26;

interface Encoded {
  readonly subject: string;
  readonly payload: Uint8Array;
}

type Attempt = { readonly answer: PushAnswer } | { readonly fault: Fault };

class ServiceClient implements Service {
  private readonly timeoutMs: number;
  private readonly clock: Clock;
  private readonly random: Random;

  constructor(private readonly options: ServiceOptions) {
    this.timeoutMs = options.timeoutMs ?? timeoutMsDefault;
    this.clock = options.clock ?? platformClock;
    this.random = options.random ?? platformRandom;
  }

  async push(uid: string, push: Push): Promise<PushAnswer> {
    const encoded = this.encode(uid, push);
    if ("ok" in encoded) return encoded;
    return this.request(encoded, this.timeoutMs);
  }

  async pushReliably(
    uid: string,
    push: Push,
    { deadlineMs = deadlineMsDefault }: { readonly deadlineMs?: number } = {},
  ): Promise<PushAnswer> {
    // Encoded once: the same key with other bytes would be refused.
    const id = push.id ?? randomToken(this.random, keyLength);
    const encoded = this.encode(uid, { ...push, id });
    if ("ok" in encoded) return encoded;
    const endMs = this.clock.monotonicMs() + Math.min(deadlineMs, deadlineMsMax);
    const backoff = new Backoff(this.random, {
      baseMs: 100,
      capMs: 2_000,
      ...this.options.backoff,
    });
    for (;;) {
      const leftMs = Math.max(1, endMs - this.clock.monotonicMs());
      const attempt = await this.attempt(encoded, Math.min(this.timeoutMs, leftMs));
      if ("answer" in attempt && isFinal(attempt.answer)) return attempt.answer;
      const pauseMs = backoff.nextMs();
      if (this.clock.monotonicMs() + pauseMs >= endMs) return conclude(attempt);
      await new Promise<void>((resolve) => void this.clock.after(pauseMs, resolve));
    }
  }

  publish(uid: string, push: Push): ErrorAnswer | undefined {
    const encoded = this.encode(uid, push);
    if ("ok" in encoded) return encoded;
    this.options.connection.publish(encoded.subject, encoded.payload);
    return undefined;
  }

  listInbox(
    uid: string,
    page: { readonly after?: number; readonly limit?: number } = {},
  ): Promise<InboxListed | ErrorAnswer> {
    return this.askInbox<InboxListed>(uid, { op: "list", ...page });
  }

  recall(
    uid: string,
    which: { readonly id: string } | { readonly collapse: string },
  ): Promise<InboxRecalled | ErrorAnswer> {
    return this.askInbox<InboxRecalled>(uid, { op: "recall", ...which });
  }

  erase(uid: string): Promise<InboxErased | ErrorAnswer> {
    return this.askInbox<InboxErased>(uid, { op: "erase" });
  }

  private async askInbox<Answer>(uid: string, request: object): Promise<Answer | ErrorAnswer> {
    if (isBadUid(uid)) return errorAnswer("BAD_UID");
    const payload = packValue(request);
    const read = decodeInboxRequest(payload);
    if (!read.ok) return errorAnswer(read.code, read.message);
    const subject = inboxUserSubject(this.options.app, uid);
    return this.request<Answer>({ subject, payload }, this.timeoutMs);
  }

  /** Checks here what the platform would refuse: a plain publish hears of nothing. */
  private encode(uid: string, push: Push): Encoded | ErrorAnswer {
    if (isBadUid(uid)) return errorAnswer("BAD_UID");
    const given = Object.entries(push).filter(([, value]) => value !== undefined);
    let payload: Uint8Array;
    try {
      payload = packValue(Object.fromEntries(given));
    } catch (cause) {
      return errorAnswer("BAD_COMMAND", `the push cannot be encoded: ${String(cause)}`);
    }
    const read = decodePushCommand(payload);
    if (!read.ok) return errorAnswer(read.code, read.message);
    return { subject: pushUserSubject(this.options.app, uid), payload };
  }

  private async attempt(encoded: Encoded, timeoutMs: number): Promise<Attempt> {
    try {
      return { answer: await this.request(encoded, timeoutMs) };
    } catch (error) {
      if (error instanceof Fault) return { fault: error };
      throw error;
    }
  }

  private async request<Answer = PushAccepted>(
    { subject, payload }: Encoded,
    timeout: number,
  ): Promise<Answer | ErrorAnswer> {
    let data: Uint8Array;
    try {
      ({ data } = await this.options.connection.request(subject, payload, { timeout }));
    } catch (cause) {
      if (isNoResponders(cause)) return errorAnswer("NOT_READY", "nobody serves this user now");
      if (errorName(cause) === "TimeoutError") return errorAnswer("TIMEOUT");
      throw new Fault("BUS", "unknown", `the request failed: ${String(cause)}`, { cause });
    }
    return readAnswer<Answer>(data);
  }
}

function isBadUid(uid: string): boolean {
  return uid === "" || encodeToken(uid).length > uidTokenBytesMax;
}

function isFinal(answer: PushAnswer): boolean {
  return answer.ok || !answer.retryable;
}

function conclude(attempt: Attempt): PushAnswer {
  if ("fault" in attempt) throw attempt.fault;
  return attempt.answer;
}

function readAnswer<Answer>(data: Uint8Array): Answer | ErrorAnswer {
  let answer: unknown;
  try {
    answer = unpackPlain(data);
  } catch {
    answer = undefined;
  }
  if (!isMap(answer) || typeof answer.ok !== "boolean") {
    throw new Fault("BAD_ANSWER", "unknown", "the answer does not decode");
  }
  if (answer.ok) return answer as Answer;
  // A later platform may have codes that this SDK does not know.
  const { code, message, retryable } = answer;
  return {
    ok: false,
    code: String(code) as ErrorCode,
    message: String(message),
    retryable: retryable ?? isRetryable(String(code)),
  } as ErrorAnswer;
}

function isRetryable(code: string): boolean {
  return code in errorTable && errorTable[code as ErrorCode].retryable;
}

/** nats-core wraps it in a RequestError; older clients used the code 503. */
function isNoResponders(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ((error as { code?: unknown }).code === "503") return true;
  return error.name.startsWith("NoResponders") || isNoResponders(error.cause);
}

function errorName(error: unknown): string {
  if (!(error instanceof Error)) return "";
  if (error.name === "TimeoutError" || error.cause === undefined) return error.name;
  return errorName(error.cause);
}
