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
  inboxUserSubject,
  presenceWildcard,
  pushUserSubject,
  receiptsWildcard,
  uplinkWildcard,
} from "../protocol/subjects.js";
import type { BackoffLimits } from "./backoff.js";
import { type Lane, LaneClient } from "./lane-client.js";
import { platformClock, platformRandom } from "./platform.js";
import { type BatchAnswer, type BatchOptions, runBatch, type UserPush } from "./push-batch.js";
import { encodePush, isBadUid, type Push } from "./push-encoding.js";
import { type Repetition, repeat } from "./repetition.js";
import {
  CallFeed,
  type CallHandler,
  type CallHandling,
  type HandleOptions,
} from "./service-calls.js";
import { requestBytes, type ServiceConnection } from "./service-connection.js";
import {
  EventFeed,
  type EventOptions,
  type EventSubscription,
  type PresenceEvent,
  type Receipt,
  readPresence,
  readReceipt,
} from "./service-events.js";

export type { ErrorAnswer, ErrorCode } from "../protocol/errors.js";
export type {
  InboxDevice,
  InboxEntry,
  InboxErased,
  InboxListed,
  InboxRecalled,
} from "../protocol/inbox-answer.js";
export type { PushAccepted, PushAnswer } from "../protocol/push-answer.js";
export type { Lane, LaneAccepted } from "./lane-client.js";
export type { BatchAnswer, BatchOptions, UserPush } from "./push-batch.js";
export type { Push } from "./push-encoding.js";
export {
  type CallHandler,
  type CallHandling,
  CallRefused,
  type HandleOptions,
  type ServiceCall,
} from "./service-calls.js";
export type { ServiceConnection } from "./service-connection.js";
export type {
  EventOptions,
  EventSubscription,
  PresenceEvent,
  PresenceKind,
  Receipt,
  ReceiptKind,
} from "./service-events.js";

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
   * Each like `pushReliably`, with so many in flight; of one user one at a time, in the order
   * given. Resolves to one answer a push, in order, each with its idempotency `key`; does not
   * reject. What had no answer, or was not sent, before the batch's deadline is TIMEOUT.
   */
  pushMany(pushes: readonly UserPush[], options?: BatchOptions): Promise<BatchAnswer[]>;
  /** A durable lane by its name: `high`, `normal`, `low`, or one of the app's own. */
  lane(name: string): Lane;
  /** What becomes of the app's messages, as it happens; see docs/api.md for who gets which. */
  receipts(
    handler: (receipt: Receipt) => void | Promise<void>,
    options?: EventOptions,
  ): EventSubscription;
  /** Which users come and go, as it happens. */
  presence(
    handler: (event: PresenceEvent) => void | Promise<void>,
    options?: EventOptions,
  ): EventSubscription;
  /**
   * Answers the calls that the app's clients make by this route. Processes that handle it share
   * them; each call goes to one. See docs/api.md, Uplink calls.
   */
  handle(route: string, handler: CallHandler, options?: HandleOptions): CallHandling;
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
const notSent = "not sent before the deadline of its batch";

interface Encoded {
  readonly subject: string;
  readonly payload: Uint8Array;
}

class ServiceClient implements Service {
  private readonly repetition: Omit<Repetition, "endMs">;

  constructor(private readonly options: ServiceOptions) {
    this.repetition = {
      clock: options.clock ?? platformClock,
      random: options.random ?? platformRandom,
      backoff: { baseMs: 100, capMs: 2_000, ...options.backoff },
      timeoutMs: options.timeoutMs ?? timeoutMsDefault,
    };
  }

  async push(uid: string, push: Push): Promise<PushAnswer> {
    const encoded = this.encode(uid, push);
    if ("ok" in encoded) return encoded;
    return this.request(encoded, this.repetition.timeoutMs);
  }

