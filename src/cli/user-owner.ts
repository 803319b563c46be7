/** Asks the node that owns a user's shard, wherever that is by now. */
import { type Refusal, refused } from "../base/result.js";
import type { ErrorAnswer } from "../protocol/errors.js";
import type { DeskAnswer, DeskRequest } from "../protocol/operator-desk.js";
import { shardOf } from "../protocol/shards.js";
import { encodeToken } from "../protocol/tokens.js";
import { readApp } from "./app-registry.js";
import type { Fleet, NodeName, ShardPlace } from "./fleet.js";

export interface OwnerAnswer {
  readonly ok: true;
  readonly shard: number;
  readonly place: ShardPlace;
  readonly owner: NodeName;
  readonly value: unknown;
}

type OfUser = Extract<DeskRequest, { kind: "user" | "directive" }>;
/** Of a union each for itself. */
type Unaddressed<Request> = Request extends unknown ? Omit<Request, "app" | "uid"> : never;
export type UserRequest = Unaddressed<OfUser>;

/** `app` and `uid` by name, not encoded. */
export async function askOwner(
  fleet: Fleet,
  app: string,
  uid: string,
  request: UserRequest,
): Promise<OwnerAnswer | ErrorAnswer | (Refusal & { readonly retryable?: boolean })> {
  const registered = await readApp(await fleet.apps(), app);
  if (!registered.ok) return registered;
  const tokens = { app: encodeToken(app), uid: encodeToken(uid) };
  const addressed = { ...request, ...tokens } as OfUser;
  const shard = shardOf(tokens.app, tokens.uid);
  let found = await tryOwner(fleet, shard, addressed);
  // It moved between the reading of the table and the question: the new table knows.
  if (found !== undefined && isMoved(found.answer)) {
    found = await tryOwner(fleet, shard, addressed);
  }
  if (found === undefined) {
    return { ...refused("NOT_READY", `nobody serves shard ${shard} now`), retryable: true };
  }
  const { answer, place, owner } = found;
  return answer.ok ? { ok: true, shard, place, owner, value: answer.value } : answer;
}

interface Tried {
  readonly place: ShardPlace;
  readonly owner: NodeName;
  readonly answer: DeskAnswer | ErrorAnswer;
}

async function tryOwner(
  fleet: Fleet,
  shard: number,
  request: DeskRequest,
): Promise<Tried | undefined> {
  const { shards } = await fleet.placement();
  const place = shards[shard];
  const owner = place?.owner;
  if (place === undefined || owner === undefined) return undefined;
  return { place, owner, answer: await fleet.ask(owner, request) };
}

function isMoved(answer: DeskAnswer | ErrorAnswer): boolean {
  return !answer.ok && answer.code === "WRONG_SHARD";
}
