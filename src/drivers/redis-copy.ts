/**
 * The copy of this node's shards in Redis: written after MySQL, read in its place.
 *
 * It is kept without waiting for it. Each transaction sends what it changed, under the
 * version that MySQL gave it; calls on one connection are carried out in their order,
 * so a read that follows sees it. Whatever goes wrong (a lost call, FLUSHALL, another
 * owner) makes the copy's version another than the one expected; then the shard is
 * void, reads go to MySQL, and the next one begins the copy anew.
 *
 *   void ──next read: takes over under a new token──▶ standing
 *   standing ──a script answered void or failed──▶ void
 *   raised: takes over; keeps the sessions where the copy stood at the version before
 *
 * Bounded: a session above `sessionBytesMax` is not held, a session that nobody touched
 * for `ttlMs` expires, at most `fillsMax` sessions are filled at a time.
 */
import { randomBytes } from "node:crypto";
import { Fault } from "../base/result.js";
import type { StoredEntry } from "../ports/inbox-store.js";
import type { SessionKey, Shard } from "../protocol/shards.js";
import type { WrittenShard } from "./mysql-lane.js";
import type { NetShard } from "./net-writes.js";
import type { RedisClient, ScriptArgument } from "./redis-client.js";
import { advanceArguments, fillArguments, partsOf, unpackEntry } from "./redis-entries.js";
import { status } from "./redis-scripts.js";
import type { SessionParts } from "./session-parts.js";

export interface CopyBounds {
  /** What all keys begin with; one Redis may serve several systems. */
  readonly prefix: string;
  readonly ttlMs: number;
  readonly sessionBytesMax: number;
}

export interface CopySource {
  readSession(shard: Shard, key: SessionKey): Promise<SessionParts>;
  readEntries(shard: Shard, key: SessionKey): Promise<readonly StoredEntry[]>;
}

interface ShardCopy {
  epoch: number;
  version: number;
  isStanding: boolean;
  /** Sessions that may be in the copy; undefined where a predecessor's may be there, too. */
  held: Set<SessionKey> | undefined;
}

const fillsMax = 64;
/** A shard that is written without end is not worth a fourth reading. */
const fillTriesMax = 3;
const heldMax = 10_000;
/** Shards of one script, where there is no Cluster to keep them apart. */
const shardsPerCall = 64;

export class RedisCopy {
  private readonly shards = new Map<Shard, ShardCopy>();
  private readonly filling = new Set<string>();
  private tokens = 0;
  private readonly tokenStem = randomBytes(8).toString("hex");
  readonly counts = { hits: 0, misses: 0, voids: 0, fills: 0, corrupt: 0 };

  constructor(
    private readonly client: RedisClient,
    private readonly bounds: CopyBounds,
    private readonly source: CopySource,
  ) {}

  /** To be called for each transaction, before anybody is answered. */
  onWritten(written: readonly WrittenShard[]): void {
    const advancing: Advance[] = [];
    for (const each of written) {
      const { before, after, net } = each;
      const copy = this.copyOf(after.shard, before);
      const from = standing(copy);
      copy.epoch = after.epoch;
      copy.version = after.version;
      if (net === undefined) this.takeOver(after.shard, copy, standing(before));
      else if (copy.isStanding) advancing.push(new Advance(copy, net, from));
    }
    const size = this.client.place.isCluster ? 1 : shardsPerCall;
    for (let at = 0; at < advancing.length; at += size) {
      void this.advance(advancing.slice(at, at + size));
    }
  }

  /** The row of the shard is not as it was thought: what is here says nothing any more. */
  forget(shard: Shard): void {
    this.shards.delete(shard);
  }

  /** Undefined when MySQL must be asked. Never throws. */
  async readSession(shard: Shard, key: SessionKey): Promise<SessionParts | undefined> {
    const answer = await this.read(shard, key, "load", [this.bounds.ttlMs]);
    if (answer === undefined) return undefined;
    const [, hash, fronts] = answer as [number, Buffer[], (Buffer | number)[]];
    return this.decoding(shard, () => partsOf(hash, fronts));
  }

  /** Undefined when MySQL must be asked. Never throws. */
  async readEntries(
    shard: Shard,
    key: SessionKey,
    afterSeq: number,
    countMax: number,
    bytesMax: number,
  ): Promise<readonly StoredEntry[] | undefined> {
    const answer = await this.read(shard, key, "read", [afterSeq, countMax, bytesMax]);
    if (answer === undefined) return undefined;
    return this.decoding(shard, () => (answer[1] as Buffer[]).map(unpackEntry));
  }

  private async read(
    shard: Shard,
    key: SessionKey,
    script: "load" | "read",
    values: readonly ScriptArgument[],
  ): Promise<readonly unknown[] | undefined> {
    const copy = this.shards.get(shard);
    if (copy === undefined || !this.client.isReady) return undefined;
    if (!copy.isStanding) this.takeOver(shard, copy, "");
    const expected = standing(copy);
    try {
      const keys = this.keysOf(shard, key);
      const sent = this.client.run(script, keys, [expected, ...values], 0);
      const answer = (await sent) as readonly unknown[];
      if (answer[0] === status.hit) {
        this.counts.hits++;
        return answer;
      }
      if (answer[0] === status.void && standing(copy) === expected) this.void(copy);
      this.counts.misses++;
    } catch {
      // A key of another type fails the script, too; filling removes it.
      this.void(copy);
    }
    void this.fill(shard, key);
    return undefined;
  }

