/**
 * The change log of one shard as its owner knows it: how far it is committed, looked
 * through, published and stored as published; and the changes that make events and
 * still wait.
 *
 *   stored <= published <= scanned <= last
 *
 * A commit tells what it changed, so that nothing is read back. Where more waits than
 * is kept here, `scanned` stays behind, and the publisher reads on from the store.
 */
import type { AppDirectory } from "../src/ports/app-directory.js";
import type { Change, Fence, NumberedChange, SessionWrite } from "../src/ports/inbox-store.js";
import type { AppEvents } from "../src/protocol/app-settings.js";
import { appOfKey, type SessionKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import { countEvents, type EventDraft, eventAt } from "./change-events.js";

/** Events of one shard that wait in memory; those of one change may pass it. */
export const waitingEventsMax = 256;
/** Published ones that nobody was told of are stored as published when there are so many. */
const silentMax = 256;
/** After an event the position is stored within about so long: a new owner repeats the rest. */
export const storePositionMs = 1_000;

interface Waiting {
  readonly number: number;
  readonly key: SessionKey;
  readonly change: Change;
  readonly eventCount: number;
}

/** What its services want to be told; undefined is nothing. */
export function wishesOf(apps: AppDirectory, key: SessionKey): AppEvents | undefined {
  return apps.find(decodeToken(appOfKey(key)) ?? "")?.events;
}

export interface NextEvent {
  readonly number: number;
  readonly index: number;
  readonly key: SessionKey;
  readonly draft: EventDraft;
}

export class ShardChanges {
  /** Changes that were gone from the store before they could be published. */
  lost = 0;
  /** The shard has another owner. */
  isOver = false;
  private last: number;
  private scanned: number;
  private stored: number;
  private storedAtMs = 0;
  /** Up to here events were published. */
  private told = 0;
  private waiting: Waiting[] = [];
  private waitingEvents = 0;
  /** Of the first that waits, so many events are published. */
  private index = 0;

  constructor(
    { lastChange, publishedChange }: Fence,
    private readonly apps: AppDirectory,
  ) {
    this.last = lastChange;
    this.scanned = publishedChange;
    this.stored = publishedChange;
  }

  get published(): number {
    return (this.waiting[0]?.number ?? this.scanned + 1) - 1;
  }

  /** Changes that a new owner would find unpublished if it began now. */
  get unpublished(): number {
    return this.last - this.published;
  }

  get scannedNumber(): number {
    return this.scanned;
  }

  get isBehind(): boolean {
    return this.scanned < this.last;
  }

  get hasWork(): boolean {
    return !this.isOver && (this.waiting.length > 0 || this.isBehind);
  }

  /** A commit is on disk, and its last change has the number `lastChange`. */
  noteCommitted(lastChange: number, sessions: readonly SessionWrite[]): void {
    const wasBehind = this.isBehind;
    let count = 0;
    for (const { changes } of sessions) count += changes.length;
    this.last = Math.max(this.last, lastChange);
    // Another owner's or an unknown commit's may lie between: the store knows.
    if (wasBehind || lastChange - count !== this.scanned) return;
    for (const { key, changes } of sessions) {
      const wishes = changes.length === 0 ? undefined : wishesOf(this.apps, key);
      if (wishes === undefined) {
        this.scanned += changes.length;
        continue;
      }
      for (const change of changes) {
        if (!this.take(key, change, wishes)) return;
      }
    }
  }

  /** What the store has above `scanned`. Returns how many are missing before the first. */
  noteRead(read: readonly NumberedChange[]): number {
    const before = this.scanned;
    // None at all, though there were some: they are gone, or another owner has published them.
    const firstNumber = read[0]?.number ?? this.last + 1;
    const missing = Math.max(0, firstNumber - 1 - before);
    this.scanned += missing;
    this.lost += missing;
    for (const { number, key, change } of read) {
      if (number <= this.scanned) continue;
      if (!this.take(key, change, wishesOf(this.apps, key) ?? {})) break;
    }
    this.last = Math.max(this.last, this.scanned);
    return missing;
  }

  /** The next one cannot be read: it is told to nobody. Returns its number. */
  passOver(): number {
    this.scanned += 1;
    this.lost += 1;
    return this.scanned;
  }

  /** False when there is no room. */
  private take(key: SessionKey, change: Change, wishes: AppEvents): boolean {
    const eventCount = countEvents(change, wishes);
    if (eventCount > 0) {
      if (this.waitingEvents > 0 && this.waitingEvents + eventCount > waitingEventsMax)
        return false;
      this.waiting.push({ number: this.scanned + 1, key, change, eventCount });
      this.waitingEvents += eventCount;
    }
    this.scanned += 1;
    return true;
  }

  /** The event to be published now; the same until `notePublished`. */
  next(): NextEvent | undefined {
    for (let first = this.waiting[0]; first !== undefined; first = this.waiting[0]) {
      const { number, key, change } = first;
      const { index } = this;
      const draft = eventAt(key, change, wishesOf(this.apps, key) ?? {}, index);
      if (draft !== undefined) return { number, key, index, draft };
      // The app wants it no more since it was put here.
      this.shift(first);
    }
    return undefined;
  }

  /** The event of `next` is in the log. */
  notePublished(): void {
    const first = this.waiting[0];
    if (first === undefined) return;
    this.index += 1;
    if (this.index < first.eventCount) return;
    this.told = first.number;
    this.shift(first);
  }

  private shift(first: Waiting): void {
    this.waiting.shift();
    this.waitingEvents -= first.eventCount;
    this.index = 0;
  }

  /** Published further than is stored. */
  get isAhead(): boolean {
    return !this.isOver && this.published > this.stored;
  }

  /** The position that is to be stored with the next write; undefined while it may wait. */
  positionDue(nowMs: number): number | undefined {
    const { published, stored } = this;
    if (!this.isAhead) return undefined;
    if (published - stored >= silentMax) return published;
    return this.told > stored && nowMs - this.storedAtMs >= storePositionMs ? published : undefined;
  }

  /** Whether events were published that a new owner would publish again. */
  get wouldRepeat(): boolean {
    return this.told > this.stored;
  }

  noteStored(position: number, nowMs: number): void {
    this.stored = Math.max(this.stored, position);
    this.storedAtMs = nowMs;
  }
}
