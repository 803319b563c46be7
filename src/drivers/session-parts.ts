/** A session as a store has it, in the parts in which it is written. */
import type {
  EntrySummary,
  IdempotencyKey,
  SessionRecord,
  StoredSession,
} from "../ports/inbox-store.js";

export interface SessionParts {
  /** The record last written; undefined while none was. */
  record: SessionRecord | undefined;
  /** The highest seq dropped; 0 when none was. */
  droppedSeq: number;
  readonly entries: EntrySummary[];
  readonly keys: IdempotencyKey[];
}

export function noParts(): SessionParts {
  return { record: undefined, droppedSeq: 0, entries: [], keys: [] };
}

/** Undefined when nothing was ever stored, or only keys that are forgotten. */
export function sessionFrom(parts: SessionParts): StoredSession | undefined {
  const { record, droppedSeq, keys } = parts;
  const entries = [...parts.entries].sort((a, b) => a.seq - b.seq);
  if (record === undefined && droppedSeq === 0 && entries.length === 0 && keys.length === 0) {
    return undefined;
  }
  const known = record ?? { generation: 0, lastSeq: 0, devices: [] };
  const lastSeq = Math.max(known.lastSeq, droppedSeq, entries.at(-1)?.seq ?? 0);
  return { record: { ...known, lastSeq }, entries, keys };
}
