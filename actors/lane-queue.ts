/**
 * What a lane has given to one group and is not acked: by user, so that of each one push
 * at a time is under way and the rest waits behind it, in the order of the lane.
 *
 *   ready ──next──▶ under way ──done──▶ gone; the user's next is ready
 *     ▲                 └──refused──▶ held ──release──┐
 *     └────────────────────────────────────────────────┘
 *
 * Who is refused for a reason of his own is set apart until a push of his is taken: of
 * these messages only the places are kept, and they are counted by partition. Bounded by
 * what the lane gives unacked.
 */
import type { LaneMessage } from "../src/ports/lanes.js";
import type { ErrorCode } from "../src/protocol/errors.js";
import { partitionCount, type SessionKey, shardOfKey } from "../src/protocol/shards.js";

/** A message in its place; without its payload it is read from the lane at its turn. */
export interface PlacedMessage extends Omit<LaneMessage, "payload"> {
  payload: Uint8Array | undefined;
  readonly bytes: number;
  readonly givenMs: number;
}

interface User {
  readonly partition: number;
  readonly messages: PlacedMessage[];
  /** Refusals of the first message. */
  attempts: number;
  /** The code of the last refusal, and since when it is that; until a push is taken. */
  refusedAs: { readonly code: ErrorCode; readonly sinceMs: number } | undefined;
  isApart: boolean;
}

export class LaneQueue {
  private readonly users = new Map<SessionKey, User>();
  /** Users whose first message may start, in the order in which they became so. */
  private readonly ready = new Set<SessionKey>();
  private readonly sequences = new Set<number>();
  private readonly apart = new Map<number, number>();
  /** Of the payloads that are here. */
  bytes = 0;

  get size(): number {
    return this.sequences.size;
  }

  get readyCount(): number {
    return this.ready.size;
  }

  /** Messages of a partition that wait for users who are set apart. */
  apartOf(partition: number): number {
    return this.apart.get(partition) ?? 0;
  }

  get apartCount(): number {
    return [...this.apart.values()].reduce((sum, count) => sum + count, 0);
  }

  /** One that is here already came again: it is not added. */
  add(message: PlacedMessage): void {
    const { key, sequence } = message;
    if (this.sequences.has(sequence)) return;
    this.sequences.add(sequence);
    const user = this.users.get(key);
    if (user === undefined) {
      const partition = shardOfKey(key) % partitionCount;
      const state = { attempts: 0, refusedAs: undefined, isApart: false };
      this.users.set(key, { partition, messages: [message], ...state });
      this.ready.add(key);
    } else {
      if (user.isApart) {
        message.payload = undefined;
        this.countApart(user, 1);
      }
      user.messages.push(message);
    }
    this.bytes += message.payload?.length ?? 0;
  }

  /** The one that `next` would give. */
  first(): PlacedMessage | undefined {
    for (const key of this.ready) return this.users.get(key)?.messages[0];
    return undefined;
  }

  /** From now on under way. */
  next(): PlacedMessage | undefined {
    const message = this.first();
    if (message !== undefined) this.ready.delete(message.key);
    return message;
  }

  /** It was read from the lane. */
  restore(message: PlacedMessage, payload: Uint8Array): void {
    if (message.payload !== undefined || !this.sequences.has(message.sequence)) return;
    message.payload = payload;
    this.bytes += payload.length;
  }

  /** The user's first message has left the lane: it was taken, or buried. */
  done(key: SessionKey, wasTaken: boolean): void {
    const user = this.users.get(key);
    const gone = user?.messages.shift();
    if (user === undefined || gone === undefined) return;
    this.sequences.delete(gone.sequence);
    this.bytes -= gone.payload?.length ?? 0;
    user.attempts = 0;
    if (user.isApart) this.countApart(user, wasTaken ? -1 - user.messages.length : -1);
    if (wasTaken) {
      user.isApart = false;
      user.refusedAs = undefined;
    }
    if (user.messages.length > 0) this.ready.add(key);
    else this.users.delete(key);
  }

  /** Notes a refusal of the first message. */
  refused(key: SessionKey, code: ErrorCode, nowMs: number): RefusedFirst {
    const user = this.users.get(key);
    if (user === undefined) return { attempts: 1, sinceMs: nowMs, partition: 0 };
    if (user.refusedAs?.code !== code) user.refusedAs = { code, sinceMs: nowMs };
    user.attempts++;
    const { attempts, partition } = user;
    return { attempts, sinceMs: user.refusedAs.sinceMs, partition };
  }

  attempts(key: SessionKey): number {
    return this.users.get(key)?.attempts ?? 0;
  }

  /** Of its messages the payloads go, but the first one's where it may stay. */
  setApart(key: SessionKey, staysFirst: boolean): void {
    const user = this.users.get(key);
    if (user === undefined) return;
    if (!user.isApart) {
      user.isApart = true;
      this.countApart(user, user.messages.length);
      for (const behind of user.messages.slice(1)) this.strip(behind);
    }
    const [first] = user.messages;
    if (first !== undefined && !staysFirst) this.strip(first);
  }

  /** The first message may start again. */
  release(key: SessionKey): void {
    if (this.users.has(key)) this.ready.add(key);
  }

  private strip(message: PlacedMessage): void {
    this.bytes -= message.payload?.length ?? 0;
    message.payload = undefined;
  }

  private countApart({ partition }: User, change: number): void {
    const count = this.apartOf(partition) + change;
    if (count === 0) this.apart.delete(partition);
    else this.apart.set(partition, count);
  }
}

export interface RefusedFirst {
  readonly attempts: number;
  /** Since when with this code and no other. */
  readonly sinceMs: number;
  readonly partition: number;
}
