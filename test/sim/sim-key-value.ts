/**
 * A JetStream bucket: one store at the server, a client for each process. It can be
 * without a leader, lose an answer (and the write, or not), write late, read from the
 * past, and lose its newest revisions, which are then given again.
 */
import { assert } from "../../src/base/assert.js";
import { accepted, Fault, type Result, refused } from "../../src/base/result.js";
import type { KeyValue, KeyValueEntry } from "../../src/ports/key-value.js";
import type { SimBus } from "./sim-bus.js";
import type { World } from "./world.js";

type OnChange = (key: string, entry: KeyValueEntry | undefined) => void;

interface Change {
  readonly revision: number;
  readonly key: string;
  readonly before: KeyValueEntry | undefined;
}

interface Watch {
  readonly bus: SimBus;
  readonly prefix: string;
  readonly onEntry: OnChange;
}

export interface KeyValueWatcher {
  /** Each write that took effect; `value` is undefined for a delete. */
  onWrite(by: string, key: string, value: Uint8Array | undefined): unknown;
}

/** Probabilities of each call. */
export interface KeyValueFaults {
  lostRequest: number;
  lostAnswer: number;
  lateWrite: number;
  staleRead: number;
}

const historyMax = 64;

export class SimKeyValueServer {
  readonly faults: KeyValueFaults = { lostRequest: 0, lostAnswer: 0, lateWrite: 0, staleRead: 0 };
  /** "refusing": says so at once. "silent": callers run into their deadlines. */
  leader: "present" | "refusing" | "silent" = "present";
  readonly watchers: KeyValueWatcher[] = [];
  /** For a deliberate breakage: written whatever their revision is. */
  uncomparedKeys: readonly string[] = [];
  private readonly entries = new Map<string, KeyValueEntry>();
  private readonly changes: Change[] = [];
  private readonly watches = new Set<Watch>();
  private lastRevision = 0;

  constructor(private readonly world: World) {}

  connect(bus: SimBus): SimKeyValue {
    return new SimKeyValue(this, bus);
  }

  /** Undoes the newest `count` changes; the revisions will be given again. */
  rollBack(count: number): void {
    for (let left = count; left > 0; left--) {
      const change = this.changes.pop();
      if (change === undefined) return;
      this.lastRevision = change.revision - 1;
      if (change.before === undefined) this.entries.delete(change.key);
      else this.entries.set(change.key, change.before);
      this.world.note("kv", "rolls back", () => `${change.key} r${change.revision}`);
    }
  }

  snapshot(prefix = ""): KeyValueEntry[] {
    return [...this.entries.values()].filter(({ key }) => key.startsWith(prefix));
  }

  // ---- at the server, for the clients ----

  /** What a call meets; undefined: nothing is done and nobody answers. */
  fate(isWrite: boolean): "done" | "refused" | "lost" | "unanswered" | "late" | "stale" {
    const { random } = this.world;
    const { faults } = this;
    if (this.leader === "refusing") return "refused";
    if (this.leader === "silent" || random.chance(faults.lostRequest)) return "lost";
    if (random.chance(faults.lostAnswer)) return "unanswered";
    if (isWrite) return random.chance(faults.lateWrite) ? "late" : "done";
    return random.chance(faults.staleRead) ? "stale" : "done";
  }

  read(key: string, isStale: boolean): KeyValueEntry | undefined {
    const last = isStale ? this.changes.findLast((change) => change.key === key) : undefined;
    return last === undefined ? this.entries.get(key) : last.before;
  }

  write(by: string, key: string, value: Uint8Array | undefined): number {
    this.lastRevision += 1;
    const revision = this.lastRevision;
    this.changes.push({ revision, key, before: this.entries.get(key) });
    if (this.changes.length > historyMax) this.changes.shift();
    const entry = value === undefined ? undefined : { key, value, revision };
    if (entry === undefined) this.entries.delete(key);
    else this.entries.set(key, entry);
    const what = value === undefined ? "drops" : "takes";
    this.world.note("kv", what, () => `${key} r${revision} for ${by}`);
    for (const watcher of this.watchers) watcher.onWrite(by, key, value);
    for (const watch of this.watches) {
      if (key.startsWith(watch.prefix)) this.tell(watch, key, entry);
    }
    return revision;
  }

  revisionOf(key: string): number {
    return this.entries.get(key)?.revision ?? 0;
  }

  later(run: () => void): void {
    this.world.after(this.world.random.between(100, 9_000), "late write", run);
  }

  follow(watch: Watch): void {
    this.watches.add(watch);
  }

