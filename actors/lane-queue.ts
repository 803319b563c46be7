/**
 * What a lane has given to one group and is not acked: by user, so that of each one push
 * at a time is under way and the rest waits behind it, in the order of the lane.
 *
 *   ready ──next──▶ under way ──done──▶ gone; the user's next is ready
 *     ▲                 └──hold──▶ held ──release──┐
 *     └─────────────────────────────────────────────┘
 *
 * Bounded by what the lane gives unacked.
 */
import type { LaneMessage } from "../src/ports/lanes.js";
import type { SessionKey } from "../src/protocol/shards.js";

interface User {
  readonly messages: LaneMessage[];
  /** Refusals of the first message. */
  attempts: number;
}

export class LaneQueue {
  private readonly users = new Map<SessionKey, User>();
  /** Users whose first message may start, in the order in which they became so. */
  private readonly ready = new Set<SessionKey>();
  private readonly sequences = new Set<number>();

  get size(): number {
    return this.sequences.size;
  }

  get readyCount(): number {
    return this.ready.size;
  }

  /** One that is here already came again: it is not added. */
  add(message: LaneMessage): void {
    const { key, sequence } = message;
    if (this.sequences.has(sequence)) return;
    this.sequences.add(sequence);
    const user = this.users.get(key);
    if (user !== undefined) {
      user.messages.push(message);
      return;
    }
    this.users.set(key, { messages: [message], attempts: 0 });
    this.ready.add(key);
  }

  /** From now on under way. */
  next(): LaneMessage | undefined {
    for (const key of this.ready) {
      this.ready.delete(key);
      return this.users.get(key)?.messages[0];
    }
    return undefined;
  }

  /** The user's first message has left the lane. */
  done(key: SessionKey): void {
    const user = this.users.get(key);
    const gone = user?.messages.shift();
    if (user === undefined || gone === undefined) return;
    this.sequences.delete(gone.sequence);
    user.attempts = 0;
    if (user.messages.length > 0) this.ready.add(key);
    else this.users.delete(key);
  }

  /** Notes a refusal of the first message; returns how many that makes. */
  refused(key: SessionKey): number {
    const user = this.users.get(key);
    return user === undefined ? 0 : ++user.attempts;
  }

  attempts(key: SessionKey): number {
    return this.users.get(key)?.attempts ?? 0;
  }

  /** The first message may start again. */
  release(key: SessionKey): void {
    if (this.users.has(key)) this.ready.add(key);
  }
}
