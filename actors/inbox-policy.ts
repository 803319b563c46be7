/** What one user of an app may have waiting, and what becomes of more: the app's settings. */
import type { AppRecord } from "../src/protocol/app-record.js";
import type { Limits } from "./limits.js";

export interface InboxPolicy {
  readonly messagesMax: number;
  readonly bytesMax: number;
  /** At the bound the oldest leaves for the new one; else the new one is refused. */
  readonly dropsOldest: boolean;
}

/** The platform's own bounds stand in any case. */
export function inboxPolicyOf(app: AppRecord | undefined, limits: Limits): InboxPolicy {
  const { inboxMessages = limits.inboxMessagesMax, onFull = "refuse" } = app?.limits ?? {};
  return {
    messagesMax: Math.min(inboxMessages, limits.inboxMessagesMax),
    bytesMax: limits.inboxBytesMax,
    // Where nothing may wait, nothing can make room.
    dropsOldest: onFull === "drop-oldest" && inboxMessages > 0,
  };
}
