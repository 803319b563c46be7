/**
 * Durable lanes: their names, subjects and streams.
 *
 * A service publishes on `lane.<lane>.<app>.user.<uid>`; the stream `LANE_<lane>` takes
 * exactly these subjects and stores them as `laned.<lane>.<partition>.<app>.<uid>`. Nobody
 * can publish the stored form: no stream takes it. The partition is `shard % partitionCount`,
 * by the server's own hash.
 */
import { partitionCount, type SessionKey, sessionKey, shardOfKey } from "./shards.js";
import { encodeToken } from "./tokens.js";

/** Of every IDC; lanes of single apps come beside them. */
export const commonLanes = ["high", "normal", "low"] as const;
export const deadLetterStream = "LANE_DEAD";
/** Of all lanes, the common ones included. */
export const lanesMax = 64;

/** `dead` would read like the stream of dead letters. */
export function isLaneName(name: string): boolean {
  return /^[a-z0-9-]{1,32}$/.test(name) && name !== "dead";
}

export function laneStream(lane: string): string {
  return `LANE_${lane}`;
}

/** What a service publishes on; `app` and `uid` are raw. */
export function laneUserSubject(lane: string, app: string, uid: string): string {
  return `lane.${lane}.${encodeToken(app)}.user.${encodeToken(uid)}`;
}

/** The subjects of the lane's stream: of every app, or of one (by its token). */
export function laneSubjects(lane: string, appToken = "*"): string {
  return `lane.${lane}.${appToken}.user.*`;
}

/**
 * The stream's `subject_transform`. Its source is wider than the subjects of one app's lane:
 * both the app and the user are hashed.
 */
export function storedLaneTransform(lane: string) {
  return {
    src: laneSubjects(lane),
    dest: `laned.${lane}.{{partition(${partitionCount},1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}`,
  };
}

/** What a consumer of one partition filters by. */
export function partitionFilter(lane: string, partition: number): string {
  return `laned.${lane}.${partition}.>`;
}

/** Of one user in the lane's stream. */
export function storedLaneSubject(lane: string, key: SessionKey): string {
  return `laned.${lane}.${shardOfKey(key) % partitionCount}.${key}`;
}

/** The session of a stored lane message; undefined for another subject. */
export function sessionOfStored(subject: string): SessionKey | undefined {
  const [room, , partition, appToken, uidToken, ...rest] = subject.split(".");
  if (room !== "laned" || partition === undefined || rest.length > 0) return undefined;
  if (appToken === undefined || uidToken === undefined) return undefined;
  return sessionKey(appToken, uidToken);
}

/** `dead.<lane>.<app>.<uid>`. */
export function deadLetterSubject(lane: string, key: SessionKey): string {
  return `dead.${lane}.${key}`;
}
