/** Answers to publishers, in the encoding they asked in; none where none was wanted. */
import { type ErrorCode, errorAnswer } from "../src/protocol/errors.js";
import type { ReceivedPush, ReplyTo } from "../src/protocol/messages.js";
import type { MsgId } from "../src/protocol/msg-id.js";
import { encodeAnswer, type PushAnswer, pushAccepted } from "../src/protocol/push-answer.js";
import { encodingOf } from "../src/protocol/push-command.js";
import { isReplySubject, parseShardPush } from "../src/protocol/subjects.js";
import type { Bus } from "../src/runtime/ports.js";
import type { ServiceReply } from "./pending-write.js";
import { PushRequest } from "./push-request.js";

export function answerAccepted(
  bus: Bus,
  reply: ReplyTo | undefined,
  id: MsgId,
  seq: number,
  isDuplicate: boolean,
): void {
  if (reply === undefined || reply.claim?.(undefined) === false) return;
  answer(bus, reply, pushAccepted(id, seq, isDuplicate));
}

export function answerInbox(bus: Bus, { reply, answer }: ServiceReply): void {
  if (reply === undefined || "answered" in reply || reply.claim?.(undefined) === false) return;
  if (reply.subject !== "") bus.publish(reply.subject, encodeAnswer(answer, reply.encoding));
}

export function answerRefused(
  bus: Bus,
  reply: ReplyTo | undefined,
  code: ErrorCode,
  message?: string,
  retryAfterMs?: number,
): void {
  if (reply === undefined || reply.claim?.(code) === false) return;
  answer(bus, reply, errorAnswer(code, message, retryAfterMs));
}

/** Nowhere for a plain publish, which has no subject. */
function answer(bus: Bus, reply: ReplyTo, said: PushAnswer): void {
  if ("answered" in reply) reply.answered(said);
  else if (reply.subject !== "") bus.publish(reply.subject, encodeAnswer(said, reply.encoding));
}

/** Where the answer may go; nowhere when it is not known whose inbox that is. */
export function replyOf({ subject, payload, reply }: ReceivedPush): ReplyTo | undefined {
  const address = parseShardPush(subject);
  if (reply === undefined || address === undefined) return undefined;
  if (!isReplySubject(address.appToken, reply)) return undefined;
  return { subject: reply, encoding: encodingOf(payload) };
}

/** The same, as a request that is answered once; undefined where none is wanted. */
export function requestOf(
  { subject, payload, reply }: ReceivedPush,
  incarnation: string,
  sinceMs: number,
): PushRequest | undefined {
  if (reply === undefined) return undefined;
  const address = parseShardPush(subject);
  if (address === undefined || !isReplySubject(address.appToken, reply)) return undefined;
  return new PushRequest(reply, encodingOf(payload), address.shard, incarnation, sinceMs);
}

/** Refuses a push as it came, where it wants an answer that this node may give. */
export function refusePush(bus: Bus, push: ReceivedPush, code: ErrorCode, message?: string): void {
  answerRefused(bus, replyOf(push), code, message);
}
