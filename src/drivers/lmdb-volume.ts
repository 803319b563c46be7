/**
 * A group of shards in one LMDB environment.
 *
 * Requests wait in one queue; what has gathered while a transaction is on its way to
 * the disk becomes the next one. This process alone has the environment open and one
 * transaction is in flight, so when a request is judged, the fences and numbers in
 * memory are those that stand before it in the order of the disk. Fences were read
 * from disk at opening: a lower epoch never passes, not even after a crash between a
 * raise and its answer.
 *
 *   open ──no room for a transaction──▶ open (it had no effect, later ones try again)
 *     ├──the fate of a transaction is unknown──▶ broken (every call faults)
 *     └──close──▶ closed
 */
import { Fault } from "../base/result.js";
import type {
  CommitAnswer,
  Due,
  EntrySummary,
  FenceAnswer,
  FenceRequest,
  IdempotencyKey,
  InboxGroup,
  NumberedChange,
  SessionNames,
  SessionRecord,
  SessionSize,
  ShardWrite,
  StoredEntry,
  StoredSession,
} from "../ports/inbox-store.js";
import type { SessionKey, Shard } from "../protocol/shards.js";
import { ByteReader, WriteBatch } from "./lmdb-bytes.js";
import { readLog } from "./lmdb-change-log.js";
import type { LmdbEnvironment } from "./lmdb-environment.js";
import * as layout from "./lmdb-layout.js";
import * as records from "./lmdb-records.js";
import { ShardTable } from "./lmdb-shard-table.js";

/** What one transaction takes at most, so that a long queue does not wait for all of itself. */
const batchBytesMax = 4 * 1024 * 1024;
/** Callers keep one commit a group in flight; far more waiting means that they do not. */
const queueMax = 10_000;

/** Encodes itself into a batch and returns how to answer once that is on disk. */
interface Request {
  encode(): () => void;
  fail(error: unknown): void;
}

export class LmdbVolume implements InboxGroup {
  private readonly batch = new WriteBatch();
  private readonly shards: ShardTable;
  private readonly queue: Request[] = [];
  /** The transaction on its way to the disk. */
  private inFlight: Promise<void> | undefined;
  private broken: Fault | undefined;
  private closing: Promise<void> | undefined;
  /** Copies under way; they read the environment, which is closed after them. */
  private readonly copies = new Set<Promise<void>>();
  readonly generationFloor: number;

  /** Throws where fences of other shards are in it. `release` is called when the environment is closed. */
  constructor(
    private readonly environment: LmdbEnvironment,
    shards: readonly Shard[],
    private readonly release: () => Promise<void>,
  ) {
    this.shards = new ShardTable(environment, shards);
    this.generationFloor = records.readGenerationFloor(environment.get(layout.floorReadKey()));
  }

  raise(requests: readonly FenceRequest[]): Promise<readonly FenceAnswer[]> {
    return this.enqueue(() => requests.map((request) => this.shards.raise(this.batch, request)));
  }

  commit(writes: readonly ShardWrite[]): Promise<readonly CommitAnswer[]> {
    return this.enqueue(() => writes.map((write) => this.shards.commit(this.batch, write)));
  }

  async loadSession(shard: Shard, key: SessionKey): Promise<StoredSession | undefined> {
    this.checkUsable();
    return this.reading(() => readSession(this.environment, shard, key));
  }

  async namesOf(shard: Shard, key: SessionKey): Promise<SessionNames> {
    this.checkUsable();
    return this.reading(() => readNames(this.environment, shard, key));
  }

  async readEntries(
    shard: Shard,
    key: SessionKey,
    afterSeq: number,
    countMax: number,
    bytesMax: number,
  ): Promise<readonly StoredEntry[]> {
    this.checkUsable();
    return this.reading(() => {
      const read: StoredEntry[] = [];
      let bytes = 0;
      const range = layout.sessionEntriesRange(shard, key, afterSeq + 1);
      for (const stored of this.environment.range(range)) {
        const entry = records.readEntry(layout.numberIn(stored.key), stored.value);
        bytes += entry.record.length;
        if (read.length === countMax || (read.length > 0 && bytes > bytesMax)) break;
        read.push(entry);
      }
      return read;
    });
  }

