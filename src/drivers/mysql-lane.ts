/**
 * What some groups of this process write to MySQL: one connection, one transaction in
 * flight. What gathers meanwhile, from all of these groups, becomes the next one, in
 * the order in which it came.
 *
 * The shards' rows are remembered as the last transaction left them, because nobody
 * else writes to them; each transaction proves it (mysql-transaction.ts), and where it
 * is not so they are read again and the writes judged anew.
 *
 *   open ──refused, or no server──▶ open (it had no effect, later ones try again)
 *     └──the fate of a transaction is unknown──▶ broken (every call faults)
 */
import { Fault } from "../base/result.js";
import type { CommitAnswer, FenceAnswer, FenceRequest, ShardWrite } from "../ports/inbox-store.js";
import type { Shard } from "../protocol/shards.js";
import type { MysqlPool } from "./mysql-pool.js";
import {
  fenced,
  judgeRaise,
  killWriters,
  raisePacket,
  raiseRowsAt,
  roundsOf,
} from "./mysql-raise.js";
import { readShards, type StoredShard, shardsQuery } from "./mysql-shards.js";
import { isFenceRefusal, publishedAfter, transactionPackets } from "./mysql-transaction.js";
import { type MysqlWriter, TransactionRefused } from "./mysql-writer.js";
import { NetShard } from "./net-writes.js";

/** A shard's rows went from one version to the next. */
export interface WrittenShard {
  readonly before: StoredShard;
  readonly after: StoredShard;
  /** Undefined for a raise, which changes no session. */
  readonly net: NetShard | undefined;
}

/** Told of each transaction when it is on disk, before anybody is answered. */
export type OnWritten = (written: readonly WrittenShard[]) => void;

export interface LaneBounds {
  /** For one transaction, with all its tries and the wait for a connection. */
  readonly commitDeadlineMs: number;
  readonly raiseDeadlineMs: number;
}

/** What one transaction takes at most, so that a long queue does not wait for all of itself. */
const batchBytesMax = 4 * 1024 * 1024;
/** Callers keep one commit a group in flight; far more waiting means that they do not. */
const queueMax = 20_000;
/** Deadlocks and stale versions in a row; more are no accident. */
const triesMax = 4;

interface CommitRequest {
  readonly kind: "commit";
  readonly writes: readonly ShardWrite[];
  readonly bytes: number;
  readonly resolve: (answers: readonly CommitAnswer[]) => void;
  readonly reject: (error: unknown) => void;
}

interface RaiseRequest {
  readonly kind: "raise";
  readonly fences: readonly FenceRequest[];
  readonly resolve: (answers: readonly FenceAnswer[]) => void;
  readonly reject: (error: unknown) => void;
}

export class MysqlLane {
  /** Rows as they stand; what is not here is read when first needed. */
  private readonly shards = new Map<Shard, StoredShard>();
  private readonly queue: (CommitRequest | RaiseRequest)[] = [];
  private inFlight: Promise<void> | undefined;
  private brokenBy: Fault | undefined;
  /** Connections of silent writers that were ended to raise a fence. */
  killedWriters = 0;

  constructor(
    private readonly writer: MysqlWriter,
    private readonly pool: MysqlPool,
    private readonly bounds: LaneBounds,
    private readonly onWritten: OnWritten,
  ) {}

  /** Throws Fault("STORE_UNAVAILABLE", "not-done") when MySQL does not answer. */
  async connect(): Promise<void> {
    await this.writer.connection(this.bounds.commitDeadlineMs);
  }

  get isBroken(): boolean {
    return this.brokenBy !== undefined;
  }

  raise(fences: readonly FenceRequest[]): Promise<readonly FenceAnswer[]> {
    return this.enqueue((resolve, reject) => ({ kind: "raise", fences, resolve, reject }));
  }

  commit(writes: readonly ShardWrite[]): Promise<readonly CommitAnswer[]> {
    const bytes = bytesOf(writes);
    return this.enqueue((resolve, reject) => ({ kind: "commit", writes, bytes, resolve, reject }));
  }

  /** The row as the last transaction left it; undefined while it was not read. */
  known(shard: Shard): StoredShard | undefined {
    return this.shards.get(shard);
  }

  forget(shard: Shard): void {
    this.shards.delete(shard);
  }