  /**
   * Reads the session from MySQL into the copy. Where its shard changed meanwhile the copy
   * refuses, and it is read again: who attaches reads and writes at once.
   */
  private async fill(shard: Shard, key: SessionKey): Promise<void> {
    const copy = this.shards.get(shard);
    const name = `${shard}:${key}`;
    if (copy === undefined || this.filling.size >= fillsMax || this.filling.has(name)) return;
    this.filling.add(name);
    try {
      for (let tries = 0; tries < fillTriesMax; tries++) {
        if (await this.fillOnce(shard, copy, key)) return;
      }
    } catch {
      // Neither store owes this to anybody: the next read tries again.
    } finally {
      this.filling.delete(name);
    }
  }

  /** False where the shard changed meanwhile. */
  private async fillOnce(shard: Shard, copy: ShardCopy, key: SessionKey): Promise<boolean> {
    if (!copy.isStanding) this.takeOver(shard, copy, "");
    const expected = standing(copy);
    const parts = await this.source.readSession(shard, key);
    const bytes = parts.entries.reduce((sum, entry) => sum + entry.bytes, 0);
    if (bytes > this.bounds.sessionBytesMax) return true;
    const entries =
      bytes === 0 && parts.entries.length === 0 ? [] : await this.source.readEntries(shard, key);
    this.hold(copy, key);
    const values = [expected, this.bounds.ttlMs, ...fillArguments(parts, entries)];
    const answer = await this.client.run("fill", this.keysOf(shard, key), values, bytes);
    if (answer !== status.hit) return this.shards.get(shard) !== copy;
    this.counts.fills++;
    return true;
  }

  private takeOver(shard: Shard, copy: ShardCopy, adoptable: string): void {
    copy.isStanding = true;
    copy.held = undefined;
    const token = `${this.tokenStem}${this.tokens++}`;
    const values = [adoptable, standing(copy), token];
    this.client.run("takeOver", [this.versionKey(shard)], values, 0).then(
      (answer) => {
        if (answer === status.fenced) this.void(copy);
        // Sessions that were filled since are the only ones; those are sent all the same.
        else if (answer === status.miss) copy.held ??= new Set(this.fillingOf(shard));
      },
      () => this.void(copy),
    );
  }

  private async advance(advances: readonly Advance[]): Promise<void> {
    const keys: string[] = [];
    const values: ScriptArgument[] = [this.bounds.ttlMs, this.bounds.sessionBytesMax];
    let bytes = 0;
    for (const { copy, net, from } of advances) {
      const sessions = [...net.sessions.values()].filter(({ key }) => copy.held?.has(key) ?? true);
      keys.push(this.versionKey(net.shard));
      values.push(from, standing(copy), sessions.length);
      for (const session of sessions) {
        keys.push(...this.sessionKeys(net.shard, session.key));
        values.push(...advanceArguments(session));
        for (const { record } of session.appended.values()) bytes += record.length;
      }
    }
    try {
      const answers = (await this.client.run("advance", keys, values, bytes)) as number[];
      for (const [at, { copy }] of advances.entries()) {
        if (answers[at] !== status.hit) this.void(copy);
      }
    } catch {
      for (const { copy } of advances) this.void(copy);
    }
  }

  private void(copy: ShardCopy): void {
    if (!copy.isStanding) return;
    copy.isStanding = false;
    this.counts.voids++;
  }

  private decoding<Value>(shard: Shard, decode: () => Value): Value | undefined {
    try {
      return decode();
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.counts.corrupt++;
      const copy = this.shards.get(shard);
      if (copy !== undefined) this.void(copy);
      return undefined;
    }
  }

  private copyOf(
    shard: Shard,
    at: { readonly epoch: number; readonly version: number },
  ): ShardCopy {
    let copy = this.shards.get(shard);
    if (copy === undefined) {
      copy = { epoch: at.epoch, version: at.version, isStanding: false, held: undefined };
      this.shards.set(shard, copy);
    }
    return copy;
  }

  private hold(copy: ShardCopy, key: SessionKey): void {
    if (copy.held === undefined) return;
    if (copy.held.size < heldMax) copy.held.add(key);
    else copy.held = undefined;
  }

  private fillingOf(shard: Shard): SessionKey[] {
    const start = `${shard}:`;
    const names = [...this.filling].filter((name) => name.startsWith(start));
    return names.map((name) => name.slice(start.length) as SessionKey);
  }

  private versionKey(shard: Shard): string {
    return `${this.bounds.prefix}:{${shard}}:v`;
  }

  private sessionKeys(shard: Shard, key: SessionKey): [string, string] {
    const stem = `${this.bounds.prefix}:{${shard}}`;
    return [`${stem}:s:${key}`, `${stem}:e:${key}`];
  }

  private keysOf(shard: Shard, key: SessionKey): string[] {
    return [this.versionKey(shard), ...this.sessionKeys(shard, key)];
  }
}

class Advance {
  constructor(
    readonly copy: ShardCopy,
    readonly net: NetShard,
    /** Where the copy stood before. */
    readonly from: string,
  ) {}
}

function standing({
  epoch,
  version,
}: {
  readonly epoch: number;
  readonly version: number;
}): string {
  return `${epoch}:${version}`;
}
