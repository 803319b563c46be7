/**
 * One watch of a bucket that lives through the server's absence.
 *
 * The client's own watcher notices a restarted server only after two missed
 * heartbeats, and resumes by revision, which a rolled-back bucket repeats. So after
 * each reconnect the bucket is read again: every present key is told once more, and
 * of those that are no longer there, that they are gone.
 *
 *   reading ──read──▶ following ──restart (reconnected)──▶ reading
 *      └──failed──▶ waiting ──retryMs──▶ reading      (also when following ends by itself)
 *
 * Invariant: `known` are the keys of which onChange was last told an entry.
 */
import type { KeyValueEntry } from "../ports/key-value.js";

export interface BucketSource {
  snapshot(): Promise<{ readonly entries: readonly KeyValueEntry[]; readonly revision: number }>;
  /** Calls `onEnd` when it ends, also by the returned function. */
  follow(fromRevision: number, onEntry: OnEntry, onEnd: () => void): Promise<() => void>;
}

type OnEntry = (key: string, entry: KeyValueEntry | undefined) => void;

const retryMs = 500;

export class BucketWatch {
  private readonly known = new Set<string>();
  /** Each reading has a number; what an older one still brings is not told. */
  private reading = 0;
  private unfollow: (() => void) | undefined;
  private retry: NodeJS.Timeout | undefined;

  constructor(
    private readonly source: BucketSource,
    private readonly onChange: OnEntry,
  ) {}

  /** Tells what is present and follows from there. Throws what the source throws. */
  async start(): Promise<void> {
    const reading = this.beginReading();
    const isCurrent = () => reading === this.reading;
    const { entries, revision } = await this.source.snapshot();
    if (!isCurrent()) return;
    this.tellAll(entries);
    const unfollow = await this.source.follow(
      revision + 1,
      (key, entry) => {
        if (isCurrent()) this.tell(key, entry);
      },
      () => {
        if (isCurrent()) this.restartLater();
      },
    );
    if (isCurrent()) this.unfollow = unfollow;
    else unfollow();
  }

  restart(): void {
    const started = this.start();
    const { reading } = this;
    started.catch(() => {
      if (reading === this.reading) this.restartLater();
    });
  }

  stop(): void {
    this.beginReading();
  }

  private beginReading(): number {
    clearTimeout(this.retry);
    this.unfollow?.();
    this.unfollow = undefined;
    this.reading += 1;
    return this.reading;
  }

  private restartLater(): void {
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.restart(), retryMs);
  }

  private tellAll(entries: readonly KeyValueEntry[]): void {
    const gone = new Set(this.known);
    for (const entry of entries) {
      gone.delete(entry.key);
      this.tell(entry.key, entry);
    }
    for (const key of gone) this.tell(key, undefined);
  }

  private tell(key: string, entry: KeyValueEntry | undefined): void {
    if (entry === undefined) this.known.delete(key);
    else this.known.add(key);
    this.onChange(key, entry);
  }
}
