/**
 * The idempotency keys that one session remembers, bounded by time; the session
 * refuses new keyed pushes when it is full, and never forgets one early.
 */

import type { IdempotencyKey } from "../src/ports/inbox-store.js";
import type { PushCommand } from "../src/protocol/push-command.js";

export class KeyMemory {
  private readonly byId: Map<string, IdempotencyKey>;

  constructor(keys: readonly IdempotencyKey[]) {
    this.byId = new Map(keys.map((key) => [key.id, key]));
  }

  get ids(): string[] {
    return [...this.byId.keys()];
  }

  isFull(keysMax: number): boolean {
    return this.byId.size >= keysMax;
  }

  find(id: string, nowMs: number): IdempotencyKey | undefined {
    const key = this.byId.get(id);
    return key !== undefined && key.untilMs > nowMs ? key : undefined;
  }

  /** Returns the ids that expired meanwhile, to be removed from the store. */
  remember(key: IdempotencyKey, nowMs: number): string[] {
    const expired = this.forgetExpired(nowMs).filter((id) => id !== key.id);
    this.byId.delete(key.id);
    this.byId.set(key.id, key);
    return expired;
  }

  /** All of them, in whatever order clocks of before have put them. */
  forgetDue(dueMs: number): string[] {
    const due = [...this.byId.values()].filter((key) => key.untilMs <= dueMs).map(({ id }) => id);
    for (const id of due) this.byId.delete(id);
    return due;
  }

  /** Those in front: insertion order is order of expiry, but for clocks that were set back. */
  forgetExpired(nowMs: number): string[] {
    const expired: string[] = [];
    for (const key of this.byId.values()) {
      if (key.untilMs > nowMs) break;
      expired.push(key.id);
    }
    for (const id of expired) this.byId.delete(id);
    return expired;
  }
}

/** FNV-1a over what makes the command: the body and the fields that change its effect. */
export function digestOf(command: PushCommand): number {
  let hash = 0x811c9dc5;
  for (const byte of command.body) hash = Math.imul(hash ^ byte, 0x01000193);
  const { body: _body, id: _id, ...fields } = command;
  const text = JSON.stringify(fields);
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return hash >>> 0;
}
