/**
 * The writes of one shard group on their way to disk: those that wait, and the one
 * commit in flight. What arrives while it flies becomes the next commit.
 *
 * Bounded in pushes and bytes: sessions ask `isFull` before they accept.
 */
import { Fault } from "../src/base/result.js";
import type { SessionKey } from "../src/protocol/shards.js";
import type { CommitPace } from "./commit-pace.js";
import type { Limits } from "./limits.js";
import type { PendingWrite } from "./pending-write.js";

interface Settling {
  settle(): void;
  fail(cause: Fault): void;
}

export class CommitQueue {
  private waiting: PendingWrite[] = [];
  private flying: readonly PendingWrite[] = [];
  private pushCount = 0;
  private pushBytes = 0;
  private flyingBytes = 0;
  /** Nothing waits and nothing flies: the next write wakes the group. */
  private isIdle = true;
  private readonly settling = new Map<SessionKey, Settling[]>();
  private isAbandoned = false;
  private readonly unsettled = new Map<SessionKey, number>();

  /** `wake` is called for the first write after a rest; then the group goes on by itself. */
  constructor(
    private readonly wake: () => void,
    private readonly limits: Limits,
    readonly pace: CommitPace,
  ) {}

  get isFull(): boolean {
    const { uncommittedMax, uncommittedBytesMax } = this.limits;
    return this.pushCount >= uncommittedMax || this.pushBytes >= uncommittedBytesMax;
  }

  get isWaiting(): boolean {
    return this.waiting.length > 0;
  }

  get uncommitted(): number {
    return this.pushCount;
  }

  get uncommittedBytes(): number {
    return this.pushBytes;
  }

  /** A push was put into a submitted write. */
  countPush(bytes: number): void {
    this.pushCount++;
    this.pushBytes += bytes;
  }

  submit(write: PendingWrite): void {
    this.waiting.push(write);
    this.unsettled.set(write.key, (this.unsettled.get(write.key) ?? 0) + 1);
    if (this.waiting.length === 1 && this.isIdle) {
      this.isIdle = false;
      this.wake();
    }
  }

  /** All that waits, from now on in flight; empty when there is nothing. */
  take(): readonly PendingWrite[] {
    this.flying = this.waiting;
    this.flyingBytes = this.pushBytes;
    this.waiting = [];
    for (const write of this.flying) write.take();
    if (this.flying.length > 0) this.pace.begin(this.pushCount);
    return this.flying;
  }

  /** The commit in flight is on disk. Returns how many pushes wait for the next one. */
  settle(): number {
    const settled = this.flying;
    this.flying = [];
    this.pushBytes -= this.flyingBytes;
    for (const write of settled) this.settleOne(write);
    this.isIdle = this.waiting.length === 0;
    return this.pushCount;
  }

  /** Everything outstanding, oldest first; the queue is of no use afterwards. */
  abandon(): readonly PendingWrite[] {
    this.letGo();
    return [...this.flying, ...this.waiting];
  }

  /** Nothing settles any more. A session that waited for it would keep its group till its deadline. */
  letGo(): void {
    this.isAbandoned = true;
    for (const waiting of this.settling.values()) for (const { fail } of waiting) fail(anew());
    this.settling.clear();
  }

  /**
   * A session that starts again after a crash must not read the store before what
   * its predecessor submitted is in it, or it would give a seq twice. Rejects with
   * Fault("STORE_UNAVAILABLE", "unknown") where nobody will know what is.
   */
  whenSettled(key: SessionKey): Promise<void> | undefined {
    if (!this.unsettled.has(key)) return undefined;
    if (this.isAbandoned) return Promise.reject(anew());
    return new Promise((settle, fail) => {
      const waiting = this.settling.get(key);
      if (waiting === undefined) this.settling.set(key, [{ settle, fail }]);
      else waiting.push({ settle, fail });
    });
  }

  private settleOne(write: PendingWrite): void {
    this.pushCount -= write.answers.length;
    const left = (this.unsettled.get(write.key) ?? 1) - 1;
    if (left > 0) {
      this.unsettled.set(write.key, left);
      return;
    }
    this.unsettled.delete(write.key);
    const waiting = this.settling.get(write.key);
    if (waiting === undefined) return;
    this.settling.delete(write.key);
    for (const { settle } of waiting) settle();
  }
}

function anew(): Fault {
  return new Fault("STORE_UNAVAILABLE", "unknown", "the group begins anew");
}
