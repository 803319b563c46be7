/** What operators ask of lanes, answered by any node: the records and queues are common. */
import { unreachable } from "../src/base/assert.js";
import { Fault } from "../src/base/result.js";
import type { KeyValueEntry } from "../src/ports/key-value.js";
import type { StoredLetter } from "../src/ports/lanes.js";
import { type ErrorAnswer, errorAnswer } from "../src/protocol/errors.js";
import {
  decodeLaneRecord,
  encodeLaneRecord,
  type LaneRecord,
  laneRecordVersion,
  ownLaneSettings,
} from "../src/protocol/lane-record.js";
import { commonLanes, lanesMax } from "../src/protocol/lanes.js";
import type { DeskAnswer, LaneRequest } from "../src/protocol/operator-desk.js";
import { appOfKey, uidOfKey } from "../src/protocol/shards.js";
import { decodeToken, encodeToken } from "../src/protocol/tokens.js";
import type { NodeLanes } from "./lane-limits.js";
import type { NodeContext } from "./node-context.js";

type Answer = DeskAnswer | ErrorAnswer;

export async function answerLaneRequest(node: NodeContext, request: LaneRequest): Promise<Answer> {
  const { lanes } = node;
  if (lanes === undefined) return errorAnswer("UNSUPPORTED", "this node works on no lanes");
  try {
    return await answer(node, lanes, request);
  } catch (cause) {
    if (cause instanceof Fault) return errorAnswer("INTERNAL", cause.message);
    throw cause;
  }
}

function answer(node: NodeContext, lanes: NodeLanes, request: LaneRequest): Promise<Answer> {
  switch (request.kind) {
    case "lanes":
      return list(lanes);
    case "lane-create":
      return create(node, lanes, request.lane, request.app);
    case "lane-set":
      return change(lanes, request.lane, request);
    case "lane-dead":
      return showDead(lanes, request.lane, request.limit);
    case "lane-replay":
      return replay(lanes, request.lane, request.numbers);
    case "lane-drop":
      return drop(lanes, request.lane, request.discard);
    default:
      return unreachable(request);
  }
}

async function list({ bucket, queues }: NodeLanes): Promise<Answer> {
  const records = (await bucket.list("")).flatMap(({ value }) => decodeLaneRecord(value) ?? []);
  const shown = records.map(async ({ lane, app, weight, workers }) => ({
    lane,
    app: app === undefined ? null : (decodeToken(app) ?? app),
    weight,
    workers,
    ...((await queues.figures(lane)) ?? { messages: null, bytes: null, deadLetters: null }),
  }));
  return { ok: true, value: { lanes: await Promise.all(shown) } };
}

async function create(
  { apps }: NodeContext,
  { bucket, queues }: NodeLanes,
  lane: string,
  app: string,
): Promise<Answer> {
  if (apps.find(app) === undefined) return errorAnswer("UNKNOWN_APP");
  if ((await bucket.list("")).length >= lanesMax) {
    return errorAnswer("BAD_COMMAND", `there are ${lanesMax} lanes already`);
  }
  const record = { v: laneRecordVersion, lane, app: encodeToken(app), ...ownLaneSettings } as const;
  const created = await bucket.create(lane, encodeLaneRecord(record));
  if (!created.ok && !(await isHalfMade({ bucket, queues }, record))) {
    return errorAnswer("CONFLICT", `there is a lane ${lane} already`);
  }
  try {
    // Every node does this by itself; here it is done when the operator has the answer.
    await queues.ensure(record);
  } catch (cause) {
    const isRefused = cause instanceof Fault && cause.outcome === "not-done";
    // A node may have made it meanwhile.
    if (isRefused && created.ok) await remove({ bucket, queues }, lane, created.value);
    throw cause;
  }
  return { ok: true, value: { lane, app, ...ownLaneSettings } };
}

/** The same was asked for before, and came no further than the record. */
async function isHalfMade(
  { bucket, queues }: Pick<NodeLanes, "bucket" | "queues">,
  { lane, app }: LaneRecord,
): Promise<boolean> {
  const known = await read({ bucket }, lane);
  return known?.record.app === app && (await queues.figures(lane)) === undefined;
}

/** The record first: then no node makes the queue again. False when the record has changed. */
async function remove(
  { bucket, queues }: Pick<NodeLanes, "bucket" | "queues">,
  lane: string,
  revision: number,
): Promise<boolean> {
  const deleted = await bucket.delete(lane, revision);
  if (deleted.ok) await queues.drop(lane);
  return deleted.ok;
}

async function change(
  { bucket }: NodeLanes,
  lane: string,
  { weight, workers }: { readonly weight?: number; readonly workers?: number },
): Promise<Answer> {
  const known = await read({ bucket }, lane);
  if (known === undefined) return noLane(lane);
  const record = {
    ...known.record,
    ...(weight === undefined ? {} : { weight }),
    ...(workers === undefined ? {} : { workers }),
  };
  const updated = await bucket.update(lane, encodeLaneRecord(record), known.entry.revision);
  if (!updated.ok) return errorAnswer("CONFLICT");
  return { ok: true, value: { lane, weight: record.weight, workers: record.workers } };
}

async function showDead({ queues }: NodeLanes, lane: string, limit: number): Promise<Answer> {
  const letters = await queues.deadLetters(lane, limit);
  const total = (await queues.figures(lane))?.deadLetters ?? letters.length;
  return { ok: true, value: { lane, total, letters: letters.map(plainLetter) } };
}

function plainLetter({ key, payload, lane: _lane, ...letter }: StoredLetter) {
  const [app, uid] = [appOfKey(key), uidOfKey(key)];
  return {
    ...letter,
    app: decodeToken(app) ?? app,
    uid: decodeToken(uid) ?? uid,
    bytes: payload.length,
  };
}

async function replay(
  { queues }: NodeLanes,
  lane: string,
  numbers: readonly number[],
): Promise<Answer> {
  const replayed: number[] = [];
  const missing: number[] = [];
  // One after the other: the letters of one user stay in order.
  for (const number of numbers) {
    if (await queues.replay(lane, number)) replayed.push(number);
    else missing.push(number);
  }
  return { ok: true, value: { lane, replayed, missing } };
}

async function drop(
  { bucket, queues }: NodeLanes,
  lane: string,
  discard: boolean,
): Promise<Answer> {
  if ((commonLanes as readonly string[]).includes(lane)) {
    return errorAnswer("BAD_COMMAND", `${lane} is a lane for all and stays`);
  }
  const known = await read({ bucket }, lane);
  const figures = await queues.figures(lane);
  // A drop that failed on its way has left the queue: it is dropped now.
  if (known === undefined && figures === undefined) return noLane(lane);
  const messages = figures?.messages ?? 0;
  if (messages > 0 && !discard) {
    return errorAnswer("BAD_COMMAND", `${messages} messages wait in it; --discard drops them too`);
  }
  if (known === undefined) await queues.drop(lane);
  else if (!(await remove({ bucket, queues }, lane, known.entry.revision))) {
    return errorAnswer("CONFLICT");
  }
  return { ok: true, value: { lane, dropped: messages } };
}

async function read(
  { bucket }: Pick<NodeLanes, "bucket">,
  lane: string,
): Promise<{ readonly entry: KeyValueEntry; readonly record: LaneRecord } | undefined> {
  const entry = await bucket.get(lane);
  const record = entry && decodeLaneRecord(entry.value);
  return entry === undefined || record === undefined ? undefined : { entry, record };
}

function noLane(lane: string): ErrorAnswer {
  return errorAnswer("NOT_FOUND", `there is no lane ${lane}`);
}
