/**
 * How a session's messages reach its devices: live from memory, or caught up from
 * the store window by window.
 *
 * Invariant: per device messages leave in seq order, each naming the one before it.
 * Reading the store happens within the session's turn, so that catch-up and live
 * messages never overlap.
 */

import type { StoredEntry } from "../src/ports/inbox-store.js";
import type { Attach, Deliver, ToEdge } from "../src/protocol/messages.js";
import type { MsgId } from "../src/protocol/msg-id.js";
import type { Target } from "../src/protocol/push-command.js";
import type { SessionKey } from "../src/protocol/shards.js";
import type { Device } from "./device.js";
import type { Inbox } from "./inbox.js";
import type { ShardContext } from "./shard-context.js";

/** The session: what it has, and its own ways out. */
export interface Outlet {
  readonly context: ShardContext;
  readonly sessionKey: SessionKey;
  readonly inbox: Inbox;
  readonly devices: readonly Device[];
  tellEdge(edge: string | undefined, message: ToEdge): void;
  /** Something was sent that must be acked in time. */
  armAckWait(): void;
  /** Something was sent again: how often is to be stored. */
  noteAttempt(): void;
}

const attachAgainMs = 2_000;

/** Has no state of its own: made for each use, so that an idle session keeps none. */
export class Deliveries {
  constructor(private readonly outlet: Outlet) {}

  /** What was just committed, to those who have everything before it. */
  deliverCommitted(appended: readonly StoredEntry[]): void {
    const { inbox, devices } = this.outlet;
    const last = appended.at(-1);
    // Another instance of this session may have submitted it, and have read it since.
    if (last === undefined || last.seq <= inbox.committedSeq) return;
    const before = inbox.committedSeq;
    inbox.committedSeq = last.seq;
    for (const device of devices) {
      // Only who has all that came before takes it from memory; others read the store.
      if (device.isConnected && device.passedSeq === before) this.send(device, appended);
    }
  }

  /** At most once: to whoever is connected now. */
  deliverPassing(record: Uint8Array, target: Target | undefined): void {
    const { epoch, node, shard } = this.outlet.context;
    const session = {
      key: this.outlet.sessionKey,
      epoch,
      generation: this.outlet.inbox.generation,
    };
    let isTaken = false;
    for (const device of this.outlet.devices) {
      if (!device.isConnected || !device.isTargetOf(target)) continue;
      const { edge, connection } = device;
      this.outlet.tellEdge(edge, { kind: "DeliverPassing", connection, epoch, record });
      node.journal?.passed(shard, session, device.id, record);
      isTaken = true;
    }
    if (!isTaken) node.journal?.passed(shard, session, "", record);
  }

  /** To whoever is connected and may have been sent them. */
  deliverRecalled(recalled: readonly { id: MsgId; target: Target | undefined }[]): void {
    if (recalled.length === 0) return;
    const { epoch } = this.outlet.context;
    for (const device of this.outlet.devices) {
      const own = recalled.filter(({ target }) => device.isTargetOf(target));
      if (!device.isConnected || own.length === 0) continue;
      const { edge, connection } = device;
      const ids = own.map(({ id }) => id);
      this.outlet.tellEdge(edge, { kind: "Recalled", connection, epoch, ids });
    }
  }

  /** Reads the store for each device that is behind and has room; no promise where none is. */
  catchUp(): void | Promise<void> {
    for (const device of this.outlet.devices) {
      if (this.isBehind(device)) return this.readAndSend();
    }
  }

  /** Tells the edge where the chain of `prev` (re)starts; what follows is sent by `catchUp`. */
  attachAt(device: Device, baseSeq: number): void {
    device.rewind(baseSeq);
    const nowMs = this.outlet.context.node.clock.monotonicMs();
    device.sentAtMs = nowMs;
    device.attachedAtMs = nowMs;
    this.outlet.tellEdge(device.edge, {
      kind: "Attached",
      connection: device.connection,
      key: this.outlet.sessionKey,
      epoch: this.outlet.context.epoch,
      base: { generation: this.outlet.inbox.generation, seq: baseSeq },
    });
    if (device.ackedSeq < baseSeq) this.outlet.armAckWait();
  }

  /** The same attach was answered a moment ago, and the answer is on its way. */
  wasJustAttached(device: Device, attach: Attach): boolean {
    const isSame = device.isServedOn(attach) && device.connect === attach.connect;
    if (attach.isServed) return false;
    return (
      isSame && this.outlet.context.node.clock.monotonicMs() - device.attachedAtMs < attachAgainMs
    );
  }

  /** Who owes an ack for too long; a stalled device may owe it for ever. */
  overdue(): Device[] {
    const { clock, limits } = this.outlet.context.node;
    const owing = this.outlet.devices.filter(
      (device) => device.isConnected && device.isUnderWay && !device.isStalled,
    );
    if (owing.length > 0) this.outlet.armAckWait();
    const nowMs = clock.monotonicMs();
    return owing.filter((device) => nowMs - device.sentAtMs >= limits.ackWaitMs);
  }

  private isBehind(device: Device): boolean {
    return (
      device.isConnected && device.passedSeq < this.outlet.inbox.committedSeq && device.hasRoom
    );
  }

  private async readAndSend(): Promise<void> {
    const { outlet } = this;
    const { context } = outlet;
    for (const device of this.outlet.devices) {
      while (this.isBehind(device)) {
        const passedSeq = device.passedSeq;
        const entries = await context.inbox.readEntries(
          context.shard,
          outlet.sessionKey,
          passedSeq,
          device.roomMessages,
          device.roomBytes,
        );
        this.send(device, entries);
        // Nothing is left behind it: everything up to here was dropped.
        if (entries.length === 0) device.notePassed(this.outlet.inbox.committedSeq);
        if (device.passedSeq === passedSeq) break;
      }
    }
  }

  /** Sends what fits into the window, in order; stops at the first that does not. */
  private send(device: Device, entries: readonly StoredEntry[]): void {
    const { clock } = this.outlet.context.node;
    const wallMs = clock.wallMs();
    const nowMs = clock.monotonicMs();
    const prev = device.sentSeq;
    const seqs: number[] = [];
    const records: Uint8Array[] = [];
    let isAttempt = false;
    for (const entry of entries) {
      if (entry.expiresAtMs <= wallMs || !device.isTargetOf(entry.target)) {
        device.notePassed(entry.seq);
        continue;
      }
      if (!device.hasRoom) break;
      if (device.noteSent(entry.seq, entry.record.length, nowMs)) isAttempt = true;
      seqs.push(entry.seq);
      records.push(entry.record);
    }
    if (seqs.length === 0) return;
    if (isAttempt) this.outlet.noteAttempt();
    const deliver: Deliver = {
      kind: "Deliver",
      connection: device.connection,
      key: this.outlet.sessionKey,
      epoch: this.outlet.context.epoch,
      generation: this.outlet.inbox.generation,
      prev,
      seqs,
      records,
    };
    this.outlet.tellEdge(device.edge, deliver);
    this.outlet.context.node.journal?.sent(
      this.outlet.context.shard,
      deliver,
      device.id,
      device.edge ?? "",
    );
    this.outlet.armAckWait();
  }
}