  /** Throws Fault("STORE_UNAVAILABLE", "not-done") when it is broken. */
  checkUsable(): void {
    if (this.brokenBy === undefined) return;
    const message = `the store's connection is broken since: ${this.brokenBy.message}`;
    throw new Fault("STORE_UNAVAILABLE", "not-done", message, { cause: this.brokenBy });
  }

  async close(): Promise<void> {
    while (this.inFlight !== undefined) await this.inFlight;
    await this.writer.close();
  }

  private async enqueue<Answer>(
    make: (
      resolve: (answer: Answer) => void,
      reject: (error: unknown) => void,
    ) => CommitRequest | RaiseRequest,
  ): Promise<Answer> {
    this.checkUsable();
    if (this.queue.length >= queueMax) {
      const message = `${queueMax} commits are waiting for MySQL`;
      throw new Fault("STORE_UNAVAILABLE", "not-done", message);
    }
    return new Promise<Answer>((resolve, reject) => {
      this.queue.push(make(resolve, reject));
      this.inFlight ??= this.drain();
    });
  }

  /** Ends when the queue is empty; never throws. */
  private async drain(): Promise<void> {
    // Commits of one turn share a transaction; and `inFlight` is set before it is cleared.
    await undefined;
    while (this.queue.length > 0) {
      if (this.brokenBy !== undefined) this.failWaiting();
      else if (this.queue[0]?.kind === "raise") await this.serveRaises();
      else await this.serveCommits();
    }
    this.inFlight = undefined;
  }

  private failWaiting(): void {
    for (const { reject } of this.queue.splice(0)) {
      try {
        this.checkUsable();
      } catch (fault) {
        reject(fault);
      }
    }
  }

  /** All raises that wait together: many groups are opened at once. */
  private async serveRaises(): Promise<void> {
    const requests: RaiseRequest[] = [];
    while (this.queue[0]?.kind === "raise") requests.push(this.queue.shift() as RaiseRequest);
    try {
      const answers = new Map<FenceRequest, FenceAnswer>();
      for (const round of roundsOf(requests.flatMap(({ fences }) => fences))) {
        for (const [at, answer] of (await this.raiseRound(round)).entries()) {
          answers.set(round[at] as FenceRequest, answer);
        }
      }
      for (const { fences, resolve } of requests) {
        resolve(fences.map((fence) => answers.get(fence) as FenceAnswer));
      }
    } catch (error) {
      const fault = this.noted(error);
      for (const { reject } of requests) reject(fault);
    }
  }

  private async serveCommits(): Promise<void> {
    const requests: CommitRequest[] = [];
    let bytes = 0;
    for (;;) {
      const next = this.queue[0];
      if (next?.kind !== "commit" || (requests.length > 0 && bytes + next.bytes > batchBytesMax)) {
        break;
      }
      bytes += next.bytes;
      requests.push(next);
      this.queue.shift();
    }
    try {
      const answers = await this.transact(requests.map(({ writes }) => writes));
      for (const [at, { resolve }] of requests.entries()) resolve(answers[at] ?? []);
    } catch (error) {
      const fault = this.noted(error);
      for (const { reject } of requests) reject(fault);
    }
  }

  /** A fault as the callers get it; one of unknown outcome ends the group. */
  private noted(error: unknown): unknown {
    if (error instanceof TransactionRefused) {
      const message = `MySQL refused (${error.errno}): ${error.message}`;
      return new Fault("STORE_UNAVAILABLE", "not-done", message, { cause: error });
    }
    if (error instanceof Fault && error.outcome === "not-done") return error;
    const message = error instanceof Error ? error.message : String(error);
    this.brokenBy =
      error instanceof Fault ? error : new Fault("STORE_UNAVAILABLE", "unknown", message);
    this.writer.destroy();
    return error;
  }

  private async transact(
    commits: readonly (readonly ShardWrite[])[],
  ): Promise<readonly (readonly CommitAnswer[])[]> {
    const leftMs = deadline(this.bounds.commitDeadlineMs);
    for (let tries = 1; ; tries++) {
      const connection = await this.writer.connection(leftMs());
      await this.readUnknown(commits, leftMs);
      const { answers, nets, written } = this.judge(commits);
      if (nets.length === 0) return answers;
      const known = (shard: Shard) => this.shards.get(shard) as StoredShard;
      const packets = transactionPackets(nets, known, connection.packetBytesMax);
      try {
        await this.writer.transact(connection, packets, leftMs);
        this.settle(written);
        return answers;
      } catch (error) {
        if (!(error instanceof TransactionRefused) || tries === triesMax) throw error;
        if (isFenceRefusal(error)) for (const { shard } of nets) this.forget(shard);
        else if (!error.isDeadlock) throw error;
      }
    }
  }

