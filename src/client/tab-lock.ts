/**
 * The lock (Web Locks) that makes one tab of many lead, as long as it holds it.
 *
 *   queued ──▶ held ──(stolen)──▶ queued behind the thief
 *     └──(denied: pages of this kind get no locks)──▶ without it
 */
import type { Clock } from "../base/clock.js";
import type { TabLocks } from "./tab-platform.js";

export interface LockHolder {
  /** The lock is this tab's until the promise settles. */
  onHeld(signal: AbortSignal): Promise<void>;
  /** Another tab took it. */
  onRobbed(): void;
  /** No tab here can have it, now or later. */
  onDenied(signal: AbortSignal): void;
  /** A request, or the holding of the lock, failed. */
  onFailed(cause: unknown): void;
}

/** After a failure that says nothing about the next try. */
const againMs = 10_000;

export class TabLock {
  constructor(
    private readonly locks: TabLocks,
    private readonly name: string,
    private readonly clock: Clock,
    private readonly holder: LockHolder,
  ) {}

  /** Until `signal` says that this tab wants it no more. */
  queueUp(signal: AbortSignal): void {
    void this.request({ signal }, signal, (isGranted, cause) => {
      if (isGranted) {
        this.holder.onRobbed();
        this.queueUp(signal);
        return;
      }
      if ((cause as Error | undefined)?.name === "SecurityError") {
        this.holder.onDenied(signal);
        return;
      }
      this.holder.onFailed(cause);
      const cancel = this.clock.after(againMs, () => this.queueUp(signal));
      signal.addEventListener("abort", cancel, { once: true });
    });
  }

  /** Takes it from whoever holds it; what this tab has in the queue stays there. */
  steal(signal: AbortSignal): void {
    // A stolen lock is not waited for, so it takes no signal (Web Locks, 4.1).
    void this.request({ steal: true }, signal, (isGranted, cause) => {
      if (isGranted) this.holder.onRobbed();
      else this.holder.onFailed(cause);
    });
  }

  /** `onLost` is called unless this tab itself wants the lock no more. */
  private async request(
    how: Parameters<TabLocks["request"]>[1],
    signal: AbortSignal,
    onLost: (isGranted: boolean, cause: unknown) => void,
  ): Promise<void> {
    let isGranted = false;
    try {
      await this.locks.request(this.name, how, () => {
        isGranted = true;
        // What fails gives the lock back, and is not tried in a circle.
        return this.holder.onHeld(signal).catch((cause) => this.holder.onFailed(cause));
      });
    } catch (cause) {
      if (!signal.aborted) onLost(isGranted, cause);
    }
  }
}

/** So many questions without an answer, over so long: the leader's page hangs. */
const unansweredMin = 2;
const silentMs = 20_000;

/**
 * Whether the tab that leads answers. Both are counted: a tab that slept, or was not looked
 * at, has asked nothing meanwhile, however long ago it heard of the leader.
 */
export class LeaderSilence {
  private unanswered = 0;
  private sinceMs = 0;

  asked(nowMs: number): void {
    if (this.unanswered === 0) this.sinceMs = nowMs;
    this.unanswered += 1;
  }

  /** It was heard of, or nobody asks any more. */
  end(): void {
    this.unanswered = 0;
  }

  isTooLong(nowMs: number): boolean {
    return this.unanswered >= unansweredMin && nowMs - this.sinceMs >= silentMs;
  }
}