  async readDue(shard: Shard, untilMs: number, countMax: number): Promise<readonly Due[]> {
    this.checkUsable();
    return this.reading(() => {
      const due: Due[] = [];
      for (const key of this.environment.keys(layout.dueRange(shard, untilMs))) {
        if (due.length === countMax) break;
        const sessionKey = new ByteReader(key, layout.dueOffset + 8).restText() as SessionKey;
        due.push({ atMs: layout.numberIn(key, layout.dueOffset), key: sessionKey });
      }
      return due;
    });
  }

  async readChanges(
    shard: Shard,
    afterNumber: number,
    countMax: number,
  ): Promise<readonly NumberedChange[]> {
    this.checkUsable();
    return this.reading(() => readLog(this.environment, shard, afterNumber, countMax));
  }

  async listSessions(
    shard: Shard,
    afterKey: string,
    countMax: number,
  ): Promise<readonly SessionSize[]> {
    this.checkUsable();
    return this.reading(() => readSizes(this.environment, shard, afterKey, countMax));
  }

  async backUp(folder: string, permit: string): Promise<void> {
    this.checkUsable();
    const copy = this.environment.copyTo(folder, permit);
    this.copies.add(copy);
    await copy.finally(() => this.copies.delete(copy));
  }

  close(): Promise<void> {
    this.closing ??= this.closeOnce();
    return this.closing;
  }

  private async closeOnce(): Promise<void> {
    while (this.inFlight !== undefined) await this.inFlight;
    await Promise.allSettled(this.copies);
    // Its write thread may hold the lock that closing would wait for, on this thread.
    if (this.broken !== undefined) throw this.broken;
    await this.environment.close();
    await this.release();
  }

  private checkUsable(): void {
    if (this.broken !== undefined) {
      const message = `the group is broken since: ${this.broken.message}`;
      throw new Fault("STORE_UNAVAILABLE", "not-done", message, { cause: this.broken });
    }
    if (this.closing === undefined) return;
    throw new Fault("STORE_UNAVAILABLE", "not-done", "the group of shards is closed");
  }

  private reading<Value>(read: () => Value): Value {
    try {
      return read();
    } catch (cause) {
      if (cause instanceof Fault) throw cause;
      const message = `the store cannot be read: ${(cause as Error).message}`;
      throw new Fault("STORE_UNAVAILABLE", "not-done", message, { cause });
    }
  }

  private async enqueue<Answer>(encode: () => Answer): Promise<Answer> {
    this.checkUsable();
    if (this.queue.length >= queueMax) {
      const message = `${queueMax} commits are waiting for the disk`;
      throw new Fault("STORE_UNAVAILABLE", "not-done", message);
    }
    return new Promise((resolve, fail) => {
      this.queue.push({
        encode: () => {
          const answer = encode();
          return () => resolve(answer);
        },
        fail,
      });
      this.inFlight ??= this.drain();
    });
  }

  /** Ends when the queue is empty; never throws. */
  private async drain(): Promise<void> {
    // Commits of one turn share a transaction; and `inFlight` is set before it is cleared.
    await undefined;
    while (this.queue.length > 0) {
      const requests: Request[] = [];
      try {
        const answers = this.encode(requests);
        if (this.batch.count > 0) await this.environment.write(this.batch);
        this.shards.settle();
        this.batch.clear();
        for (const answer of answers) answer();
      } catch (error) {
        this.onFailed(requests, error);
      }
    }
    this.inFlight = undefined;
  }

  private encode(requests: Request[]): (() => void)[] {
    const answers: (() => void)[] = [];
    while (this.batch.byteCount < batchBytesMax) {
      const request = this.queue.shift();
      if (request === undefined) break;
      requests.push(request);
      answers.push(request.encode());
    }
    this.shards.finish(this.batch);
    return answers;
  }

