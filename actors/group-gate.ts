/**
 * The door of one group's shards: what is refused before a session hears of it. On the
 * way of every push, so it allocates nothing for one that passes.
 *
 * A refusal here is safe to repeat: nothing was stored. While the store hangs or fails, what
 * needs it is refused at once instead of piling up; what is handed on at most once goes on.
 */
import type { ErrorCode } from "../src/protocol/errors.js";
import type { AcceptPush } from "../src/protocol/messages.js";
import { admits } from "../topology/shedding.js";
import type { Admission, GroupState } from "./admission.js";
import type { AppAccount, Operation } from "./app-account.js";
import type { CommitQueue } from "./commit-queue.js";
import type { NodeContext } from "./node-context.js";
import { isPassedOn } from "./passed-on.js";
import type { PushRequest, WaitingRoom } from "./push-request.js";

/** What the bounds let wait is done in about a second; a store is tried again each second. */
const loadRetryAfterMs = 1_000;
/** A quota frees itself as devices ack, not within a moment. */
const quotaRetryAfterMs = 30_000;

export class GroupGate implements WaitingRoom {
  /** Let in with an answer due, and not answered: in mailboxes, or uncommitted. */
  inside = 0;
  /** With the last refusal. */
  retryAfterMs = 0;

  constructor(
    readonly admission: Admission,
    readonly state: GroupState,
    private readonly commits: CommitQueue,
    private readonly node: NodeContext,
  ) {}

  leave(): void {
    this.inside--;
  }

  /** Before anything is read but whose it is. Undefined where it may pass. */
  limit(operation: Operation, key: string, account: AppAccount): ErrorCode | undefined {
    const waitMs = this.admission.takeRate(operation, key, account);
    if (waitMs === 0) return undefined;
    this.retryAfterMs = waitMs;
    return "RATE_LIMITED";
  }

  /** What needs the store waits for it; the rest goes out in this turn of the loop. */
  shed(push: AcceptPush, account: AppAccount, sinceMs: number): ErrorCode | undefined {
    const { command } = push;
    const nowMs = this.node.clock.monotonicMs();
    const needsStore = !isPassedOn(push);
    this.retryAfterMs = loadRetryAfterMs;
    if (needsStore && this.isStoreOut(nowMs)) return "STORE_UNAVAILABLE";
    const waitedMs = nowMs - sinceMs;
    const pressure = needsStore
      ? Math.max(this.nodePressure(waitedMs), this.storePressure(nowMs))
      : this.nodePressure(waitedMs);
    if (!admits(command.priority, pressure)) return "OVERLOADED";
    if (command.qos === 0 || !account.isInboxFull) return undefined;
    this.retryAfterMs = quotaRetryAfterMs;
    return "QUOTA_EXCEEDED";
  }

  enter(request: PushRequest): void {
    this.inside++;
    request.room = this;
  }

  private isStoreOut(nowMs: number): boolean {
    const { circuit } = this.state;
    if (circuit.isOpen) return true;
    if (this.commits.pace.flightMs(nowMs) < this.node.limits.commitSlowMs) return false;
    circuit.noteSlow(nowMs);
    return true;
  }

  private nodePressure(waitedMs: number): number {
    const { pushWaitMaxMs, loopLagMaxMs } = this.node.limits;
    return Math.max(waitedMs / pushWaitMaxMs, this.admission.lagMs / loopLagMaxMs);
  }

  private storePressure(nowMs: number): number {
    const { commits } = this;
    const { uncommittedBytesMax, commitSlowMs } = this.node.limits;
    const waiting = Math.max(this.inside, commits.uncommitted) / commits.pace.bound;
    const bytes = commits.uncommittedBytes / uncommittedBytesMax;
    return Math.max(waiting, bytes, commits.pace.flightMs(nowMs) / commitSlowMs);
  }
}
