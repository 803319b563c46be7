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
import type { ClientAppState } from "../src/protocol/client-surroundings.js";
import type {
  Acked,
  AppStateChanged,
  Attach,
  ConnectionRef,
  EdgeGone,
  Resend,
} from "../src/protocol/messages.js";
import { appOfKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import type { Device } from "./device.js";
import { admitDevice, type RemovedDevice } from "./device-admission.js";
import { nextLook, retiredDevices } from "./device-life.js";
import { lookBucketMs } from "./inbox-rules.js";
import type { SessionDesk } from "./session-desk.js";

export class Attachments {
  constructor(private readonly desk: SessionDesk) {}

  attach(attach: Attach): void | Promise<void> {
    const { desk } = this;
    if (!desk.mayServe) return;
    const { inbox, deliveries } = desk;
    const { node } = desk.context;
    const admission = admitDevice(desk.devices, attach, inbox, node);
    if (admission.kind === "outdated") {
      this.closeReplaced(attach.edge, attach.connection);
      return;
    }
    // The edge asks again while the answer is on its way: one window at a time is enough.
    if (deliveries.wasJustAttached(admission.device, attach)) {
      this.noteApp(admission.device, attach.app);
      return;
    }
    const { device, isNew, removed } = admission;
    if (isNew) this.addDevice(device, removed);
    else if (!device.isServedOn(attach)) this.closeReplaced(device.edge, device.connection);
    // What an earlier owner has stored of this connection is not stored again: a move would
    // cost a write for each.
    if (isNew || device.connect !== attach.connect) desk.write().isRecordDue = true;
    device.take(attach, node.clock.wallMs());
    desk.noteConnected();
    if (isNew) this.planLook();
    const { taken, sent } = attach;
    if (taken !== undefined && inbox.covers(taken)) {
      device.noteTaken(taken.seq);
      this.noteAck(device, taken.seq);
    }
    const isContinuing = sent !== undefined && inbox.covers(sent);
    if (!isContinuing || sent.seq <= device.ackedSeq) this.setAsideFirst(device);
    // Below the cursor, too: the client goes on from there, and from nowhere else.
    deliveries.attachAt(device, isContinuing ? sent.seq : device.ackedSeq);
    return deliveries.catchUp();
  }

  detach(ref: ConnectionRef): void {
    const { desk } = this;
    const device = this.servedOn(ref);
    if (device === undefined) return;
    device.disconnect(desk.context.node.clock.wallMs());
    desk.noteSeen();
    desk.noteDisconnected();
  }

  appStateChanged(changed: AppStateChanged): void {
    const device = this.servedOn(changed);
    // Of one that is not attached yet its attach says the same.
    if (device !== undefined) this.noteApp(device, changed.app);
  }

  private noteApp(device: Device, app: ClientAppState | undefined): void {
    if (app === undefined || device.app === app) return;
    device.app = app;
    this.desk.noteAppState();
  }

  loseEdge({ edge }: EdgeGone): void {
    const { desk } = this;
    for (const device of desk.devices) {
      if (device.edge !== edge) continue;
      device.disconnect(desk.context.node.clock.wallMs());
      desk.noteSeen();
    }
    this.desk.noteDisconnected();
  }

  /** Begins again behind the cursor of each device that owes an ack for too long. */
  resendOverdue(): void | Promise<void> {
    const { deliveries } = this.desk;
    for (const device of deliveries.overdue()) this.sendAgain(device);
    return deliveries.catchUp();
  }

  /** Its time has come: who is connected is seen now, and who was unseen for too long goes. */
  look(): void {
    const { desk } = this;
    const { context } = desk;
    const { clock, limits } = context.node;
    if (desk.devices.length === 0) return;
    const nowMs = clock.wallMs();
    let isRecordDue = false;
    for (const device of desk.devices) {
      if (!device.isConnected || nowMs - device.seenAtMs < limits.deviceSeenEveryMs / 2) continue;
      device.seenAtMs = nowMs;
      isRecordDue = true;
    }
    // Who is connected may not have been attached here yet.
    const retired = context.presence.isKnown ? retiredDevices(desk.devices, nowMs, limits) : [];
    if (retired.length > 0) {
      this.removeDevices(retired.map((device) => ({ device, reason: "retired" })));
      isRecordDue = true;
    }
    if (isRecordDue) desk.write().isRecordDue = true;
    this.planLook();
  }

  acked(acked: Acked): void | Promise<void> {
    const device = this.servedOn(acked);
    if (device === undefined) {
      this.askToAttach(acked);
      return;
    }
    const { inbox, deliveries } = this.desk;
    if (acked.position.generation !== inbox.generation) return;
    this.wakeStalled(device, acked.position.seq);
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
    // Who asks again and again is sent it again when its ack is overdue.
    if (device.isUnderWay && !device.mayRepeat()) return;
    const { position } = resend;
    // Below the cursor too: what lies between will not be sent to it any more, and a base
    // above what it has would be asked about for ever.
    const isKnown = desk.inbox.covers(position) && position.seq <= device.sentSeq;
    desk.deliveries.attachAt(device, isKnown ? position.seq : device.ackedSeq);
    return desk.deliveries.catchUp();
  }

  get connections(): readonly ConnectionRef[] {
    return this.desk.devices.flatMap(({ edge, connection }) =>
      edge === undefined ? [] : [{ edge, connection }],
    );
  }

  /** The user was erased: whoever is connected as that user is to sign in anew. */
  closeErased({ edge, connection }: ConnectionRef): void {
    this.desk.tellEdge(edge, { kind: "CloseConnection", connection, close: "ERASED" });
  }

  private servedOn(ref: ConnectionRef): Device | undefined {
    return this.desk.devices.find((device) => device.isServedOn(ref));
  }

  private addDevice(device: Device, removed: readonly RemovedDevice[]): void {
    const { desk } = this;
    const write = desk.write();
    desk.devices = desk.devices.concat(device);
    if (removed.length > 0) this.removeDevices(removed);
    write.changes.push({ kind: "device-added", device: device.id, platform: device.platform });
  }

  private removeDevices(removed: readonly RemovedDevice[]): void {
    const { desk } = this;
    const write = desk.write();
    for (const { device, reason } of removed) {
      this.closeReplaced(device.edge, device.connection);
      write.changes.push({ kind: "device-removed", device: device.id, reason });
    }
    const gone = removed.map(({ device }) => device);
    desk.devices = desk.devices.filter((device) => !gone.includes(device));
    desk.inbox.trimAbandoned(gone, desk.devices, write);
  }

  /** With each new device, and at each look: one stands in the store while there are devices. */
  private planLook(): void {
    const { desk } = this;
    const { clock, limits } = desk.context.node;
    const look = nextLook(desk.devices, clock.wallMs(), limits);
    if (look !== undefined) desk.write().addDue.push(lookBucketMs(look.atMs, look.spanMs));
  }

  /** An attempt: what has used up all of them is passed over first. */
  private sendAgain(device: Device): void {
    this.setAsideFirst(device);
    this.desk.deliveries.attachAt(device, device.ackedSeq);
  }

  private setAsideFirst(device: Device): void {
    const { inbox, context, sessionKey } = this.desk;
    const { clock, log } = context.node;
    const first = inbox.firstFor(device, clock.wallMs());
    if (first === undefined || !device.isUsedUpBy(first.seq, clock.monotonicMs())) return;
    device.setAside(first.seq);
    const write = this.desk.write();
    write.isRecordDue = true;
    const isDropped = inbox.setAside(first, this.desk.devices, write);
    context.figures.setAside++;
    const { isStalled } = device;
    log.warn("message set aside", {
      ...{ session: sessionKey, device: device.id, id: first.id, isDropped, isStalled },
    });
  }

  /** It took all that it was sent, and only said so too late. */
  private wakeStalled(device: Device, seq: number): void {
    if (!device.isStalled || seq < device.ackedSeq) return;
    device.wake();
    this.desk.armAckWait();
    this.desk.write().isRecordDue = true;
  }

  private closeReplaced(edge: string | undefined, connection: number): void {
    this.desk.tellEdge(edge, { kind: "CloseConnection", connection, close: "REPLACED" });
  }

  /** Moves the device's cursor and lets go what nobody needs any more. */
  private noteAck(device: Device, seq: number): void {
    const { desk } = this;
    const { inbox } = desk;
    const { apps, clock } = desk.context.node;
    const { ackedSeq: oldSeq, sentSeq } = device;
    if (!device.ackThrough(seq, clock.monotonicMs())) return;
    device.seenAtMs = clock.wallMs();
    const write = desk.write();
    const ids = desk.wantsReceipt("acked")
      ? inbox.sentIds(device, oldSeq, Math.min(seq, sentSeq))
      : [];
    const change = { kind: "acked", device: device.id, seq: device.ackedSeq } as const;
    write.changes.push(ids.length === 0 ? change : { ...change, ids });
    const app = apps.find(decodeToken(appOfKey(desk.sessionKey)) ?? "");
    const range = { fromSeq: oldSeq, toSeq: seq };
    inbox.trim(desk.devices, device, range, app?.delivery ?? "each-device", write);
    write.isRecordDue = true;
  }

  /** A connection believes to be served here and is not known: its attach was lost. */
  private askToAttach({ edge, connection }: ConnectionRef): void {
    const { desk } = this;
    const shards = [desk.context.shard];
    desk.tellEdge(edge, { kind: "AttachAgain", shards, key: desk.sessionKey, connection });
  }
}
