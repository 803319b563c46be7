/**
 * What services are told (DESIGN §6.4, §7, §10.2): of each shard in the order of its
 * changes, of each change that somebody wants to know exactly once when repeats are taken
 * out by id, nothing that was not committed, and nothing trimmed before it was told.
 */
import { countEvents, receiptOf } from "../../actors/change-events.js";
import type { LoggedEvent } from "../../src/ports/event-log.js";
import type {
  CommitAnswer,
  FenceAnswer,
  FenceRequest,
  NumberedChange,
  ShardWrite,
} from "../../src/ports/inbox-store.js";
import type { AppRecord } from "../../src/protocol/app-record.js";
import { eventId, type ServiceEvent } from "../../src/protocol/service-event.js";
import { appOfKey, type SessionKey, type Shard } from "../../src/protocol/shards.js";
import type { History } from "./history.js";
import type { EventWatcher } from "./sim-events.js";
import type { StoreWatcher } from "./sim-store.js";
import type { World } from "./world.js";

const idc = "dc1";

interface ShardEvents {
  /** Of each change in the log: its number is its place plus 1. */
  readonly changes: (NumberedChange & { readonly epoch: number })[];
  /** Changes up to here are known as told, and trimmed. */
  published: number;
  epoch: number;
  /** (n, index) of the last event. */
  last: readonly [number, number];
}

export class EventChecks implements StoreWatcher, EventWatcher {
  readonly counts = { events: 0, presence: 0 };
  private readonly shards = new Map<Shard, ShardEvents>();
  private readonly told = new Set<string>();
  /** Kinds by MsgID. */
  private readonly receipts = new Map<string, Set<string>>();
  private readonly presence = new Map<SessionKey, string>();

  constructor(
    private readonly world: World,
    private readonly apps: ReadonlyMap<string, AppRecord>,
  ) {}

  onRaised(_by: string, requests: readonly FenceRequest[], answers: readonly FenceAnswer[]): void {
    for (const [index, { shard, epoch }] of requests.entries()) {
      if (answers[index]?.ok === true) this.of(shard).epoch = epoch;
    }
  }

  onCommitted(_by: string, writes: readonly ShardWrite[], answers: readonly CommitAnswer[]): void {
    for (const [index, { shard, epoch, sessions, publishedChange = 0 }] of writes.entries()) {
      if (answers[index]?.ok !== true) continue;
      const known = this.of(shard);
      for (const { key, changes } of sessions) {
        for (const change of changes) {
          known.changes.push({ number: known.changes.length + 1, key, change, epoch });
        }
      }
      this.checkTrimmed(shard, known, Math.min(publishedChange, known.changes.length));
    }
  }

  private checkTrimmed(shard: Shard, known: ShardEvents, published: number): void {
    for (const change of known.changes.slice(known.published, published)) {
      const missing = this.missingOf(shard, change);
      this.world.check(
        missing === undefined,
        2,
        () => `change ${change.number} of shard ${shard} was trimmed before ${missing} was told`,
      );
    }
    known.published = Math.max(known.published, published);
  }

  /** The id of an event that this change makes and nobody was told yet. */
  private missingOf(shard: Shard, { number, key, change }: NumberedChange): string | undefined {
    const wishes = this.apps.get(appOfKey(key))?.events ?? {};
    for (let index = 0; index < countEvents(change, wishes); index++) {
      const id = eventId(idc, shard, number, index);
      if (!this.told.has(id)) return id;
    }
    return undefined;
  }

  onStored({ id, payload }: LoggedEvent): void {
    const { world } = this;
    const event = JSON.parse(new TextDecoder().decode(payload)) as ServiceEvent;
    const { shard, n, index, epoch, kind, app, uid } = event;
    const known = this.of(shard);
    const change = known.changes[n - 1];
    world.check(change !== undefined, 2, () => `${id} was told, and never committed`);
    const isOwners = change !== undefined && change.epoch <= epoch && epoch <= known.epoch;
    world.check(
      isOwners,
      1,
      () => `${id} was told under ${epoch}, committed under ${change?.epoch}`,
    );
    const [lastN, lastIndex] = known.last;
    const isNext = n > lastN || (n === lastN && index === lastIndex + 1);
    world.check(isNext, 3, () => `${id} was told after change ${lastN}`);
    known.last = [n, index];
    this.told.add(id);
    this.counts.events++;
    if (event.id !== undefined) {
      this.receipts.set(event.id, (this.receipts.get(event.id) ?? new Set()).add(kind));
      return;
    }
    this.counts.presence++;
    const key = `${app}.${uid}` as SessionKey;
    const before = this.presence.get(key) ?? "offline";
    world.check(before !== kind, 3, () => `${key} was announced as ${kind} again`);
    const isLawful = (kind === "online") === (before === "offline");
    world.check(isLawful, 3, () => `${key} was announced as ${kind} after ${before}`);
    this.presence.set(key, kind);
  }

  /** What is not as it should be once all is quiet. */
  untold(history: History, online: Iterable<SessionKey>): string | undefined {
    for (const [shard, known] of this.shards) {
      for (const change of known.changes.slice(known.published)) {
        const missing = this.missingOf(shard, change);
        if (missing !== undefined) return `${missing} was never told`;
      }
    }
    for (const key of online) {
      const wanted = this.apps.get(appOfKey(key))?.events?.presence === true;
      const isOnline = (this.presence.get(key) ?? "offline") !== "offline";
      if (wanted && !isOnline) return `${key} is not announced as online`;
    }
    return this.unreceipted(history);
  }

  /** Invariant 2: whatever became of a message, a receipt says so. */
  private unreceipted({ sessions }: History): string | undefined {
    for (const [key, { entries }] of sessions) {
      if (this.apps.get(appOfKey(key))?.events?.receipts !== true) continue;
      for (const { id, seq, dropped } of entries.values()) {
        if (dropped === "erased") continue;
        const kinds = this.receipts.get(id);
        const ended = dropped === undefined ? "stored" : (receiptOf(dropped) ?? "acked");
        if (!kinds?.has("stored") || !kinds.has(ended)) {
          return `${key} ${seq} was ${dropped}, and its receipts say ${[...(kinds ?? [])].join(", ")}`;
        }
      }
    }
    return undefined;
  }

  private of(shard: Shard): ShardEvents {
    const known = this.shards.get(shard);
    if (known !== undefined) return known;
    const made: ShardEvents = { changes: [], published: 0, epoch: 0, last: [0, 0] };
    this.shards.set(shard, made);
    return made;
  }
}
