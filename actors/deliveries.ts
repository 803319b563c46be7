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
import type { Target } from "../src/protocol/push-command.js";
import type { SessionKey } from "../src/protocol/shards.js";
import type { Device } from "./device.js";
import type { Inbox } from "./inbox.js";
import type { ShardContext } from "./shard-context.js";

/** The session's own ways out. */
export interface Outlet {
  readonly sessionKey: SessionKey;
  tellEdge(edge: string | undefined, message: ToEdge): void;
  /** Something was sent that must be acked in time. */
  armAckWait(): void;
}

const attachAgainMs = 2_000;

export class Deliveries {
  devices: Device[] = [];

  constructor(
    private readonly context: ShardContext,
    private readonly inbox: Inbox,
    private readonly outlet: Outlet,
  ) {}

  get isAnybodyConnected(): boolean {
    return this.devices.some((device) => device.isConnected);
  }

  /** What was just committed, to those who have everything before it. */
  deliverCommitted(appended: readonly StoredEntry[]): void {
    const { inbox } = this;
    const last = appended.at(-1);
    // Another instance of this session may have submitted it, and have read it since.
    if (last === undefined || last.seq <= inbox.committedSeq) return;
    const before = inbox.committedSeq;
    inbox.committedSeq = last.seq;
    for (const device of this.devices) {
      // Only who has all that came before takes it from memory; others read the store.
      if (device.isConnected && device.passedSeq === before) this.send(device, appended);
    }
  }

  /** At most once: to whoever is connected now. */
  deliverPassing(record: Uint8Array, target: Target | undefined): void {
    const { epoch, node, shard } = this.context;
    const session = { key: this.outlet.sessionKey, epoch, generation: this.inbox.generation };
    let isTaken = false;
    for (const device of this.devices) {
      if (!device.isConnected || !device.isTargetOf(target)) continue;
      const { edge, connection } = device;
      this.outlet.tellEdge(edge, { kind: "DeliverPassing", connection, epoch, record });
      node.journal?.passed(shard, session, device.id, record);
      isTaken = true;
    }
    if (!isTaken) node.journal?.passed(shard, session, "", record);
  }

  /** Reads the store for each device that is behind and has room; no promise where none is. */
  catchUp(): void | Promise<void> {
    for (const device of this.devices) {
      if (this.isBehind(device)) return this.readAndSend();
    }
  }

  /** Tells the edge where the chain of `prev` (re)starts; what follows is sent by `catchUp`. */
  attachAt(device: Device, baseSeq: number): void {
    device.rewind(baseSeq);
    const nowMs = this.context.node.clock.monotonicMs();
    device.sentAtMs = nowMs;
    device.attachedAtMs = nowMs;
    this.outlet.tellEdge(device.edge, {
      kind: "Attached",
      connection: device.connection,
      key: this.outlet.sessionKey,
      epoch: this.context.epoch,
      base: { generation: this.inbox.generation, seq: baseSeq },
    });
    if (device.ackedSeq < baseSeq) this.outlet.armAckWait();
  }

  /** The same attach was answered a moment ago. */
  wasJustAttached(device: Device, attach: Attach): boolean {
    const isSame = device.isServedOn(attach) && device.connect === attach.connect;
    return isSame && this.context.node.clock.monotonicMs() - device.attachedAtMs < attachAgainMs;
  }

  /** Begins again behind the cursor of each device that owes an ack for too long. */
  resendOverdue(): void {
    const { clock, limits } = this.context.node;
    for (const device of this.devices) {
      if (!device.isConnected || device.ackedSeq >= device.sentSeq) continue;
      this.outlet.armAckWait();
      if (clock.monotonicMs() - device.sentAtMs < limits.ackWaitMs) continue;
      this.attachAt(device, device.ackedSeq);
    }
  }

  private isBehind(device: Device): boolean {
    return device.isConnected && device.passedSeq < this.inbox.committedSeq && this.hasRoom(device);
  }

  private hasRoom(device: Device): boolean {
    const { windowMessagesMax, windowBytesMax } = this.context.node.limits;
    return device.roomMessages(windowMessagesMax) > 0 && device.roomBytes(windowBytesMax) > 0;
  }

  private async readAndSend(): Promise<void> {
    const { context, outlet } = this;
    const { windowMessagesMax, windowBytesMax } = context.node.limits;
    for (const device of this.devices) {
      while (this.isBehind(device)) {
        const passedSeq = device.passedSeq;
        const entries = await context.inbox.readEntries(
          context.shard,
          outlet.sessionKey,
          passedSeq,
          device.roomMessages(windowMessagesMax),
          device.roomBytes(windowBytesMax),
        );
        this.send(device, entries);
        // Nothing is left behind it: everything up to here was dropped.
        if (entries.length === 0) device.notePassed(this.inbox.committedSeq);
        if (device.passedSeq === passedSeq) break;
      }
    }
  }

  /** Sends what fits into the window, in order; stops at the first that does not. */
  private send(device: Device, entries: readonly StoredEntry[]): void {
    const { clock } = this.context.node;
    const wallMs = clock.wallMs();
    const nowMs = clock.monotonicMs();
    const prev = device.sentSeq;
    const seqs: number[] = [];
    const records: Uint8Array[] = [];
    for (const entry of entries) {
      if (entry.expiresAtMs <= wallMs || !device.isTargetOf(entry.target)) {
        device.notePassed(entry.seq);
        continue;
      }
      if (!this.hasRoom(device)) break;
      device.noteSent(entry.seq, entry.record.length, nowMs);
      seqs.push(entry.seq);
      records.push(entry.record);
    }
    if (seqs.length === 0) return;
    const deliver: Deliver = {
      kind: "Deliver",
      connection: device.connection,
      key: this.outlet.sessionKey,
      epoch: this.context.epoch,
      generation: this.inbox.generation,
      prev,
      seqs,
      records,
    };
    this.outlet.tellEdge(device.edge, deliver);
    this.context.node.journal?.sent(this.context.shard, deliver, device.id, device.edge ?? "");
    this.outlet.armAckWait();
  }
}
