/**
 * The lanes' settings in a backup: which there are, whose, their weights and workers; not
 * what waits in them. Operators have no right on their bucket, so a node is asked.
 */

import { Fault } from "../../base/result.js";
import type { Fleet } from "../../cli/fleet.js";
import { askLeader } from "../../cli/leader.js";
import { systemClock } from "../../drivers/system-clock.js";
import { isMap } from "../../protocol/codec.js";
import {
  decodeLaneRecord,
  defaultLaneSettings,
  encodeLaneRecord,
  type LaneRecord,
  laneRecordVersion,
} from "../../protocol/lane-record.js";
import type { LaneRequest } from "../../protocol/operator-desk.js";
import { decodeToken, encodeToken } from "../../protocol/tokens.js";
import { BadBackup } from "./manifest.js";

const askMs = 10_000;
/** A node knows an app a moment after it stands in the registry. */
const appKnownMs = 5_000;
const againMs = 100;

export interface StateRecord {
  readonly key: string;
  readonly value: Uint8Array;
}

/** None where the nodes have no lanes. Throws Fault. */
export async function readLanes(fleet: Fleet): Promise<StateRecord[]> {
  const lanes = await laneRecords(fleet);
  return lanes.map((record) => ({ key: record.lane, value: encodeLaneRecord(record) }));
}

/**
 * A lane that is there keeps its settings unless `overwrite`, but for a common one that
 * still has those that it is made with. Throws Fault.
 */
export async function restoreLanes(
  fleet: Fleet,
  records: readonly StateRecord[],
  overwrite: boolean,
): Promise<{ readonly restored: number; readonly kept: number }> {
  const wanted = records.map(({ key, value }) => {
    const record = decodeLaneRecord(value);
    if (record === undefined) throw new BadBackup(`${key} is no lane of this release`);
    return record;
  });
  const present = new Map((await laneRecords(fleet)).map((record) => [record.lane, record]));
  let [restored, kept] = [0, 0];
  for (const record of wanted) {
    const known = present.get(record.lane);
    const isOfAnother = known !== undefined && known.app !== record.app;
    if (known !== undefined && (isOfAnother || !(overwrite || isAsMade(known)))) {
      kept++;
      continue;
    }
    if (known === undefined) await createLane(fleet, record);
    const { lane, weight, workers } = record;
    await asked(fleet, { kind: "lane-set", lane, weight, workers });
    restored++;
  }
  return { restored, kept };
}

function isAsMade({ lane, weight, workers }: LaneRecord): boolean {
  const made = defaultLaneSettings[lane];
  return made !== undefined && made.weight === weight && made.workers === workers;
}

async function createLane(fleet: Fleet, { lane, app }: LaneRecord): Promise<void> {
  if (app === undefined) throw new BadBackup(`the nodes have no common lane ${lane}`);
  const request = { kind: "lane-create", lane, app: decodeToken(app) ?? app } as const;
  const endMs = systemClock.monotonicMs() + appKnownMs;
  for (;;) {
    const answer = await ask(fleet, request);
    if (answer.ok) return;
    if (answer.code !== "UNKNOWN_APP" || systemClock.monotonicMs() > endMs) {
      throw new Fault(answer.code, "not-done", `the lane ${lane}: ${answer.message}`);
    }
    await new Promise<void>((resolve) => systemClock.after(againMs, resolve));
  }
}

async function laneRecords(fleet: Fleet): Promise<LaneRecord[]> {
  const answer = await ask(fleet, { kind: "lanes" });
  if (!answer.ok && answer.code === "UNSUPPORTED") return [];
  if (!answer.ok) throw new Fault(answer.code, "not-done", `lanes: ${answer.message}`);
  const shown = isMap(answer.value) ? answer.value.lanes : [];
  return (Array.isArray(shown) ? shown : []).flatMap((each: unknown) => recordOf(each) ?? []);
}

/** Through the record's own decoder, which looks at each field. */
function recordOf(shown: unknown): LaneRecord | undefined {
  if (!isMap(shown)) return undefined;
  const { lane, app, weight, workers } = shown;
  const token = typeof app === "string" ? { app: encodeToken(app) } : {};
  const record = { v: laneRecordVersion, lane, weight, workers, ...token };
  return decodeLaneRecord(new TextEncoder().encode(JSON.stringify(record)));
}

async function asked(fleet: Fleet, request: LaneRequest): Promise<void> {
  const answer = await ask(fleet, request);
  if (!answer.ok) throw new Fault(answer.code, "not-done", `${request.kind}: ${answer.message}`);
}

async function ask(fleet: Fleet, request: LaneRequest) {
  try {
    return await askLeader(fleet, { clock: systemClock, timeoutMs: askMs }, request);
  } catch (cause) {
    if (!(cause instanceof Fault)) throw cause;
    const message = `lanes are kept by nodes, and none answers: ${cause.message}`;
    throw new Fault(cause.code, cause.outcome, message, { cause });
  }
}
