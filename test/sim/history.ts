/**
 * What was stored, answered, shown and acknowledged, seen from outside by the store,
 * the bus and the devices; and the invariants 1 to 4 of DESIGN §10 on it, checked at
 * each step.
 */
import type {
  CommitAnswer,
  DropReason,
  FenceAnswer,
  FenceRequest,
  SessionWrite,
  ShardWrite,
} from "../../src/ports/inbox-store.js";
import { unpackValue } from "../../src/protocol/codec.js";
import { unpackRecord } from "../../src/protocol/message-record.js";
import type { Position } from "../../src/protocol/position.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { type SessionKey, type Shard, sessionKey } from "../../src/protocol/shards.js";
import { isEcho, type Payload, payloadName } from "./payload.js";
import type { PushLedger } from "./push-ledger.js";
import type { StoreWatcher } from "./sim-store.js";
import type { World } from "./world.js";

interface Entry {
  readonly seq: number;
  readonly id: string;
  /** Absent for one that was collapsed before it reached the disk. */
  readonly payload: Payload | undefined;
  readonly expiresAtMs: number;
  readonly collapse: string | undefined;
  /** The only device that it is for. */
  readonly target: string | undefined;
  dropped: DropReason | undefined;
}

interface SessionHistory {
  readonly entries: Map<number, Entry>;
  lastSeq: number;
  lastId: string;
  /** As the store holds them. */
  devices: readonly { readonly id: string; readonly ackedSeq: number }[];
}

interface ShardHistory {
  epoch: number;
  readonly owners: Map<number, string>;
}

interface DeviceHistory {
  readonly shown: Map<number, Payload>;
  readonly numbers: Map<string, number>;
  taken: Position | undefined;
  /** The highest that a session ever sent it, for those that ack what they did not show. */
  sentSeq: number;
}

export interface DeviceName {
  readonly app: string;
  readonly uid: string;
  readonly device: string;
}

export interface HistoryRules {
  readonly policyOf: (key: SessionKey) => "each-device" | "first-ack";
  /** The latest that any node's clock has shown. */
  readonly latestWallMs: () => number;
}

export class History implements StoreWatcher {
  readonly sessions = new Map<SessionKey, SessionHistory>();
  private readonly shards = new Map<Shard, ShardHistory>();
  private readonly devices = new Map<string, DeviceHistory>();
  private readonly liars = new Set<string>();
  private readonly ids = new Map<string, { readonly key: SessionKey; readonly seq: number }>();
  readonly counts = {
    ...{ stored: 0, shown: 0, fenced: 0 },
    ...{ acked: 0, expired: 0, collapsed: 0, bound: 0, "set-aside": 0, recalled: 0 },
  };

  constructor(
    private readonly world: World,
    private readonly rules: HistoryRules,
    private readonly ledger: PushLedger,
  ) {}

  // ---- the store ----

  onRaised(by: string, requests: readonly FenceRequest[], answers: readonly FenceAnswer[]): void {
    for (const [index, { shard, epoch }] of requests.entries()) {
      if (answers[index]?.ok === true) this.noteOwner(shard, epoch, by);
    }
  }

  onCommitted(by: string, writes: readonly ShardWrite[], answers: readonly CommitAnswer[]): void {
    for (const [index, { shard, epoch, sessions }] of writes.entries()) {
      if (answers[index]?.ok !== true) {
        this.counts.fenced++;
        continue;
      }
      this.noteOwner(shard, epoch, by);
      for (const write of sessions) this.apply(write);
    }
  }

  /** Invariant 1: one owner to an epoch, and no effect of a lower one after a higher. */
  private noteOwner(shard: Shard, epoch: number, by: string): void {
    const known = this.shards.get(shard) ?? { epoch: 0, owners: new Map<number, string>() };
    this.shards.set(shard, known);
    this.world.check(
      epoch >= known.epoch,
      1,
      () => `${by} had an effect on shard ${shard} under ${epoch}, after epoch ${known.epoch}`,
    );
    known.epoch = Math.max(known.epoch, epoch);
    const owner = known.owners.get(epoch) ?? by;
    known.owners.set(epoch, owner);
    this.world.check(
      owner === by,
      1,
      () => `${owner} and ${by} both had an effect on shard ${shard} in epoch ${epoch}`,
    );
  }

