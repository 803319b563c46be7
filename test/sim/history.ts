/**
 * What was stored, answered, shown and acknowledged, seen from outside by the store,
 * the bus and the devices; and the invariants 1 to 4 of DESIGN §10 on it, checked at
 * each step.
 */
import type {
  CommitAnswer,
  DeviceRecord,
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
  dropped: DropReason | "erased" | undefined;
  /** Devices whose cursor went over it unacked. */
  readonly passedOver: Set<string>;
}

interface SessionHistory {
  /** Since the user was last erased. */
  entries: Map<number, Entry>;
  erasures: number;
  lastSeq: number;
  lastId: string;
  /** As the store holds them. */
  devices: readonly DeviceRecord[];
}

interface ShardHistory {
  epoch: number;
  readonly owners: Map<number, string>;
}

interface DeviceHistory {
  /** By MsgID. */
  readonly shown: Set<string>;
  /** How often each seq was sent to it, since the user was last erased. */
  readonly sent: Map<number, number>;
  /** How often it, or its edge, asked to be sent something again. */
  repeats: number;
  /** Tried while it was stalled: those sendings do not count. */
  readonly trials: Set<number>;
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
  readonly attemptsMax: number;
  readonly setAsideMax: number;
}

/** While the store stalls. */
const attemptsInFlight = 3;

export class History implements StoreWatcher {
  readonly sessions = new Map<SessionKey, SessionHistory>();
  private readonly shards = new Map<Shard, ShardHistory>();
  private readonly devices = new Map<string, DeviceHistory>();
  private readonly liars = new Set<string>();
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
    this.checkCursors(write.key, session);
    for (const device of session.devices) this.checkAttempts(write.key, session, device);
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
    for (const [name, device] of this.devices) {
      if (!name.startsWith(`${key}/`)) continue;
      device.sent.clear();
      device.trials.clear();
      device.sentSeq = 0;
    }
  }

  /** Invariant 2: set aside is what was sent so often, and to whom. */
  noteSetAside(key: SessionKey, device: string, seq: number): void {
    const entry = this.sessionOf(key).entries.get(seq);
    const sent = this.deviceNamed(`${key}/${device}`).sent.get(seq) ?? 0;
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
    if (reason === "acked") this.checkTrimmed(key, session, present, entry);
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

  /** Invariant 4: nothing is trimmed that no device was sent and acked. */
  private checkTrimmed(
    key: SessionKey,
    session: SessionHistory,
    present: ReadonlySet<string>,
    entry: Entry,
  ): void {
    if (entry.expiresAtMs <= this.rules.latestWallMs()) return;
    const meant = session.devices.filter(
      ({ id }) => present.has(id) && isFor(entry, id) && !entry.passedOver.has(id),
    );
    const shown = meant.filter(({ id }) => this.hasShown(key, id, entry));
    const isAllowed =
      shown.length > 0 &&
      (this.rules.policyOf(key) === "first-ack" || shown.length === meant.length);
    this.world.check(isAllowed, 4, () => {
      const missing = meant.filter(({ id }) => !this.hasShown(key, id, entry));
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
        const isSeen =
          entry.expiresAtMs <= wallMs || entry.passedOver.has(id) || this.hasShown(key, id, entry);
        this.world.check(
          isSeen,
          4,
          () => `${key} ${id}'s cursor is at ${ackedSeq}, and it never showed ${entry.seq}`,
        );
      }
    }
  }

  /**
   * Invariant 2: what is sent again and again is known to be, whoever owns the shard. An owner
   * that dies may forget one attempt; some are on their way to the disk.
   */
  private checkAttempts(key: SessionKey, session: SessionHistory, device: DeviceRecord): void {
    const { attempts = 0, triedSeq = 0, setAside = 0, ackedSeq, id } = device;
    const wallMs = this.rules.latestWallMs();
    const first = [...session.entries.values()].find(
      (entry) =>
        entry.seq > ackedSeq &&
        entry.dropped === undefined &&
        entry.expiresAtMs > wallMs &&
        isFor(entry, id),
    );
    if (first === undefined) return;
    const { sent, repeats, trials } = this.deviceNamed(`${key}/${id}`);
    if (setAside >= this.rules.setAsideMax) trials.add(first.seq);
    if (trials.has(first.seq)) return;
    const owners = this.shards.get(shardOfKey(key))?.epoch ?? 0;
    const inWholeWindows = Math.floor(this.rules.attemptsMax / 2);
    const known = triedSeq >= first.seq ? attempts : 0;
    const most = known + 1 + inWholeWindows + owners + repeats + attemptsInFlight;
    const times = sent.get(first.seq) ?? 0;
    this.world.check(
      times <= most,
      2,
      () => `${key} ${id} was sent ${first.seq} ${times} times, and ${known} are stored`,
    );
  }

  noteRepeat(key: SessionKey, device: string): void {
    this.deviceNamed(`${key}/${device}`).repeats++;
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
    this.liars.add(nameOf(device));
  }

  noteSent(key: SessionKey, device: string, seqs: readonly number[]): void {
    const known = this.deviceNamed(`${key}/${device}`);
    for (const seq of seqs) {
      known.sentSeq = Math.max(known.sentSeq, seq);
      known.sent.set(seq, (known.sent.get(seq) ?? 0) + 1);
    }
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
    const session = this.sessions.get(sessionKey(device.app, device.uid));
    const wallMs = this.rules.latestWallMs();
    return [...(session?.entries.values() ?? [])]
      .filter(({ dropped, expiresAtMs }) => dropped === undefined && expiresAtMs > wallMs)
      .filter((entry) => isFor(entry, device.device) && !entry.passedOver.has(device.device))
      .filter((entry) => !this.hasShown(sessionKey(device.app, device.uid), device.device, entry))
      .map(({ seq }) => seq);
  }

  private hasShown(key: SessionKey, device: string, { id, seq }: Entry): boolean {
    const name = `${key}/${device}`;
    const known = this.devices.get(name);
    if (known === undefined) return false;
    return known.shown.has(id) || (this.liars.has(name) && seq <= known.sentSeq);
  }

  private sessionOf(key: SessionKey): SessionHistory {
    const known = this.sessions.get(key);
    if (known !== undefined) return known;
    const made = { entries: new Map(), erasures: 0, lastSeq: 0, lastId: "", devices: [] };
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
      shown: new Set(),
      sent: new Map(),
      repeats: 0,
      trials: new Set(),
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
