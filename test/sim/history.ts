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
import { type SessionKey, type Shard, sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import {
  CursorChecks,
  type Entry,
  type HistoryRules,
  isFor,
  type SessionHistory,
} from "./cursor-checks.js";
import {
  DeviceHistories,
  type DeviceHistory,
  type DeviceName,
  nameOf,
} from "./device-histories.js";
import { isEcho, type Payload, payloadName } from "./payload.js";
import type { PushLedger } from "./push-ledger.js";
import type { StoreWatcher } from "./sim-store.js";
import type { World } from "./world.js";

interface ShardHistory {
  epoch: number;
  readonly owners: Map<number, string>;
}

export class History implements StoreWatcher {
  readonly sessions = new Map<SessionKey, SessionHistory>();
  private readonly shards = new Map<Shard, ShardHistory>();
  private readonly devices = new DeviceHistories();
  private readonly checks: CursorChecks;
  private readonly ids = new Map<string, Entry>();
  readonly counts = {
    ...{ stored: 0, shown: 0, fenced: 0 },
    ...{ acked: 0, expired: 0, collapsed: 0, bound: 0, "set-aside": 0, recalled: 0, abandoned: 0 },
    ...{ erased: 0, erasures: 0 },
  };

  constructor(
    private readonly world: World,
    private readonly rules: HistoryRules,
    private readonly ledger: PushLedger,
  ) {
    this.checks = new CursorChecks(world, rules, this.devices);
  }

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
      if (change.kind === "erased") this.noteErased(write.key, session);
      if (change.kind === "stored") this.noteStored(write, session, change.seq, change.id);
      if (change.kind !== "dropped") continue;
      for (const seq of change.seqs) {
        dropped.add(seq);
        this.noteDropped(write.key, session, present, seq, change.reason);
      }
    }
    for (const seq of write.remove === true ? [] : (write.drop ?? [])) {
      this.world.check(dropped.has(seq), 2, () => `${write.key} ${seq} was dropped without a word`);
    }
    if (write.record === undefined) return;
    this.checks.checkCursors(write.key, session);
    const owners = this.shards.get(shardOfKey(write.key))?.epoch ?? 0;
    for (const device of session.devices) {
      this.checks.checkAttempts(write.key, session, device, owners);
    }
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
    const stored = write.append?.find((entry) => entry.seq === seq);
    const payload = stored && (unpackRecord(stored.record).body as Payload);
    if (payload !== undefined) this.ledger.noteStored(payload, this.counts.stored + 1);
    const entry: Entry = {
      seq,
      id,
      payload,
      expiresAtMs: stored?.expiresAtMs ?? 0,
      collapse: stored?.collapse,
      target: stored?.target?.device,
      dropped: undefined,
      passedOver: new Set(),
    };
    session.entries.set(seq, entry);
    this.ids.set(id, entry);
    this.counts.stored++;
  }

  /** Nothing of before counts for what comes. */
  private noteErased(key: SessionKey, session: SessionHistory): void {
    this.counts.erasures++;
    for (const entry of session.entries.values()) {
      if (entry.payload !== undefined) this.ledger.excuseDouble(entry.payload);
      if (entry.dropped !== undefined) continue;
      entry.dropped = "erased";
      this.counts.erased++;
    }
    session.entries = new Map();
    session.erasures++;
    session.lastSeq = 0;
    session.devices = [];
    this.devices.noteErased(key);
  }

  /** Invariant 2: set aside is what was sent so often, and to whom. */
  noteSetAside(key: SessionKey, device: string, seq: number): void {
    const entry = this.sessionOf(key).entries.get(seq);
    const sent = this.devices.of(key, device).sent.get(seq) ?? 0;
    const { attemptsMax } = this.rules;
    this.world.check(
      entry !== undefined && entry.dropped === undefined && sent >= attemptsMax,
      2,
      () => `${key} ${device} was set aside ${seq}, sent ${sent} times of ${attemptsMax}`,
    );
    entry?.passedOver.add(device);
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
    if (reason === "acked") this.checks.checkTrimmed(key, session, present, entry);
    if (reason === "set-aside") {
      world.check(entry.passedOver.size > 0, 2, () => `${key} ${seq} was set aside for nobody`);
      const needs = session.devices.filter(
        ({ id, ackedSeq }) => present.has(id) && isFor(entry, id) && ackedSeq < seq,
      );
      world.check(
        needs.length === 0,
        2,
        () => `${key} ${seq} was set aside, ${needs[0]?.id} needs it`,
      );
    }
    if (reason === "bound") {
      const older = [...session.entries.values()].find(
        (other) => other.seq < seq && other.dropped === undefined,
      );
      world.check(
        older === undefined,
        2,
        () => `${key} ${seq} left before the older ${older?.seq}`,
      );
    }
    if (reason === "expired") {
      const isDue = entry.expiresAtMs <= this.rules.latestWallMs();
      world.check(isDue, 2, () => `${key} ${seq} expired before its time`);
    }
  }

  noteRepeat(key: SessionKey, device: string): void {
    this.devices.of(key, device).repeats++;
  }

  // ---- the answers ----

  /** Invariant 2: nothing is answered before it is stored. */
  onPublish(from: string, subject: string, payload: Uint8Array): void {
    if (!subject.startsWith("_INBOX.") || payload.length === 0) return;
    const answer = unpackValue(payload) as PushAnswer;
    if (!answer.ok || answer.seq === 0) return;
    const { id, seq } = answer;
    // Not of a push: a request to an inbox.
    if (id === undefined) return;
    this.world.check(
      this.ids.get(id)?.seq === seq,
      2,
      () => `${from} answered ok for ${id} (seq ${seq}), which is not stored`,
    );
  }

  entryOf(id: string): Entry | undefined {
    return this.ids.get(id);
  }

  // ---- the devices ----

  /** It acks above what it was sent, so only what it was sent can bound its cursor. */
  noteLiar(device: DeviceName): void {
    this.devices.noteLiar(device);
  }

  noteSent(key: SessionKey, device: string, seqs: readonly number[]): void {
    this.devices.noteSent(key, device, seqs);
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
    const entry = this.ids.get(id);
    this.world.check(
      entry?.seq === position.seq,
      3,
      () => `${name} was shown ${id} at seq ${position.seq}, it is stored at ${entry?.seq}`,
    );
    known.numbers.set(number, position.seq);
    known.shown.add(id);
    this.counts.shown++;
  }

  /** Invariant 3: per device positions ascend. */
  noteTaken(device: DeviceName, position: Position): void {
    const known = this.deviceOf(device);
    const { taken } = known;
    const isAhead =
      taken === undefined ||
      position.generation > taken.generation ||
      // After an erasure the generation is any other.
      (position.generation !== taken.generation && this.wasErased(device)) ||
      (position.generation === taken.generation && position.seq > taken.seq);
    this.world.check(
      isAhead,
      3,
      () => `${nameOf(device)} went from ${taken?.seq} to ${position.seq}`,
    );
    known.taken = position;
  }

  private wasErased({ app, uid }: DeviceName): boolean {
    return this.sessionOf(sessionKey(app, uid)).erasures > 0;
  }

  /** Entries that are neither gone nor shown by this device; not those that may have expired. */
  owedTo(device: DeviceName): number[] {
    const key = sessionKey(device.app, device.uid);
    const session = this.sessions.get(key);
    const wallMs = this.rules.latestWallMs();
    return [...(session?.entries.values() ?? [])]
      .filter(({ dropped, expiresAtMs }) => dropped === undefined && expiresAtMs > wallMs)
      .filter((entry) => isFor(entry, device.device) && !entry.passedOver.has(device.device))
      .filter(({ id, seq }) => !this.devices.hasShown(key, device.device, id, seq))
      .map(({ seq }) => seq);
  }

  private deviceOf({ app, uid, device }: DeviceName): DeviceHistory {
    return this.devices.of(sessionKey(app, uid), device);
  }

  private sessionOf(key: SessionKey): SessionHistory {
    const known = this.sessions.get(key);
    if (known !== undefined) return known;
    const made = { entries: new Map(), erasures: 0, lastSeq: 0, lastId: "", devices: [] };
    this.sessions.set(key, made);
    return made;
  }
}
