/**
 * Calls of an app's clients as its service takes them: one subscription of a queue group a
 * route, so that each call goes to one of the service's processes.
 *
 *   call ──▶ running (at most `concurrency`) ──▶ answer, or a refusal
 *     └────▶ waiting (at most `waitingMax`) ──▶ running
 *     └────▶ OVERLOADED
 *
 * Invariant: each call is answered at most once, and not after its deadline.
 */
import type { Clock } from "../base/clock.js";
import { isPlainMsgpack } from "../protocol/plain-msgpack.js";
import { encodingOf } from "../protocol/push-command.js";
import { isShortText } from "../protocol/short-text.js";
import {
  answerBytesMax,
  answerCodeBytesMax,
  decodeUplinkCall,
  encodeUplink,
  type ReceivedCall,
  type UplinkAnswer,
} from "../protocol/uplink-call.js";
import type { ServiceConnection, ServiceMessage } from "./service-connection.js";

export interface ServiceCall {
  readonly uid: string;
  readonly device: string;
  readonly route: string;
  readonly body: unknown;
  /** Of this call and of no other; for logs. */
  readonly id: string;
  /** How long its client still waited when the handler was called. */
  readonly leftMs: number;
  /** Aborted when nobody waits any more. */
  readonly signal: AbortSignal;
}

/** What it returns, or resolves to, is the answer: any plain value. */
export type CallHandler = (call: ServiceCall) => unknown;

/** Thrown by a handler: the client gets `code` and `message`. */
export class CallRefused extends Error {
  override readonly name = "CallRefused";

  /** `code`: 1 to 64 bytes. */
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export interface HandleOptions {
  /** Handlers at work; 64 unless given. One that ignores its signal holds its place. */
  readonly concurrency?: number;
  /** Calls that wait for one of those; 1,024 unless given. More are answered `OVERLOADED`. */
  readonly waitingMax?: number;
  /** Who shares the calls: every process with the same name; `belfry` unless given. */
  readonly queue?: string;
  /** What a handler threw that was no `CallRefused`, and what could not be sent. */
  readonly onError?: (error: unknown) => void;
}

export interface CallHandling {
  readonly running: number;
  readonly waiting: number;
  /** Answered `OVERLOADED`. */
  readonly overloaded: number;
  /** Whose deadline passed before the handler began, or was done. */
  readonly late: number;
  readonly unreadable: number;
  /** Takes no more; resolves when all that was taken is answered, or late. */
  close(): Promise<void>;
}

const concurrencyDefault = 64;
const waitingMaxDefault = 1_024;
const queueDefault = "belfry";

interface Arrived {
  readonly call: ReceivedCall;
  readonly reply: string;
  readonly endMs: number;
}

export class CallFeed implements CallHandling {
  running = 0;
  overloaded = 0;
  late = 0;
  unreadable = 0;
  private readonly queue: Arrived[] = [];
  private readonly subscription: ReturnType<ServiceConnection["subscribe"]>;
  /** Neither answered nor late yet. */
  private readonly open = new Set<Arrived>();
  private onIdle: () => void = () => {};

  constructor(
    private readonly connection: ServiceConnection,
    subject: string,
    private readonly clock: Clock,
    private readonly handler: CallHandler,
    private readonly options: HandleOptions,
  ) {
    this.subscription = connection.subscribe(subject, {
      queue: options.queue ?? queueDefault,
      callback: (error, message) => {
        if (error === null) this.take(message);
        else options.onError?.(error);
      },
    });
  }

  get waiting(): number {
    return this.queue.length;
  }

  async close(): Promise<void> {
    // What the server has sent already is taken still, where the client can tell when it has it all.
    if (this.subscription.drain === undefined) this.subscription.unsubscribe();
    else await this.subscription.drain();
    if (this.open.size === 0) return;
    await new Promise<void>((resolve) => {
      this.onIdle = resolve;
    });
  }

  private take({ data, reply }: ServiceMessage): void {
    const call = decodeUplinkCall(data);
    if (call === undefined || !reply) {
      this.unreadable += 1;
      const message = "what came reads as no call of a version that is known";
      if (reply) this.publish(reply, encodingOf(data), { ok: false, code: "UNREADABLE", message });
      return;
    }
    const endMs = this.clock.monotonicMs() + call.deadlineMs;
    const arrived = { call, reply, endMs };
    const { concurrency = concurrencyDefault, waitingMax = waitingMaxDefault } = this.options;
    if (this.running < concurrency) {
      this.open.add(arrived);
      void this.run(arrived);
    } else if (this.queue.length < waitingMax) {
      this.open.add(arrived);
      this.queue.push(arrived);
    } else {
      this.overloaded += 1;
      const message = "too many calls wait for this service";
      this.publish(reply, call.encoding, { ok: false, code: "OVERLOADED", message });
    }
  }

  private async run(first: Arrived): Promise<void> {
    this.running += 1;
    for (let next: Arrived | undefined = first; next !== undefined; next = this.queue.shift()) {
      await this.handle(next);
    }
    this.running -= 1;
  }

  private async handle(arrived: Arrived): Promise<void> {
    const leftMs = arrived.endMs - this.clock.monotonicMs();
    if (leftMs <= 0) {
      this.end(arrived, true);
      return;
    }
    const abort = new AbortController();
    const cancel = this.clock.after(leftMs, () => {
      abort.abort();
      this.end(arrived, true);
    });
    const { uid, device, route, body, id } = arrived.call;
    let answer: UplinkAnswer;
    try {
      const { signal } = abort;
      const value = await this.handler({ uid, device, route, body, id, leftMs, signal });
      answer = { ok: true, value };
    } catch (error) {
      answer = this.refusalOf(error);
    }
    cancel();
    if (!this.open.has(arrived)) return;
    this.publish(arrived.reply, arrived.call.encoding, answer);
    this.end(arrived, false);
  }

  private end(arrived: Arrived, isLate: boolean): void {
    if (isLate) this.late += 1;
    this.open.delete(arrived);
    if (this.open.size === 0) this.onIdle();
  }

  /** What went wrong inside is not the client's to read. */
  private refusalOf(error: unknown): UplinkAnswer {
    if (error instanceof CallRefused && isShortText(error.code, answerCodeBytesMax)) {
      return { ok: false, code: error.code, message: error.message };
    }
    this.options.onError?.(error);
    return { ok: false, code: "INTERNAL", message: "the service failed" };
  }

  private publish(reply: string, encoding: ReceivedCall["encoding"], answer: UplinkAnswer): void {
    try {
      const payload = encodeUplink(answer, encoding);
      if (payload.length > answerBytesMax) {
        const message = `the answer has ${payload.length} bytes`;
        this.options.onError?.(new RangeError(message));
        const refusal = { ok: false, code: "ANSWER_TOO_LARGE", message } as const;
        this.connection.publish(reply, encodeUplink(refusal, encoding));
        return;
      }
      if (encoding === "msgpack" && !isPlainMsgpack(payload)) {
        throw new TypeError("the answer is no plain value");
      }
      this.connection.publish(reply, payload);
    } catch (error) {
      this.options.onError?.(error);
      this.publishFailure(reply, encoding);
    }
  }

  private publishFailure(reply: string, encoding: ReceivedCall["encoding"]): void {
    const failure = { ok: false, code: "INTERNAL", message: "the service failed" } as const;
    try {
      this.connection.publish(reply, encodeUplink(failure, encoding));
    } catch (error) {
      this.options.onError?.(error);
    }
  }
}
