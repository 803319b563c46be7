/** A lane as the bucket `lanes` has it, under its name: JSON, one record a lane. */
import { isMap } from "./codec.js";
import { isLaneName } from "./lanes.js";
import { isCanonicalToken } from "./tokens.js";

export const laneRecordVersion = 1;
/** Pushes in flight of one lane in an IDC; 0 lets the lane rest. */
export const laneWorkersMax = 65_536;
export const laneWeightMax = 1_000;

export interface LaneSettings {
  /** Its share among the lanes that have something waiting. */
  readonly weight: number;
  /** Pushes in flight at most, of all groups of the IDC together; 0 lets it rest. */
  readonly workers: number;
}

export interface LaneRecord extends LaneSettings {
  readonly v: typeof laneRecordVersion;
  readonly lane: string;
  /** The token of the app that alone may use it; absent in a lane for all. */
  readonly app?: string;
}

export const defaultLaneSettings: Readonly<Record<string, LaneSettings>> = {
  high: { weight: 8, workers: 2_048 },
  normal: { weight: 3, workers: 2_048 },
  low: { weight: 1, workers: 2_048 },
};
/** Of an app's own lane: as a common one's of normal weight. */
export const ownLaneSettings: LaneSettings = { weight: 3, workers: 2_048 };

export function encodeLaneRecord(record: LaneRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(record));
}

/** Undefined for what is no record of this version. */
export function decodeLaneRecord(bytes: Uint8Array): LaneRecord | undefined {
  let map: unknown;
  try {
    map = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
  if (!isMap(map) || map.v !== laneRecordVersion) return undefined;
  const { lane, app, weight, workers } = map;
  if (typeof lane !== "string" || !isLaneName(lane)) return undefined;
  if (app !== undefined && (typeof app !== "string" || !isCanonicalToken(app))) return undefined;
  if (!isLaneWeight(weight) || !isLaneWorkers(workers)) return undefined;
  const record = { v: laneRecordVersion, lane, weight, workers } as const;
  return app === undefined ? record : { ...record, app };
}

export function isLaneWeight(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= laneWeightMax;
}

export function isLaneWorkers(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= laneWorkersMax;
}
