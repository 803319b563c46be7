/**
 * How many connections of each user wait at this edge for their first attach. A session
 * holds no more devices than its bound, and closes who must leave; until it has answered
 * nobody else counts, so that a user whose shard is not served could pile them up here.
 */
import type { SessionKey } from "../src/protocol/shards.js";

export class UnattachedConnections {
  /** Of those that wait alone, which is nobody for most of the time. */
  private readonly waiting = new Map<SessionKey, number>();

  constructor(private readonly ofUserMax: number) {}

  isFull(user: SessionKey): boolean {
    return (this.waiting.get(user) ?? 0) >= this.ofUserMax;
  }

  enter(user: SessionKey): void {
    this.waiting.set(user, (this.waiting.get(user) ?? 0) + 1);
  }

  leave(user: SessionKey): void {
    const left = (this.waiting.get(user) ?? 1) - 1;
    if (left <= 0) this.waiting.delete(user);
    else this.waiting.set(user, left);
  }

  get users(): number {
    return this.waiting.size;
  }
}
