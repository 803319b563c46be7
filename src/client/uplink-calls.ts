/**
 * Calls from the app to a service, by way of the edge: each ends by its deadline, with an
 * answer, a refusal, or the knowledge of whether it may have been carried out.
 *
 * Bounds: `callsMax` at once, waiting ones included.
 */
import type { Cancel, Clock } from "../base/clock.js";
import { type CallOutcome, outcomeOf } from "../protocol/call-codes.js";
import { clientKinds } from "../protocol/frames.js";

export const callsMax = 64;
const deadlineMsDefault = 10_000;
const deadlineMsMax = 60_000;

/**
 * `not-done`: it reached no service, and may be repeated. `unknown`: it left, and no answer
 * came. `refused`: the service, or the platform, answered with `code`.
 */
export class CallError extends Error {
  override readonly name = "CallError";

  constructor(
    readonly code: string,
    readonly outcome: CallOutcome,
    message: string,
  ) {
    super(message);
  }
}

export interface CallOptions {
  /** Until then it ends, at most a minute; default 10 s. Waiting for a connection counts. */
  readonly deadlineMs?: number;
}

/** What calls leave by: a connection to an edge, or the tab that has one. */
export interface CallWay {
  canTake(kind: number): boolean;
  send(frame: readonly unknown[]): "sent" | "closed" | "too-large";
}

interface Call {
  readonly route: string;
  readonly body: unknown;
  readonly endMs: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: CallError) => void;
  readonly cancel: Cancel;
  isSent: boolean;
}

export class UplinkCalls {
  private readonly calls = new Map<number, Call>();
  private last = 0;
  private way: { readonly connection: CallWay; readonly session: number } | undefined;

  constructor(private readonly clock: Clock) {}

  call(route: string, body: unknown, { deadlineMs = deadlineMsDefault }: CallOptions = {}) {
    return new Promise<unknown>((resolve, reject) => {
      if (this.calls.size >= callsMax) {
        reject(new CallError("TOO_MANY", "not-done", `${callsMax} calls wait already`));
        return;
      }
      this.last += 1;
      const number = this.last;
      const waitMs = Math.min(Math.max(1, deadlineMs), deadlineMsMax);
      const endMs = this.clock.monotonicMs() + waitMs;
      const cancel = this.clock.after(waitMs, () => this.onLate(number));
      this.calls.set(number, { route, body, endMs, resolve, reject, cancel, isSent: false });
      this.send(number);
    });
  }

  /** There is a way now: what waited for one leaves, in order. */
  onAttached(connection: CallWay, session: number): void {
    this.way = { connection, session };
    for (const number of [...this.calls.keys()]) this.send(number);
  }

  /** The way is gone; what went by it may have been carried out. */
  onLost(): void {
    if (this.way === undefined) return;
    this.way = undefined;
    for (const [number, { isSent }] of [...this.calls]) {
      if (isSent) this.fail(number, "CONNECTION_LOST", "unknown", "the connection is gone");
    }
  }

  /** `code` is null for an answer, else why there is none. */
  onAnswer(number: number, code: string | null, value: unknown): void {
    if (code !== null) {
      this.fail(number, code, outcomeOf(code), typeof value === "string" ? value : code);
      return;
    }
    const call = this.end(number);
    call?.resolve(value);
  }

  /** It ended on the way, as `error` says. */
  onError(number: number, error: CallError): void {
    this.end(number)?.reject(error);
  }

  /** The app leaves: nothing is waited for any more. */
  close(): void {
    this.onLost();
    for (const number of [...this.calls.keys()]) {
      this.fail(number, "CLOSED", "not-done", "the device was closed");
    }
  }

  private send(number: number): void {
    const call = this.calls.get(number);
    if (call === undefined || this.way === undefined) return;
    const { connection, session } = this.way;
    if (!connection.canTake(clientKinds.call)) {
      this.fail(number, "UNSUPPORTED", "not-done", "this edge takes no calls");
      return;
    }
    const leftMs = Math.max(1, Math.ceil(call.endMs - this.clock.monotonicMs()));
    const { route, body } = call;
    const sent = connection.send([clientKinds.call, session, number, route, leftMs, body]);
    if (sent === "too-large") this.fail(number, "TOO_LARGE", "not-done", "above a frame's bound");
    else call.isSent = sent === "sent";
  }

  private onLate(number: number): void {
    const isSent = this.calls.get(number)?.isSent === true;
    const code = isSent ? "TIMEOUT" : "NOT_CONNECTED";
    this.fail(number, code, isSent ? "unknown" : "not-done", "the deadline passed");
  }

  private fail(number: number, code: string, outcome: CallError["outcome"], message: string): void {
    this.end(number)?.reject(new CallError(code, outcome, message));
  }

  private end(number: number): Call | undefined {
    const call = this.calls.get(number);
    this.calls.delete(number);
    call?.cancel();
    return call;
  }
}