  private onFailed(requests: readonly Request[], error: unknown): void {
    if (error instanceof Fault && error.outcome === "unknown") {
      this.broken = error;
      // LMDB may still read the batch, so it is left as it is.
      for (const request of this.queue.splice(0)) request.fail(notDone(error));
    } else {
      this.batch.clear();
      this.shards.undo();
    }
    for (const request of requests) request.fail(error);
  }
}

function notDone(cause: Fault): Fault {
  return new Fault("STORE_UNAVAILABLE", "not-done", cause.message, { cause });
}

function readSession(
  environment: LmdbEnvironment,
  shard: Shard,
  key: SessionKey,
): StoredSession | undefined {
  let record: SessionRecord | undefined;
  let lastSeq = 0;
  const entries: EntrySummary[] = [];
  const keys: IdempotencyKey[] = [];
  const partAt = layout.partOffset(key);
  for (const stored of environment.range(layout.sessionRange(shard, key))) {
    const { key: name, value } = stored;
    switch (name[partAt]) {
      case layout.sessionPart.record:
        record = decoded("a session's record", () => records.readSessionRecord(value));
        break;
      case layout.sessionPart.droppedSeq:
        lastSeq = decoded("a session's last seq", () => records.readDroppedSeq(value));
        break;
      case layout.sessionPart.entry: {
        const seq = layout.numberIn(name);
        entries.push(decoded("an entry", () => records.readEntrySummary(seq, value)));
        break;
      }
      case layout.sessionPart.idempotencyKey: {
        const id = new ByteReader(name, partAt + 1).restText();
        keys.push(decoded("an idempotency key", () => records.readIdempotencyKey(id, value)));
        break;
      }
      // Parts of a later release are not for this one.
    }
  }
  if (record === undefined && lastSeq === 0 && entries.length + keys.length === 0) return undefined;
  record ??= { generation: 0, lastSeq: 0, devices: [] };
  lastSeq = Math.max(record.lastSeq, lastSeq, entries.at(-1)?.seq ?? 0);
  return { record: { ...record, lastSeq }, entries, keys };
}

/** Throws Fault("STORE_CORRUPT", "not-done"): this session's alone, others go on. */
function decoded<Value>(what: string, decode: () => Value): Value {
  try {
    return decode();
  } catch (cause) {
    const message = `${what} in the store cannot be read: ${(cause as Error).message}`;
    throw new Fault("STORE_CORRUPT", "not-done", message, { cause });
  }
}

function readNames(environment: LmdbEnvironment, shard: Shard, key: SessionKey): SessionNames {
  const seqs: number[] = [];
  const keys: string[] = [];
  const partAt = layout.partOffset(key);
  for (const name of environment.keys(layout.sessionRange(shard, key))) {
    const part = name[partAt];
    if (part === layout.sessionPart.entry) seqs.push(layout.numberIn(name));
    if (part !== layout.sessionPart.idempotencyKey) continue;
    keys.push(new ByteReader(name, partAt + 1).restText());
  }
  return { seqs, keys };
}

/** One that does not read counts with all its bytes: others of its app are counted, too. */
function bytesOf(entry: Uint8Array): number {
  try {
    return records.readEntrySummary(0, entry).bytes;
  } catch {
    return entry.length;
  }
}

function readSizes(
  environment: LmdbEnvironment,
  shard: Shard,
  afterKey: string,
  countMax: number,
): SessionSize[] {
  const sizes: { key: SessionKey; messages: number; bytes: number }[] = [];
  for (const { key, value } of environment.range(layout.sessionsRange(shard, afterKey))) {
    const end = key.indexOf(0, layout.sessionOffset);
    if (key[end + 1] !== layout.sessionPart.entry) continue;
    const name = new ByteReader(
      key.subarray(0, end),
      layout.sessionOffset,
    ).restText() as SessionKey;
    const last = sizes.at(-1);
    const bytes = bytesOf(value);
    if (last?.key === name) {
      last.messages += 1;
      last.bytes += bytes;
      continue;
    }
    if (sizes.length === countMax) break;
    sizes.push({ key: name, messages: 1, bytes });
  }
  return sizes;
}
