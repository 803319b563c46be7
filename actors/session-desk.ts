/** What the parts of a session share: its inbox, its devices, and its ways out. */
import type { StepSession } from "../src/protocol/journal-batch.js";
import type { AcceptPush, ServeInbox } from "../src/protocol/messages.js";
import type { ReceiptKind } from "../src/protocol/service-event.js";
import type { Deliveries, Outlet } from "./deliveries.js";
import type { Device } from "./device.js";
import type { PendingWrite } from "./pending-write.js";

/** See postponed.ts. */
export type Postponed = AcceptPush | ServeInbox;

export interface SessionDesk extends Outlet {
  readonly deliveries: Deliveries;
  devices: readonly Device[];
  /** What waits its turn (see postponed.ts), in order. */
  postponed: Postponed[] | undefined;
  /** Asked before any effect that neither a commit nor an epoch guards. */
  readonly mayServe: boolean;
  wantsReceipt(kind: ReceiptKind): boolean;
  /** A device was attached, or went: services may want to be told. */
  noteConnected(): void;
  noteDisconnected(): void;
  /** Somebody looks at one of the apps, or nobody does any more. */
  noteAppState(): void;
  /** When a device was last here has changed: to be stored with what comes, or at the end. */
  noteSeen(): void;
  /** Everything that was ever given out is on disk. */
  readonly isSettled: boolean;
  /** The session as the delivery journal names it. */
  readonly stepSession: StepSession;
  /** Its user's erasure is next, or on its way to disk: until then nothing else may be stored. */
  readonly isErasing: boolean;
  /** An erasure is next when all that was given to the store is on disk. */
  announceErasure(): void;
  readonly presence: "connected" | "away" | "unknown";
  /** `write` erases the user; then the session begins anew. */
  beginErasure(write: PendingWrite): void;
  /** What is stored next; collects until the group takes it. */
  write(): PendingWrite;
}
