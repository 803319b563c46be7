/** What tabs of one browser share: a lock, a channel, and the word that a tab goes to sleep. */
import type { Cancel } from "../base/clock.js";

/** The part of `navigator.locks` (Web Locks) that is used. */
export interface TabLocks {
  /**
   * Calls `holder` when the lock is this tab's, which it is until the promise settles. Rejects
   * when the request is aborted, or when somebody steals the lock.
   */
  request(
    name: string,
    options: { readonly signal?: AbortSignal; readonly steal?: boolean },
    holder: () => Promise<void>,
  ): Promise<unknown>;
}

/** The part of a BroadcastChannel that is used: all other tabs hear what one says. */
export interface TabChannel {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

/** A page that is frozen, or kept in a cache, runs no code until it is resumed, if ever. */
export interface TabLifecycle {
  onSuspend(listener: () => void): Cancel;
  onResume(listener: () => void): Cancel;
}

export interface TabPlatform {
  readonly locks: TabLocks;
  readonly channel: (name: string) => TabChannel;
  readonly lifecycle: TabLifecycle;
}

/** Undefined where tabs cannot share: each device is then by itself. */
export function browserTabs(): TabPlatform | undefined {
  const { navigator, BroadcastChannel, document, window } = globalThis;
  const locks = navigator?.locks as TabLocks | undefined;
  if (locks === undefined || BroadcastChannel === undefined || document === undefined) {
    return undefined;
  }
  const on = (target: EventTarget, type: string, listener: () => void): Cancel => {
    target.addEventListener(type, listener);
    return () => target.removeEventListener(type, listener);
  };
  const both = (first: Cancel, second: Cancel) => () => {
    first();
    second();
  };
  return {
    locks,
    channel: (name) => new BroadcastChannel(name),
    lifecycle: {
      onSuspend: (listener) =>
        both(on(document, "freeze", listener), on(window, "pagehide", listener)),
      onResume: (listener) =>
        both(on(document, "resume", listener), on(window, "pageshow", listener)),
    },
  };
}
