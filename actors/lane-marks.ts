/**
 * How far a session has come in each lane: the last message that it took. JetStream's ack
 * may be lost, then the message comes again, maybe to another owner; what stands at or
 * before the mark was taken.
 *
 * A mark is stored as an idempotency key under a name that no service can give one, so it
 * is on disk with what it tells of. Place and time together are compared: a lane that was
 * made anew, or lost its last second with its server, counts from lower numbers again, but
 * never at an earlier time.
 */
import type { IdempotencyKey } from "../src/ports/inbox-store.js";
import type { LaneOrigin } from "../src/protocol/messages.js";
import type { MsgId } from "../src/protocol/msg-id.js";

const prefix = "\u0000lane.";
/** Part of what is stored. Longer than a message may stay in a lane, so no mark goes too early. */
const markLifeMs = 8 * 24 * 3_600_000;

export function isLaneMark({ id }: IdempotencyKey): boolean {
  return id.startsWith(prefix);
}

export class LaneMarks {
  private readonly byId: Map<string, IdempotencyKey>;
  private lastDueMs = 0;

  constructor(marks: readonly IdempotencyKey[]) {
    this.byId = new Map(marks.map((mark) => [mark.id, mark]));
  }

  /** What the message was given as, or one after it, if it was taken. */
  taken({ lane, sequence, storedAtMs }: LaneOrigin): MsgId | undefined {
    const mark = this.byId.get(prefix + lane);
    if (mark === undefined) return undefined;
    return sequence <= mark.seq && storedAtMs <= mark.untilMs - markLifeMs ? mark.msgId : undefined;
  }

  /** To be stored with what was taken. */
  note({ lane, sequence, storedAtMs }: LaneOrigin, msgId: MsgId): IdempotencyKey {
    const id = prefix + lane;
    const mark = { id, digest: 0, msgId, seq: sequence, untilMs: storedAtMs + markLifeMs };
    this.byId.set(id, mark);
    return mark;
  }

  /** When to look whether it has expired, if that was not asked for before; by the hour. */
  nextDue({ untilMs }: IdempotencyKey): number | undefined {
    const hourMs = 3_600_000;
    const dueMs = Math.ceil(untilMs / hourMs) * hourMs;
    if (dueMs === this.lastDueMs) return undefined;
    this.lastDueMs = dueMs;
    return dueMs;
  }

  /** Returns the ids to be removed from the store. */
  forgetExpired(nowMs: number): string[] {
    const expired = [...this.byId.values()].filter(({ untilMs }) => untilMs <= nowMs);
    for (const { id } of expired) this.byId.delete(id);
    return expired.map(({ id }) => id);
  }
}