  unfollow(watch: Watch): void {
    this.watches.delete(watch);
  }

  private tell(watch: Watch, key: string, entry: KeyValueEntry | undefined): void {
    if (!watch.bus.link.isKnownToServer) return;
    watch.bus.link.deliver("watch", () => watch.onEntry(key, entry));
  }
}

export class SimKeyValue implements KeyValue {
  constructor(
    private readonly server: SimKeyValueServer,
    private readonly bus: SimBus,
  ) {}

  get(key: string): Promise<KeyValueEntry | undefined> {
    return this.reading(`get ${key}`, (isStale) => this.server.read(key, isStale));
  }

  create(key: string, value: Uint8Array): Promise<Result<number, "CONFLICT">> {
    return this.comparing(key, value, 0);
  }

  update(key: string, value: Uint8Array, revision: number): Promise<Result<number, "CONFLICT">> {
    assert(revision > 0, "the revision to update is that of an entry");
    return this.comparing(key, value, revision);
  }

  async delete(key: string, revision: number): Promise<Result<undefined, "CONFLICT">> {
    const { server } = this;
    return this.writing(`delete ${key}`, (): Result<undefined, "CONFLICT"> => {
      if (server.revisionOf(key) !== revision) {
        return refused("CONFLICT", "the key has another revision");
      }
      server.write(this.bus.name, key, undefined);
      return accepted(undefined);
    });
  }

  list(prefix: string): Promise<readonly KeyValueEntry[]> {
    return this.reading(`list ${prefix}`, () => this.server.snapshot(prefix));
  }

  /** As BucketWatch does it: after each reconnect all is read again, and told again. */
  async watch(prefix: string, onChange: OnChange): Promise<() => void> {
    const known = new Set<string>();
    let current: Watch | undefined;
    let isStopped = false;
    const onEntry: OnChange = (key, entry) => {
      if (entry === undefined) known.delete(key);
      else known.add(key);
      onChange(key, entry);
    };
    const begin = async (): Promise<void> => {
      if (current !== undefined) this.server.unfollow(current);
      const early: [string, KeyValueEntry | undefined][] = [];
      let tell: OnChange = (key, entry) => void early.push([key, entry]);
      const followed: Watch = {
        bus: this.bus,
        prefix,
        onEntry: (key, entry) => tell(key, entry),
      };
      current = followed;
      const entries = await this.reading(`watch ${prefix}`, () => {
        this.server.follow(followed);
        return this.server.snapshot(prefix);
      });
      if (isStopped || current !== followed) return;
      const gone = new Set(known);
      for (const entry of entries) {
        gone.delete(entry.key);
        onEntry(entry.key, entry);
      }
      for (const key of gone) onEntry(key, undefined);
      tell = onEntry;
      for (const [key, entry] of early) onEntry(key, entry);
    };
    const restart = (): void => {
      begin().catch(() => {
        if (!isStopped) this.bus.link.process.after(500, restart);
      });
    };
    await begin();
    const unwatch = this.bus.watchReturns(restart);
    return () => {
      isStopped = true;
      unwatch();
      if (current !== undefined) this.server.unfollow(current);
    };
  }

  private async comparing(
    key: string,
    value: Uint8Array,
    revision: number,
  ): Promise<Result<number, "CONFLICT">> {
    const copy = new Uint8Array(value);
    const { server } = this;
    return this.writing(`put ${key}`, (): Result<number, "CONFLICT"> => {
      const isCompared = !server.uncomparedKeys.includes(key);
      if (isCompared && server.revisionOf(key) !== revision) {
        return refused("CONFLICT", "the key has another revision");
      }
      return accepted(server.write(this.bus.name, key, copy));
    });
  }

  private reading<Value>(name: string, read: (isStale: boolean) => Value): Promise<Value> {
    return this.bus.call<Value>(name, "not-done", (answer) => {
      const fate = this.server.fate(false);
      if (fate === "refused") answer(unavailable);
      if (fate !== "done" && fate !== "stale") return;
      const value = read(fate === "stale");
      answer(() => value);
    });
  }

  private writing<Value>(name: string, write: () => Value): Promise<Value> {
    return this.bus.call<Value>(name, "unknown", (answer) => {
      const fate = this.server.fate(true);
      if (fate === "refused") answer(unavailable);
      if (fate === "refused" || fate === "lost") return;
      if (fate === "late") {
        this.server.later(write);
        return;
      }
      const value = write();
      if (fate === "done") answer(() => value);
    });
  }
}

function unavailable(): never {
  throw new Fault("KV_UNAVAILABLE", "not-done", "the bucket has no leader");
}
