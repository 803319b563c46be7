/**
 * What a client asks of services by its edge, and tells them: the frames `call` and
 * `opened`, read; and `answer`, made.
 */
import { accepted, type Result, refused } from "../base/result.js";
import { decodeMsgId, type MsgId } from "./msg-id.js";
import { isNestedWithin } from "./nesting.js";
import { nestingMax } from "./plain-msgpack.js";
import { isSequence } from "./position.js";
import { isShortText } from "./short-text.js";

export const routeBytesMax = 64;
export const callDeadlineMsMax = 60_000;

export interface CallFrame {
  readonly kind: "call";
  readonly session: number;
  /** The client's own number of it. */
  readonly call: number;
  readonly route: string;
  /** 1 to `callDeadlineMsMax`, whatever the client said. */
  readonly deadlineMs: number;
  readonly body: unknown;
}

/** A person opened this message. */
export interface OpenedFrame {
  readonly kind: "opened";
  readonly session: number;
  readonly id: MsgId;
}

/** `[call, session, call, route, deadlineMs, body]`. */
export function readCall(frame: readonly unknown[]): Result<CallFrame, "BAD_FRAME"> {
  const [, session, call, route, deadlineMs, body] = frame;
  const isWellFormed =
    isSequence(session) &&
    isSequence(call) &&
    isShortText(route, routeBytesMax) &&
    isSequence(deadlineMs) &&
    body !== undefined;
  if (!isWellFormed) return refused("BAD_FRAME", "a field of the call has the wrong type");
  // The body's place in what a service gets is as deep as in the frame.
  if (!isNestedWithin(body, nestingMax - 1)) {
    return refused("BAD_FRAME", `the call's body is nested deeper than ${nestingMax - 1}`);
  }
  const waitMs = Math.min(Math.max(1, deadlineMs), callDeadlineMsMax);
  return accepted({ kind: "call", session, call, route, deadlineMs: waitMs, body });
}

/** `[opened, session, id]`. */
export function readOpened(frame: readonly unknown[]): Result<OpenedFrame, "BAD_FRAME"> {
  const [, session, id] = frame;
  if (!isSequence(session) || typeof id !== "string" || decodeMsgId(id) === undefined) {
    return refused("BAD_FRAME", "opened carries a session and a MsgID");
  }
  return accepted({ kind: "opened", session, id: id as MsgId });
}
