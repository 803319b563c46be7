/** Answers to publishers, in the encoding they asked in; none where none was wanted. */
import { type ErrorCode, errorAnswer } from "../src/protocol/errors.js";
import type { ReceivedPush, ReplyTo } from "../src/protocol/messages.js";
import type { MsgId } from "../src/protocol/msg-id.js";
import { encodeAnswer, pushAccepted } from "../src/protocol/push-answer.js";
import { encodingOf } from "../src/protocol/push-command.js";
import { isReplySubject, parseShardPush } from "../src/protocol/subjects.js";
import type { Bus } from "../src/runtime/ports.js";
import type { ServiceReply } from "./pending-write.js";

export function answerAccepted(
  bus: Bus,
  reply: ReplyTo | undefined,
  id: MsgId,
  seq: number,
  isDuplicate: boolean,
): void {
  if (reply === undefined) return;
  bus.publish(reply.subject, encodeAnswer(pushAccepted(id, seq, isDuplicate), reply.encoding));
}

export function answerInbox(bus: Bus, { reply, answer }: ServiceReply): void {
  if (reply !== undefined) bus.publish(reply.subject, encodeAnswer(answer, reply.encoding));
}

export function answerRefused(
  bus: Bus,
  reply: ReplyTo | undefined,
  code: ErrorCode,
  message?: string,
): void {
  if (reply === undefined) return;
  bus.publish(reply.subject, encodeAnswer(errorAnswer(code, message), reply.encoding));
}

/** Where the answer may go; nowhere when it is not known whose inbox that is. */
export function replyOf({ subject, payload, reply }: ReceivedPush): ReplyTo | undefined {
  const address = parseShardPush(subject);
  if (reply === undefined || address === undefined) return undefined;
  if (!isReplySubject(address.appToken, reply)) return undefined;
  return { subject: reply, encoding: encodingOf(payload) };
}

/** Refuses a push as it came, where it wants an answer that this node may give. */
export function refusePush(bus: Bus, push: ReceivedPush, code: ErrorCode, message?: string): void {
  answerRefused(bus, replyOf(push), code, message);
}
