/**
 * What travels with a message besides itself. A plain local tell has none of
 * it, and so allocates nothing.
 */
import type { Result } from "../base/result.js";

/** One piece of work as it passes from actor to actor; handed on explicitly, never ambient. */
export interface Context {
  /** On this process's monotonic clock; a message taken up later is not processed. */
  readonly deadlineMs?: number;
  readonly trace?: string;
  readonly requestId?: string;
}

/** Codes that the runtime itself gives; an actor may refuse with any other. */
export type AskCode =
  | "TIMEOUT"
  | "NO_SUCH_ACTOR"
  | "MAILBOX_FULL"
  | "CRASHED"
  | "STOPPED"
  | "UNREACHABLE"
  | "TOO_MANY_ASKS";

export type AskResult<Answer> = Result<Answer>;

/**
 * The one who asked. May be kept after the turn; only the first call counts,
 * and none at all ends in the asker's timeout.
 */
export interface Asker {
  /** On this process's monotonic clock. */
  readonly deadlineMs: number;
  answer(value: unknown): void;
  refuse(code: string, message: string): void;
}

export class Envelope {
  constructor(
    readonly from: Asker | undefined,
    readonly context: Context | undefined,
  ) {}
}

/** What the runtime sends to who watches; arrives by `receive`, ahead of ordinary messages. */
export interface Terminated {
  readonly kind: "Terminated";
  readonly address: string;
  readonly reason: TerminatedReason;
}

export type StopReason = "normal" | "crashed" | "gave-up";
export type TerminatedReason = StopReason | "no-such-actor" | "unreachable";

/** How people are told what a message was: its `kind` if it has one. */
export function messageType(message: unknown): string {
  if (typeof message === "object" && message !== null && "kind" in message) {
    if (typeof message.kind === "string") return message.kind;
  }
  return message === null ? "null" : typeof message;
}
