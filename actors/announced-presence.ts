/**
 * What the services of one user's app were told last: online or offline, and of who is online
 * whether somebody looks at the app. Stored, with a change, so that a later owner goes on from
 * it; the change log makes the event.
 *
 *   offline ──(a device attaches)──▶ online ──(all gone for offlineAfterMs)──▶ offline
 *                                      │  a device says whether somebody looks
 *                                      ▼
 *                            foreground ⇄ background ──(all gone)──▶ offline
 *
 * Nobody is announced as offline before the edges have had their say, and whoever comes back
 * in time was never away. The owner may die while somebody is gone, or be gone with the edge:
 * a due time stands in the store as long as the user is online, which wakes the session on
 * whatever node has it then.
 *
 * Foreground and background are told `appStateEveryMs` apart at least, as it stands then.
 * Background waits for more: that the edges have had their say, and of a device that only
 * went, that it had the time to come back.
 */
import type { Presence } from "../src/ports/inbox-store.js";
import type { ClientAppState } from "../src/protocol/client-surroundings.js";
import type { SessionKey } from "../src/protocol/shards.js";
import { dueBucketMs } from "./inbox-rules.js";
import type { PendingWrite } from "./pending-write.js";
import { wishesOf } from "./shard-changes.js";
import type { ShardContext } from "./shard-context.js";

/** Of the session. */
export interface PresenceHolder {
  readonly sessionKey: SessionKey;
  readonly isAnybodyConnected: boolean;
  /** Of those connected together; undefined where none of them says. */
  readonly appState: ClientAppState | undefined;
  /** Collects what is to be stored next. */
  write(): PendingWrite;
  /** `onTick` is to be called after so long; never twice at once. */
  armPresence(delayMs: number): void;
}

export class AnnouncedPresence {
  /** Since when nobody is connected, monotonic; undefined while somebody is. */
  private awaySinceMs: number | undefined = undefined;
  private isArmed = false;
  /** Whether somebody looks is not told before, monotonic. */
  private quietUntilMs = 0;
  /** Nor that nobody does: who looked may only have lost the connection. */
  private heldUntilMs = 0;
  /** The latest due time that this instance has stored. */
  private dueMs = 0;

  constructor(
    private readonly context: ShardContext,
    /** As it goes into the session's record; undefined is offline, and never told. */
    private presence: Presence | undefined,
    private readonly holder: PresenceHolder,
  ) {}

  /** For the session's record. */
  get announced(): Presence | undefined {
    return this.presence;
  }

  /** Loaded: nobody is connected yet, though somebody may still be announced. */
  start(): void {
    if (this.isOnline) this.leave();
  }

  /** A device was attached. */
  onConnected(): void {
    this.awaySinceMs = undefined;
    if (!this.isOnline) {
      if (!this.isWanted) return;
      this.announce("online");
      this.storeDue(this.context.node.limits.onlineCheckMs);
    }
    this.onAppState();
  }

  /** Somebody looks at one of the apps, or nobody does any more. */
  onAppState(): void {
    const { appState } = this.holder;
    if (!this.isOnline || appState === undefined || this.awaySinceMs !== undefined) return;
    const wanted = appState === "front" ? "foreground" : "background";
    if (wanted === this.presence || !this.isWanted) return;
    const { appStateEveryMs } = this.context.node.limits;
    const nowMs = this.context.node.clock.monotonicMs();
    const isDown = wanted === "background";
    const fromMs = isDown ? Math.max(this.quietUntilMs, this.heldUntilMs) : this.quietUntilMs;
    if (nowMs < fromMs) this.arm(fromMs - nowMs);
    else if (isDown && !this.context.presence.isKnown) this.arm(appStateEveryMs);
    else {
      this.announce(wanted);
      this.quietUntilMs = nowMs + appStateEveryMs;
    }
  }

  private get isWanted(): boolean {
    return wishesOf(this.context.node.apps, this.holder.sessionKey)?.presence === true;
  }

  /** A device went, perhaps the last one. */
  onDisconnected(): void {
    if (!this.isOnline || this.awaySinceMs !== undefined) return;
    if (this.holder.isAnybodyConnected) {
      const { clock, limits } = this.context.node;
      const nowMs = clock.monotonicMs();
      // Not put off again: a device that comes and goes would keep it from being told at all.
      if (this.heldUntilMs <= nowMs) this.heldUntilMs = nowMs + limits.offlineAfterMs;
      this.onAppState();
      return;
    }
    this.leave();
    // The write of the disconnection takes it along: another owner is to look as soon.
    this.storeDue(this.context.node.limits.offlineAfterMs);
  }

  /** The time that `armPresence` was given is over. `mayServe`: this node still has its lease. */
  onTick(mayServe: boolean): void {
    this.isArmed = false;
    const { awaySinceMs } = this;
    if (!this.isOnline) return;
    if (awaySinceMs === undefined) {
      if (mayServe) this.onAppState();
      else this.arm(this.context.node.limits.appStateEveryMs);
      return;
    }
    const { offlineAfterMs } = this.context.node.limits;
    const leftMs = awaySinceMs + offlineAfterMs - this.context.node.clock.monotonicMs();
    if (leftMs > 0) this.arm(leftMs);
    else if (!mayServe || !this.context.presence.isKnown) this.arm(offlineAfterMs);
    else this.announce("offline");
  }

  /** The user is erased by this write: nothing of this is kept, and nobody is to wait for it. */
  end(write: PendingWrite): void {
    if (this.isOnline) write.changes.push({ kind: "announced", presence: "offline" });
  }

  /** A due time of the session has come, perhaps of another kind. */
  onDue(atMs: number): void {
    if (!this.isOnline || this.dueMs > atMs) return;
    // It is gone from the store: with a clock that was set back the next one may be the same.
    this.dueMs = 0;
    const { onlineCheckMs, offlineAfterMs } = this.context.node.limits;
    this.storeDue(this.awaySinceMs === undefined ? onlineCheckMs : offlineAfterMs);
  }

  private get isOnline(): boolean {
    return this.presence !== undefined && this.presence !== "offline";
  }

  private leave(): void {
    this.awaySinceMs = this.context.node.clock.monotonicMs();
    this.arm(this.context.node.limits.offlineAfterMs);
  }

  private announce(presence: Presence): void {
    this.presence = presence;
    const write = this.holder.write();
    write.changes.push({ kind: "announced", presence });
    write.isRecordDue = true;
  }

  private storeDue(inMs: number): void {
    const atMs = dueBucketMs(this.context.node.clock.wallMs() + inMs, inMs);
    if (atMs === this.dueMs) return;
    this.dueMs = atMs;
    this.holder.write().addDue.push(atMs);
  }

  private arm(delayMs: number): void {
    if (this.isArmed) return;
    this.isArmed = true;
    this.holder.armPresence(delayMs);
  }
}