  private judge(commits: readonly (readonly ShardWrite[])[]) {
    const nets = new Map<Shard, NetShard>();
    const lastChanges = new Map<Shard, number>();
    const answers = commits.map((writes) =>
      writes.map((write): CommitAnswer => {
        const row = this.shards.get(write.shard) as StoredShard;
        if (write.epoch < row.epoch) return fenced(row);
        const net = nets.get(write.shard) ?? new NetShard(write.shard);
        if (net.add(write, row.reservedUntilMs)) nets.set(write.shard, net);
        const lastChange = row.lastChange + net.changes.length;
        lastChanges.set(write.shard, lastChange);
        return { ok: true, value: { lastChange }, epoch: row.epoch };
      }),
    );
    const written = [...nets.values()].map((net): WrittenShard => {
      const before = this.shards.get(net.shard) as StoredShard;
      const reservedUntilMs = Math.max(before.reservedUntilMs, net.reserveUntilMs);
      const lastChange = lastChanges.get(net.shard) ?? before.lastChange;
      const publishedChange = publishedAfter(net, before);
      const version = before.version + 1;
      const after = { ...before, version, lastChange, publishedChange, reservedUntilMs };
      return { before, after, net };
    });
    return { answers, nets: [...nets.values()], written };
  }

  private settle(written: readonly WrittenShard[]): void {
    for (const { after } of written) this.shards.set(after.shard, after);
    this.onWritten(written);
  }

  private async readUnknown(
    commits: readonly (readonly ShardWrite[])[],
    leftMs: () => number,
  ): Promise<void> {
    const unknown = new Set<Shard>();
    for (const { shard } of commits.flat()) if (!this.shards.has(shard)) unknown.add(shard);
    if (unknown.size === 0) return;
    const rows = await this.pool.read(shardsQuery([...unknown]), leftMs());
    for (const row of readShards(rows, [...unknown])) this.shards.set(row.shard, row);
  }

  private async raiseRound(requests: readonly FenceRequest[]): Promise<readonly FenceAnswer[]> {
    const leftMs = deadline(this.bounds.raiseDeadlineMs);
    const shards = requests.map(({ shard }) => shard);
    for (let tries = 1; ; tries++) {
      const connection = await this.writer.connection(leftMs());
      try {
        const packet = raisePacket(requests, this.writer.name);
        const answers = await this.writer.transact(connection, [packet], leftMs);
        return this.raised(requests, readShards(answers[raiseRowsAt] ?? [], shards));
      } catch (error) {
        if (!(error instanceof TransactionRefused) || tries === triesMax) throw error;
        if (error.isLockWait) {
          const { name } = this.writer;
          this.killedWriters += await killWriters(this.pool, shards, name, leftMs());
        } else if (!error.isDeadlock) throw error;
      }
    }
  }

  private raised(
    requests: readonly FenceRequest[],
    rows: readonly StoredShard[],
  ): readonly FenceAnswer[] {
    const byShard = new Map(rows.map((row) => [row.shard, row]));
    const written: WrittenShard[] = [];
    const answers = requests.map((request) => {
      const before = byShard.get(request.shard) as StoredShard;
      const { answer, after } = judgeRaise(request, before);
      this.shards.set(request.shard, after);
      if (answer.ok) written.push({ before, after, net: undefined });
      return answer;
    });
    this.settle(written);
    return answers;
  }
}

/** What is left of `totalMs` from now on, at least 1. */
function deadline(totalMs: number): () => number {
  const endMs = performance.now() + totalMs;
  return () => Math.max(1, endMs - performance.now());
}

function bytesOf(writes: readonly ShardWrite[]): number {
  let bytes = 0;
  for (const { sessions } of writes) {
    for (const { append = [] } of sessions)
      for (const entry of append) bytes += entry.record.length;
  }
  return bytes;
}