  async pushReliably(
    uid: string,
    push: Push,
    { deadlineMs = deadlineMsDefault }: { readonly deadlineMs?: number } = {},
  ): Promise<PushAnswer> {
    const id = push.id ?? this.makeKey();
    return this.pushUntil(uid, { ...push, id }, this.endAfter(deadlineMs));
  }

  pushMany(pushes: readonly UserPush[], options: BatchOptions = {}): Promise<BatchAnswer[]> {
    const endMs = this.endAfter(options.deadlineMs ?? deadlineMsDefault);
    return runBatch(pushes, options, async ({ uid, push }) => {
      const key = push.id ?? this.makeKey();
      return { ...(await this.pushInBatch(uid, { ...push, id: key }, endMs)), key };
    });
  }

  lane(name: string): Lane {
    const { connection, app } = this.options;
    return new LaneClient(name, { connection, app, repetition: this.repetition });
  }

  receipts(
    handler: (receipt: Receipt) => void | Promise<void>,
    options: EventOptions = {},
  ): EventSubscription {
    const { connection, app } = this.options;
    return new EventFeed(connection, receiptsWildcard(app), readReceipt, handler, options);
  }

  presence(
    handler: (event: PresenceEvent) => void | Promise<void>,
    options: EventOptions = {},
  ): EventSubscription {
    const { connection, app } = this.options;
    return new EventFeed(connection, presenceWildcard(app), readPresence, handler, options);
  }

  handle(route: string, handler: CallHandler, options: HandleOptions = {}): CallHandling {
    const { connection, app } = this.options;
    const { clock } = this.repetition;
    return new CallFeed(connection, uplinkWildcard(app, route), clock, handler, options);
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
    return this.request<Answer>({ subject, payload }, this.repetition.timeoutMs);
  }

  private async pushUntil(uid: string, push: Push, endMs: number): Promise<PushAnswer> {
    // Encoded once: the same key with other bytes would be refused.
    const encoded = this.encode(uid, push);
    if ("ok" in encoded) return encoded;
    return repeat({ ...this.repetition, endMs }, (timeoutMs) => this.request(encoded, timeoutMs));
  }

  /** A fault of the connection is one push's answer, not the end of the batch. */
  private async pushInBatch(uid: string, push: Push, endMs: number): Promise<PushAnswer> {
    if (this.repetition.clock.monotonicMs() >= endMs) return errorAnswer("TIMEOUT", notSent);
    try {
      return await this.pushUntil(uid, push, endMs);
    } catch (error) {
      if (error instanceof Fault) return errorAnswer("TIMEOUT", error.message);
      throw error;
    }
  }

  private endAfter(deadlineMs: number): number {
    return this.repetition.clock.monotonicMs() + Math.min(deadlineMs, deadlineMsMax);
  }

  private makeKey(): string {
    return randomToken(this.repetition.random, keyLength);
  }

  /** Checks here what the platform would refuse: a plain publish hears of nothing. */
  private encode(uid: string, push: Push): Encoded | ErrorAnswer {
    const payload = encodePush(uid, push);
    if ("ok" in payload) return payload;
    return { subject: pushUserSubject(this.options.app, uid), payload };
  }

  private async request<Answer = PushAccepted>(
    { subject, payload }: Encoded,
    timeout: number,
  ): Promise<Answer | ErrorAnswer> {
    const data = await requestBytes(this.options.connection, subject, payload, { timeout });
    if (data === "no-responders") return errorAnswer("NOT_READY", "nobody serves this user now");
    return data === "timeout" ? errorAnswer("TIMEOUT") : readAnswer<Answer>(data);
  }
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
  const { code, message, retryable, retryAfterMs } = answer;
  return {
    ok: false,
    code: String(code) as ErrorCode,
    message: String(message),
    retryable: retryable ?? isRetryable(String(code)),
    ...(typeof retryAfterMs === "number" ? { retryAfterMs } : {}),
  } as ErrorAnswer;
}

function isRetryable(code: string): boolean {
  return code in errorTable && errorTable[code as ErrorCode].retryable;
}