  private apply(write: SessionWrite): void {
    const session = this.sessionOf(write.key);
    // A device that came after a drop of the same write was none of those that had to ack.
    const present = new Set(session.devices.map(({ id }) => id));
    if (write.record !== undefined) session.devices = write.record.devices;
    const dropped = new Set<number>();
    for (const change of write.changes) {
      if (change.kind === "device-added") present.add(change.device);
      if (change.kind === "stored") this.noteStored(write, session, change.seq, change.id);
      if (change.kind !== "dropped") continue;
      for (const seq of change.seqs) {
        dropped.add(seq);
        this.noteDropped(write.key, session, present, seq, change.reason);
      }
    }
    for (const seq of write.drop ?? []) {
      this.world.check(dropped.has(seq), 2, () => `${write.key} ${seq} was dropped without a word`);
    }
    if (write.record !== undefined) this.checkCursors(write.key, session);
  }

  private noteStored(write: SessionWrite, session: SessionHistory, seq: number, id: string): void {
    const { key } = write;
    this.world.check(
      seq > session.lastSeq,
      3,
      () => `${key} was given seq ${seq} again, after ${session.lastSeq}`,
    );
    const isNew = !this.ids.has(id) && id > session.lastId;
    this.world.check(isNew, 3, () => `${key} ${seq} has MsgID ${id} after ${session.lastId}`);
    session.lastSeq = Math.max(session.lastSeq, seq);
    session.lastId = id;
    this.ids.set(id, { key, seq });
    const stored = write.append?.find((entry) => entry.seq === seq);
    const payload = stored && (unpackRecord(stored.record).body as Payload);
    if (payload !== undefined) this.ledger.noteStored(payload, seq);
    session.entries.set(seq, {
      seq,
      id,
      payload,
      expiresAtMs: stored?.expiresAtMs ?? 0,
      collapse: stored?.collapse,
      target: stored?.target?.device,
      dropped: undefined,
    });
    this.counts.stored++;
  }

  private noteDropped(
    key: SessionKey,
    session: SessionHistory,
    present: ReadonlySet<string>,
    seq: number,
    reason: DropReason,
  ): void {
    const entry = session.entries.get(seq);
    const { world } = this;
    world.check(entry !== undefined, 2, () => `${key} ${seq} was dropped and never stored`);
    if (entry === undefined) return;
    world.check(entry.dropped === undefined, 2, () => `${key} ${seq} was dropped twice`);
    entry.dropped = reason;
    this.counts[reason]++;
    if (reason === "acked") this.checkTrimmed(key, session, present, entry);
    if (reason === "expired") {
      const isDue = entry.expiresAtMs <= this.rules.latestWallMs();
      world.check(isDue, 2, () => `${key} ${seq} expired before its time`);
    }
  }

  /** Invariant 4: nothing is trimmed that no device was sent and acked. */
  private checkTrimmed(
    key: SessionKey,
    session: SessionHistory,
    present: ReadonlySet<string>,
    entry: Entry,
  ): void {
    if (entry.expiresAtMs <= this.rules.latestWallMs()) return;
    const meant = session.devices.filter(({ id }) => present.has(id) && isFor(entry, id));
    const shown = meant.filter(({ id }) => this.hasShown(key, id, entry.seq));
    const isAllowed =
      shown.length > 0 &&
      (this.rules.policyOf(key) === "first-ack" || shown.length === meant.length);
    this.world.check(isAllowed, 4, () => {
      const missing = meant.filter(({ id }) => !this.hasShown(key, id, entry.seq));
      const names = missing.map(({ id }) => id).join(", ");
      return `${key} ${entry.seq} was trimmed as acked, and never shown by ${names || "anybody"}`;
    });
  }

  /** Invariant 4: a cursor passes no live entry that its device has not shown, nor the last. */
  private checkCursors(key: SessionKey, session: SessionHistory): void {
    const wallMs = this.rules.latestWallMs();
    for (const { id, ackedSeq } of session.devices) {
      const { lastSeq } = session;
      this.world.check(
        ackedSeq <= lastSeq,
        4,
        () => `${key} ${id}'s cursor is at ${ackedSeq}, and the last is ${lastSeq}`,
      );
      for (const entry of session.entries.values()) {
        if (entry.seq > ackedSeq || entry.dropped !== undefined || !isFor(entry, id)) continue;
        const isSeen = entry.expiresAtMs <= wallMs || this.hasShown(key, id, entry.seq);
        this.world.check(
          isSeen,
          4,
          () => `${key} ${id}'s cursor is at ${ackedSeq}, and it never showed ${entry.seq}`,
        );
      }
    }
  }

