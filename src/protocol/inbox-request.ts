/**
 * What a service may ask of one user's inbox: one map on `inbox.<app>.user.<uid>`, JSON or
 * msgpack like a push (docs/api.md). Unknown fields are ignored, an unknown `op` is
 * UNSUPPORTED.
 */
import { accepted, type Result, refused } from "../base/result.js";
import type { ErrorCode } from "./errors.js";
import { decodeMsgId, type MsgId } from "./msg-id.js";
import { isSequence } from "./position.js";
import { decodeCommandMap, keyBytesMax } from "./push-command.js";

export type InboxRequest =
  /** What waits, ascending by seq above `after`. */
  | { readonly op: "list"; readonly after: number; readonly limit: number }
  /** Taken back: one message by its id, or all that wait under a collapse key. */
  | { readonly op: "recall"; readonly id: MsgId }
  | { readonly op: "recall"; readonly collapse: string }
  /** The user and all that is kept of them. */
  | { readonly op: "erase" };

export const listLimitDefault = 100;
export const listLimitMax = 1_000;

type RequestError = Extract<ErrorCode, "BAD_ENCODING" | "BAD_COMMAND" | "UNSUPPORTED">;

export function decodeInboxRequest(payload: Uint8Array): Result<InboxRequest, RequestError> {
  const decoded = decodeCommandMap(payload);
  if (!decoded.ok) return decoded;
  const map = decoded.value;
  switch (map.op) {
    case "list":
      return readList(map);
    case "recall":
      return readRecall(map);
    case "erase":
      return accepted({ op: "erase" });
    default:
      if (typeof map.op !== "string") return refused("BAD_COMMAND", "op is a string");
      return refused("UNSUPPORTED", "op is one of list, recall, erase");
  }
}

function readList(map: Record<string, unknown>): Result<InboxRequest, RequestError> {
  const after = map.after ?? 0;
  const limit = map.limit ?? listLimitDefault;
  if (!isSequence(after)) return refused("BAD_COMMAND", "after is a seq");
  if (!isSequence(limit) || limit < 1 || limit > listLimitMax) {
    return refused("BAD_COMMAND", `limit is a whole number from 1 to ${listLimitMax}`);
  }
  return accepted({ op: "list", after, limit });
}

function readRecall(map: Record<string, unknown>): Result<InboxRequest, RequestError> {
  const { id = null, collapse = null } = map;
  if ((id === null) === (collapse === null)) {
    return refused("BAD_COMMAND", "recall takes an id or a collapse key");
  }
  if (id !== null) {
    if (typeof id !== "string" || decodeMsgId(id) === undefined) {
      return refused("BAD_COMMAND", "id is the MsgID of a push's answer");
    }
    return accepted({ op: "recall", id: id as MsgId });
  }
  const isKey =
    typeof collapse === "string" &&
    collapse !== "" &&
    new TextEncoder().encode(collapse).length <= keyBytesMax;
  if (!isKey) return refused("BAD_COMMAND", `collapse is 1 to ${keyBytesMax} bytes`);
  return accepted({ op: "recall", collapse });
}
