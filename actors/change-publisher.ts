/**
 * Publishes the events that the changes of one shard group make, shard by shard in the
 * order of their numbers: one on its way per shard, many shards at once.
 *
 *   commit ──▶ ShardChanges ──(next)──▶ event log ──(it has it)──▶ position ──▶ trimmed
 *                   ▲ fallen behind, or begun anew: read from the store
 *
 * What is published was committed under the fence, and each event has the same id
 * whoever publishes it, so that two owners in a row tell it once. The position follows the
 * log's word, never precedes it. While the log is away all is held back; nothing else waits.
 */
import { fullJitterMs } from "../src/base/random.js";
import { Fault } from "../src/base/result.js";
import type { LoggedEvent } from "../src/ports/event-log.js";
import type {
  CommitAnswer,
  InboxGroup,
  NumberedChange,
  ShardWrite,
} from "../src/ports/inbox-store.js";
import { encodeEvent, eventId, eventVersion } from "../src/protocol/service-event.js";
import { appOfKey, type Shard, uidOfKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import { Actor } from "../src/runtime/actor.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { ChangeReads } from "./change-reads.js";
import { mayServe } from "./may-serve.js";
import type { NodeContext } from "./node-context.js";
import { type NextEvent, storePositionMs, waitingEventsMax } from "./shard-changes.js";
import type { ShardContext } from "./shard-context.js";
import type { Slots } from "./slots.js";

/** From the group: this shard has something to publish, or to read first. */
export interface ChangesWaiting {
  readonly kind: "ChangesWaiting";
  readonly shard: Shard;
}

interface EventPublished {
  readonly kind: "EventPublished";
  readonly by: ChangePublisher;
  readonly shard: Shard;
}

interface EventFailed {
  readonly kind: "EventFailed";
  readonly by: ChangePublisher;
  readonly shard: Shard;
  readonly fault: Fault;
}

interface ChangesRead {
  readonly kind: "ChangesRead";
  readonly by: ChangePublisher;
  readonly shard: Shard;
  readonly changes: readonly NumberedChange[];
}

interface ReadFailed {
  readonly kind: "ReadFailed";
  readonly by: ChangePublisher;
  readonly shard: Shard;
  readonly fault: Fault;
}

interface RetryTick {
  readonly kind: "RetryTick";
}

/** A shard whose read failed has rested. */
interface RestedTick {
  readonly kind: "RestedTick";
  readonly shard: Shard;
}

interface PositionTick {
  readonly kind: "PositionTick";
}

interface PositionsStored {
  readonly kind: "PositionsStored";
  readonly by: ChangePublisher;
  readonly writes: readonly ShardWrite[];
  /** Empty when it failed: another look will come. */
  readonly answers: readonly CommitAnswer[];
}

type PublisherMessage =
  | ChangesWaiting
  | EventPublished
  | EventFailed
  | ChangesRead
  | ReadFailed
  | RestedTick
  | RetryTick
  | PositionTick
  | PositionsStored;

const publisherKind: ActorKind = {
  name: "change-publisher",
  // Of each shard one message waits, and each promise under way comes back as one.
  mailbox: { max: 16_384, onFull: "reject" },
  restart: "permanent",
  intensity: { restarts: 20, withinMs: 10_000 },
};

/** Shards whose event or read is on its way. */
const underWayMax = 64;
const retryMs = 100;
const retryMsMax = 5_000;
const positionsPerWriteMax = 128;

export class ChangePublisher extends Actor<PublisherMessage> {
  /** In turn; each at most once, and none that is under way. */
  private readonly ready = new Set<Shard>();
  private readonly underWay = new Set<Shard>();
  /** Their last read failed, a moment ago. */
  private readonly resting = new Set<Shard>();
  /** Their positions are to be stored. */
  private readonly moved = new Set<Shard>();
  private failures = 0;
  private isHeldBack = false;
  private isPositionTickArmed = false;
  private isStoring = false;
  private publishedCount = 0;
  private lastFault: string | undefined = undefined;
  private readonly reads = new ChangeReads();

  constructor(
    private readonly node: NodeContext,
    private readonly incarnation: string,
    private readonly inbox: InboxGroup,
    private readonly contexts: ReadonlyMap<Shard, ShardContext>,
    private readonly slots: Slots,
    /** With the fences above this node's. */
    private readonly onFenced: (fenced: ReadonlyMap<Shard, number>) => void,
  ) {
    super();
  }

  get kind(): ActorKind {
    return publisherKind;
  }

  /** What was waiting when a former instance crashed waits in the shards' own memory. */
  protected override started(): void {
    for (const shard of this.contexts.keys()) this.moved.add(shard);
    for (const shard of this.contexts.keys()) this.addReady(shard);
    this.armPositionTick();
    this.pump();
  }

  receive(message: PublisherMessage): void {
    // What a crashed instance had under way says nothing of this one's.
    if ("by" in message && message.by !== this) return;
    switch (message.kind) {
      case "ChangesWaiting":
        this.addReady(message.shard);
        break;
      case "EventPublished":
        this.onPublished(message.shard);
        break;
      case "EventFailed":
        this.onFailed(message);
        break;
      case "ChangesRead":
        this.onRead(message);
        break;
      case "ReadFailed":
        this.onReadFailed(message);
        break;
      case "RestedTick":
        this.resting.delete(message.shard);
        this.addReady(message.shard);
        break;
      case "RetryTick":
        this.isHeldBack = false;
        break;
      case "PositionTick":
        this.isPositionTickArmed = false;
        this.storePositions();
        break;
      case "PositionsStored":
        this.onStored(message);
        break;
    }
    this.pump();
  }

  private addReady(shard: Shard): void {
    if (this.underWay.has(shard) || this.resting.has(shard)) return;
    if (this.contexts.get(shard)?.changes.hasWork) this.ready.add(shard);
  }

  /** After a failure one event alone finds out whether the log is back. */
  private get room(): number {
    if (this.isHeldBack) return 0;
    return (this.failures > 0 ? 1 : underWayMax) - this.underWay.size;
  }

  private pump(): void {
    if (this.ready.size === 0 || this.room <= 0) return;
    if (!mayServe(this.node, this.incarnation)) {
      this.holdBack();
      return;
    }
    for (const shard of this.ready) {
      if (this.room <= 0) return;
      this.ready.delete(shard);
      const context = this.contexts.get(shard);
      if (context?.changes.hasWork) this.goOn(context);
    }
  }

  private goOn({ shard, changes, epoch }: ShardContext): void {
    const next = changes.next();
    if (next !== undefined) {
      this.underWay.add(shard);
      this.pipe(
        this.node.events.publish(this.toLogged(shard, epoch, next)),
        () => ({ kind: "EventPublished", by: this, shard }),
        (cause) => this.failed(shard, cause),
      );
    } else if (changes.isBehind) {
      this.underWay.add(shard);
      this.pipe(
        this.read(shard, changes.scannedNumber),
        (read) => ({ kind: "ChangesRead", by: this, shard, changes: read }),
        (cause) => this.readFailed(shard, cause),
      );
    }
  }

  private read(shard: Shard, after: number): Promise<readonly NumberedChange[]> {
    const count = this.reads.countFor(shard, waitingEventsMax);
    return this.slots.run(() => this.inbox.readChanges(shard, after, count));
  }

  private readFailed(shard: Shard, cause: unknown): ReadFailed {
    if (cause instanceof Fault) return { kind: "ReadFailed", by: this, shard, fault: cause };
    throw cause;
  }

  private failed(shard: Shard, cause: unknown): EventFailed {
    if (cause instanceof Fault) return { kind: "EventFailed", by: this, shard, fault: cause };
    throw cause;
  }

  private toLogged(shard: Shard, epoch: number, next: NextEvent): LoggedEvent {
    const { idc, clock } = this.node;
    const { subject, ...said } = next.draft;
    const { number: n, index, key } = next;
    const app = decodeToken(appOfKey(key)) ?? appOfKey(key);
    const uid = decodeToken(uidOfKey(key)) ?? uidOfKey(key);
    const atMs = clock.wallMs();
    const event = { v: eventVersion, ...said, app, uid, atMs, shard, epoch, n, index };
    const id = eventId(idc, shard, n, index, this.inbox.generationFloor);
    return { subject, id, payload: encodeEvent(event) };
  }

  private onPublished(shard: Shard): void {
    this.underWay.delete(shard);
    if (this.failures > 0) {
      this.node.log.info("events are published again", { failures: this.failures });
      this.failures = 0;
      this.lastFault = undefined;
    }
    this.publishedCount++;
    this.contexts.get(shard)?.changes.notePublished();
    this.moved.add(shard);
    this.armPositionTick();
    this.addReady(shard);
  }

  /** The same one will be tried again: it may be in the log, which its id then tells. */
  private onFailed({ shard, fault }: EventFailed): void {
    this.underWay.delete(shard);
    if (this.failures === 0) {
      this.node.log.warn("events are held back", { error: fault.message, code: fault.code });
    }
    this.lastFault = fault.message;
    this.addReady(shard);
    if (this.isHeldBack) return;
    this.failures++;
    this.holdBack();
  }

  private holdBack(): void {
    const { random } = this.node;
    this.isHeldBack = true;
    const attempt = Math.min(16, this.failures);
    this.timer(retryMs + fullJitterMs(random, attempt, retryMs, retryMsMax), { kind: "RetryTick" });
  }

  private onRead({ shard, changes: read }: ChangesRead): void {
    this.underWay.delete(shard);
    this.reads.noteRead(shard);
    const changes = this.contexts.get(shard)?.changes;
    const missing = changes?.noteRead(read) ?? 0;
    if (missing > 0) this.node.log.error("changes were lost unpublished", { shard, missing });
    if (changes?.isBehind !== true) this.reads.noteEnd(shard);
    this.addReady(shard);
  }

  /** Nobody else waits for it: not the other shards, nor the events that are known. */
  private onReadFailed({ shard, fault }: ReadFailed): void {
    this.underWay.delete(shard);
    const changes = this.contexts.get(shard)?.changes;
    const restMs = this.reads.noteFailed(shard, fault);
    const { log } = this.node;
    if (restMs !== undefined) {
      log.warn("changes cannot be read now", { shard, error: fault.message, restMs });
      // Only one that has told all it knew is read, so nothing of it waits for this.
      this.resting.add(shard);
      this.timer(restMs, { kind: "RestedTick", shard } satisfies RestedTick);
      return;
    }
    const number = changes?.passOver();
    log.error("a change cannot be read, and is not told", { shard, number, error: fault.message });
    if (changes?.isBehind !== true) this.reads.noteEnd(shard);
    this.moved.add(shard);
    this.armPositionTick();
    this.addReady(shard);
  }

  // ---- positions ----

  private armPositionTick(): void {
    if (this.isPositionTickArmed || this.moved.size === 0) return;
    this.isPositionTickArmed = true;
    this.timer(storePositionMs, { kind: "PositionTick" });
  }

  /** Most are stored by the commits that come anyway; this is for shards without any. */
  private storePositions(): void {
    if (this.isStoring) {
      this.armPositionTick();
      return;
    }
    const nowMs = this.node.clock.monotonicMs();
    const writes: ShardWrite[] = [];
    for (const shard of this.moved) {
      if (writes.length === positionsPerWriteMax) break;
      const { changes, epoch } = this.contexts.get(shard) as ShardContext;
      if (changes.isOver || !changes.wouldRepeat) this.moved.delete(shard);
      const publishedChange = changes.positionDue(nowMs);
      if (publishedChange !== undefined)
        writes.push({ shard, epoch, publishedChange, sessions: [] });
    }
    this.armPositionTick();
    if (writes.length === 0 || !mayServe(this.node, this.incarnation)) return;
    this.isStoring = true;
    this.pipe(
      this.inbox.commit(writes),
      (answers) => ({ kind: "PositionsStored", by: this, writes, answers }),
      () => ({ kind: "PositionsStored", by: this, writes, answers: [] }),
    );
  }

  /** Of a fence above this node's the shard may hear by nothing else for long. */
  private onStored({ writes, answers }: PositionsStored): void {
    this.isStoring = false;
    const nowMs = this.node.clock.monotonicMs();
    const fenced = new Map<Shard, number>();
    for (const [index, { shard, publishedChange = 0 }] of writes.entries()) {
      const answer = answers[index];
      if (answer?.ok === true) {
        this.contexts.get(shard)?.changes.noteStored(publishedChange, nowMs);
      } else if (answer !== undefined) {
        fenced.set(shard, answer.epoch);
      }
    }
    if (fenced.size > 0) this.onFenced(fenced);
  }

  /** What keeps the log from taking events; undefined while it takes them. */
  get heldBack(): string | undefined {
    return this.lastFault;
  }

  override inspect(): Record<string, unknown> {
    const { heldBack } = this;
    return {
      published: this.publishedCount,
      underWay: this.underWay.size,
      readsFailing: this.reads.failing,
      unreadable: this.reads.unreadable,
      ...figuresOf(this.contexts),
      ...(heldBack === undefined ? {} : { heldBack }),
    };
  }
}

/** Of all shards of a group together. */
export function figuresOf(contexts: ReadonlyMap<Shard, ShardContext>) {
  let unpublished = 0;
  let lost = 0;
  for (const { changes } of contexts.values()) {
    unpublished += changes.unpublished;
    lost += changes.lost;
  }
  return { unpublished, lost };
}