  // ---- the answers ----

  /** Invariant 2: nothing is answered before it is stored. */
  onPublish(from: string, subject: string, payload: Uint8Array): void {
    if (!subject.startsWith("_INBOX.") || payload.length === 0) return;
    const answer = unpackValue(payload) as PushAnswer;
    if (!answer.ok || answer.seq === 0) return;
    const { id, seq } = answer;
    this.world.check(
      this.ids.get(id)?.seq === seq,
      2,
      () => `${from} answered ok for ${id} (seq ${seq}), which is not stored`,
    );
  }

  entryOf(id: string): Entry | undefined {
    const where = this.ids.get(id);
    return where && this.sessions.get(where.key)?.entries.get(where.seq);
  }

  // ---- the devices ----

  /** It acks above what it was sent, so only what it was sent can bound its cursor. */
  noteLiar(device: DeviceName): void {
    this.liars.add(nameOf(device));
  }

  noteSent(key: SessionKey, device: string, seq: number): void {
    const known = this.deviceNamed(`${key}/${device}`);
    known.sentSeq = Math.max(known.sentSeq, seq);
  }

  /** Invariant 3: shown once, by the publisher's own number, and what was stored there. */
  noteShown(device: DeviceName, position: Position, id: string, payload: Payload): void {
    const known = this.deviceOf(device);
    const name = nameOf(device);
    const number = payloadName(payload);
    const before = known.numbers.get(number);
    this.world.check(
      before === undefined || isEcho(payload) || this.ledger.wasDoubled(payload),
      3,
      () => `${name} showed ${number} twice, as seq ${before} and ${position.seq}`,
    );
    const entry = this.sessionOf(sessionKey(device.app, device.uid)).entries.get(position.seq);
    this.world.check(
      entry?.id === id,
      3,
      () => `${name} was shown ${id} at seq ${position.seq}, where ${entry?.id} is stored`,
    );
    known.numbers.set(number, position.seq);
    known.shown.set(position.seq, payload);
    this.counts.shown++;
  }

  /** Invariant 3: per device positions ascend. */
  noteTaken(device: DeviceName, position: Position): void {
    const known = this.deviceOf(device);
    const { taken } = known;
    const isAhead =
      taken === undefined ||
      position.generation > taken.generation ||
      (position.generation === taken.generation && position.seq > taken.seq);
    this.world.check(
      isAhead,
      3,
      () => `${nameOf(device)} went from ${taken?.seq} to ${position.seq}`,
    );
    known.taken = position;
  }

  /** Entries that are neither gone nor shown by this device; not those that may have expired. */
  owedTo(device: DeviceName): number[] {
    const session = this.sessions.get(sessionKey(device.app, device.uid));
    const wallMs = this.rules.latestWallMs();
    return [...(session?.entries.values() ?? [])]
      .filter(({ dropped, expiresAtMs }) => dropped === undefined && expiresAtMs > wallMs)
      .filter((entry) => isFor(entry, device.device))
      .map(({ seq }) => seq)
      .filter((seq) => !this.hasShown(sessionKey(device.app, device.uid), device.device, seq));
  }

  private hasShown(key: SessionKey, device: string, seq: number): boolean {
    const name = `${key}/${device}`;
    const known = this.devices.get(name);
    if (known === undefined) return false;
    return known.shown.has(seq) || (this.liars.has(name) && seq <= known.sentSeq);
  }

  private sessionOf(key: SessionKey): SessionHistory {
    const known = this.sessions.get(key);
    if (known !== undefined) return known;
    const made = { entries: new Map(), lastSeq: 0, lastId: "", devices: [] };
    this.sessions.set(key, made);
    return made;
  }

  private deviceOf(device: DeviceName): DeviceHistory {
    return this.deviceNamed(nameOf(device));
  }

  private deviceNamed(name: string): DeviceHistory {
    const known = this.devices.get(name);
    if (known !== undefined) return known;
    const made: DeviceHistory = {
      shown: new Map(),
      numbers: new Map(),
      taken: undefined,
      sentSeq: 0,
    };
    this.devices.set(name, made);
    return made;
  }
}

function isFor({ target }: Entry, device: string): boolean {
  return target === undefined || target === device;
}

function nameOf({ app, uid, device }: DeviceName): string {
  return `${sessionKey(app, uid)}/${device}`;
}
