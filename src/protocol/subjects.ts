/**
 * Every NATS subject of the platform, made and read in one place.
 *
 * Names are raw here and encoded by these functions, except where a parameter is
 * called a token or a key. Subjects that services use are public (docs/api.md).
 */
import type { MsgId } from "./msg-id.js";
import type { PresenceKind } from "./service-event.js";
import { appOfKey, type SessionKey, type Shard, uidOfKey } from "./shards.js";
import { encodeToken } from "./tokens.js";

export function pushUserSubject(app: string, uid: string): string {
  return `push.${encodeToken(app)}.user.${encodeToken(uid)}`;
}

/** Of an app whose token is the key's; services of that app subscribe `event.<app>.>`. */
export function receiptSubject(key: SessionKey, id: MsgId): string {
  return `event.${appOfKey(key)}.receipt.${id}`;
}

export function presenceSubject(key: SessionKey, presence: PresenceKind): string {
  return `event.${appOfKey(key)}.user.${uidOfKey(key)}.${presence}`;
}

/** All of one user's. */
export function presenceSubjects(key: SessionKey): string {
  return `event.${appOfKey(key)}.user.${uidOfKey(key)}.>`;
}

/** Requests to the inbox of one user. */
export function inboxUserSubject(app: string, uid: string): string {
  return `inbox.${encodeToken(app)}.user.${encodeToken(uid)}`;
}

/** What NATS maps them to. */
export function shardInboxSubject(shard: Shard, key: SessionKey): string {
  return `shard.${shard}.inbox.${key}`;
}

/** What services subscribe of an app: receipts of all messages, presence of all users. */
export function receiptsWildcard(app: string): string {
  return `event.${encodeToken(app)}.receipt.>`;
}

export function presenceWildcard(app: string): string {
  return `event.${encodeToken(app)}.user.>`;
}

/** A client's call: services of that app subscribe `uplink.<app>.>`, or a route of it. */
export function uplinkSubject(key: SessionKey, route: string): string {
  return `uplink.${appOfKey(key)}.${encodeToken(route)}.${uidOfKey(key)}`;
}

export function uplinkWildcard(app: string, route: string): string {
  return `uplink.${encodeToken(app)}.${encodeToken(route)}.*`;
}

/** What NATS maps a user push to; the owner of the shard subscribes `shardWildcard`. */
export function shardPushSubject(shard: Shard, key: SessionKey): string {
  return `shard.${shard}.push.${key}`;
}

export function shardWildcard(shard: Shard): string {
  return `shard.${shard}.>`;
}

/** Requests to a node's operator desk. */
export function operatorSubject(nodeId: string, incarnation: string): string {
  return `node.${nodeId}.${incarnation}.operator`;
}

/** Answered by a node that lives; nobody answers for one that died. */
export function pingSubject(nodeId: string, incarnation: string): string {
  return `node.${nodeId}.${incarnation}.ping`;
}

export interface ShardPush {
  readonly verb: "push" | "inbox";
  readonly shard: number;
  readonly appToken: string;
  readonly uidToken: string;
}

const shardRoom = "shard.";

/** Reads `shard.<n>.push.<app>.<uid>`, or `inbox` in place of `push`; undefined for every other shape. */
export function parseShardPush(subject: string): ShardPush | undefined {
  if (!subject.startsWith(shardRoom)) return undefined;
  // On the way of every push: an array of all tokens costs more than finding the dots.
  const verbAt = subject.indexOf(".", shardRoom.length) + 1;
  const appAt = subject.indexOf(".", verbAt) + 1;
  const uidAt = subject.indexOf(".", appAt) + 1;
  const isWhole = verbAt > 0 && appAt > 0 && uidAt > 0 && !subject.includes(".", uidAt);
  if (!isWhole) return undefined;
  const verb = subject.slice(verbAt, appAt - 1);
  if (verb !== "push" && verb !== "inbox") return undefined;
  const shard = Number(subject.slice(shardRoom.length, verbAt - 1));
  return { verb, shard, appToken: subject.slice(appAt, uidAt - 1), uidToken: subject.slice(uidAt) };
}

/**
 * Where the answer to one app's push may go: what NATS puts in place of a reply subject from
 * another account (`_R_.`), inboxes of that app or of an operator, or the common prefix of a
 * server without users of its own. NATS does not check reply subjects, `$JS.ACK.` passes
 * between accounts as it is, and a node may publish much more than an app.
 */
export function isReplySubject(appToken: string, subject: string): boolean {
  return (
    subject.startsWith("_R_.") ||
    subject.startsWith(`_INBOX_${appToken}.`) ||
    subject.startsWith("_INBOX_op_") ||
    subject.startsWith("_INBOX.")
  );
}
