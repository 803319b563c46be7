/**
 * The devices of a session as they come, ack and go: which connection serves each, and
 * where each one's cursor stands.
 *
 *   Attach ──▶ device, base ──▶ catch up from the store, window by window ──▶ live
 *   Acked ──▶ cursor ──▶ drop what every live device has acked
 *
 * Invariant: a cursor moves only over what this owner, or by the client's own word
 * another one, has sent to the device.
 */
import type { Acked, Attach, ConnectionRef, EdgeGone, Resend } from "../src/protocol/messages.js";
import { appOfKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import type { Device } from "./device.js";
import { admitDevice } from "./device-admission.js";
import type { SessionDesk } from "./session-desk.js";

export class Attachments {
  constructor(private readonly desk: SessionDesk) {}

  attach(attach: Attach): void | Promise<void> {
    const { desk } = this;
    if (!desk.mayServe) return;
    const { inbox, deliveries } = desk;
    const { node } = desk.context;
    const admission = admitDevice(deliveries.devices, attach, inbox, node);
    if (admission.kind === "outdated") {
      this.closeReplaced(attach.edge, attach.connection);
      return;
    }
    // The edge asks again while the answer is on its way: one window at a time is enough.
    if (deliveries.wasJustAttached(admission.device, attach)) return;
    const { device, isNew, removed } = admission;
    if (isNew) this.addDevice(device, removed);
    else if (!device.isServedOn(attach)) this.closeReplaced(device.edge, device.connection);
    // What an earlier owner has stored of this connection is not stored again: a move would
    // cost a write for each.
    if (isNew || device.connect !== attach.connect) desk.write().isRecordDue = true;
    device.take(attach, node.clock.wallMs());
    desk.noteConnected();
    const { taken, sent } = attach;
    if (taken !== undefined && inbox.covers(taken)) {
      device.noteTaken(taken.seq);
      this.noteAck(device, taken.seq);
    }
    const wasSentSeq = sent !== undefined && inbox.covers(sent) ? sent.seq : 0;
    deliveries.attachAt(device, Math.max(device.ackedSeq, wasSentSeq));
    return deliveries.catchUp();
  }

  detach(ref: ConnectionRef): void {
    const { desk } = this;
    const device = this.servedOn(ref);
    if (device === undefined) return;
    device.disconnect(desk.context.node.clock.wallMs());
    desk.write().isRecordDue = true;
    desk.noteDisconnected();
  }

  loseEdge({ edge }: EdgeGone): void {
    const { deliveries, context } = this.desk;
    for (const device of deliveries.devices) {
      if (device.edge === edge) device.disconnect(context.node.clock.wallMs());
    }
    this.desk.noteDisconnected();
  }

  acked(acked: Acked): void | Promise<void> {
    const device = this.servedOn(acked);
    if (device === undefined) {
      this.askToAttach(acked);
      return;
    }
    const { inbox, deliveries } = this.desk;
    if (acked.position.generation !== inbox.generation) return;
    // An ack above what this attach was sent cannot be true of it.
    this.noteAck(device, Math.min(acked.position.seq, device.sentSeq));
    return deliveries.catchUp();
  }

  resend(resend: Resend): void | Promise<void> {
    const { desk } = this;
    if (!desk.mayServe) return;
    const device = this.servedOn(resend);
    if (device === undefined) {
      this.askToAttach(resend);
      return;
    }
    const { position } = resend;
    const isKnown = desk.inbox.covers(position) && position.seq <= device.sentSeq;
    const fromSeq = isKnown ? Math.max(device.ackedSeq, position.seq) : device.ackedSeq;
    desk.deliveries.attachAt(device, fromSeq);
    return desk.deliveries.catchUp();
  }

  private servedOn(ref: ConnectionRef): Device | undefined {
    return this.desk.deliveries.devices.find((device) => device.isServedOn(ref));
  }

  private addDevice(device: Device, removed: readonly Device[]): void {
    const { desk } = this;
    const { inbox, deliveries } = desk;
    const write = desk.write();
    for (const old of removed) {
      this.closeReplaced(old.edge, old.connection);
      write.changes.push({ kind: "device-removed", device: old.id, reason: "retired" });
    }
    const kept = deliveries.devices.filter((other) => !removed.includes(other));
    deliveries.devices = kept.concat(device);
    if (removed.length > 0) inbox.trimAbandoned(deliveries.devices, write);
    write.changes.push({ kind: "device-added", device: device.id, platform: device.platform });
  }

  private closeReplaced(edge: string | undefined, connection: number): void {
    this.desk.tellEdge(edge, { kind: "CloseConnection", connection, close: "REPLACED" });
  }

  /** Moves the device's cursor and lets go what nobody needs any more. */
  private noteAck(device: Device, seq: number): void {
    const { desk } = this;
    const { inbox, deliveries } = desk;
    const { apps, clock } = desk.context.node;
    const { ackedSeq: oldSeq, sentSeq } = device;
    if (!device.ackThrough(seq, clock.monotonicMs())) return;
    device.seenAtMs = clock.wallMs();
    const write = desk.write();
    const ids = desk.wantsReceipt("acked")
      ? inbox.sentIds(device, oldSeq, Math.min(seq, sentSeq))
      : [];
    const named = ids.length === 0 ? {} : { ids };
    write.changes.push({ kind: "acked", device: device.id, seq: device.ackedSeq, ...named });
    const app = apps.find(decodeToken(appOfKey(desk.sessionKey)) ?? "");
    inbox.trim(deliveries.devices, device, oldSeq, app?.delivery ?? "each-device", write);
    write.isRecordDue = true;
  }

  /** A connection believes to be served here and is not known: its attach was lost. */
  private askToAttach({ edge, connection }: ConnectionRef): void {
    const { desk } = this;
    const shards = [desk.context.shard];
    desk.tellEdge(edge, { kind: "AttachAgain", shards, key: desk.sessionKey, connection });
  }
}
