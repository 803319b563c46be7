/**
 * KeyValue in memory, for unit tests and the simulator. Watchers are called one turn
 * later, in the order of the changes; revisions are one sequence for all keys.
 */
import { assert } from "../base/assert.js";
import type { Clock } from "../base/clock.js";
import { accepted, type Result, refused } from "../base/result.js";
import type { KeyValue, KeyValueEntry } from "../ports/key-value.js";

interface Watcher {
  readonly prefix: string;
  readonly onChange: (key: string, entry: KeyValueEntry | undefined) => void;
  isStopped: boolean;
}

export class MemoryKeyValue implements KeyValue {
  private readonly entries = new Map<string, KeyValueEntry>();
  private readonly watchers = new Set<Watcher>();
  private lastRevision = 0;

  constructor(private readonly clock: Clock) {}

  async get(key: string): Promise<KeyValueEntry | undefined> {
    return this.entries.get(key);
  }

  async create(key: string, value: Uint8Array): Promise<Result<number, "CONFLICT">> {
    return this.entries.has(key) ? conflict() : accepted(this.put(key, value));
  }

  async update(
    key: string,
    value: Uint8Array,
    revision: number,
  ): Promise<Result<number, "CONFLICT">> {
    assert(revision > 0, "the revision to update is that of an entry");
    const isLast = this.entries.get(key)?.revision === revision;
    return isLast ? accepted(this.put(key, value)) : conflict();
  }

  async delete(key: string, revision: number): Promise<Result<undefined, "CONFLICT">> {
    if (this.entries.get(key)?.revision !== revision) return conflict();
    this.lastRevision += 1;
    this.entries.delete(key);
    this.tell(key, undefined);
    return accepted(undefined);
  }

  async list(prefix: string): Promise<readonly KeyValueEntry[]> {
    return [...this.entries.values()].filter(({ key }) => key.startsWith(prefix));
  }

  async watch(
    prefix: string,
    onChange: (key: string, entry: KeyValueEntry | undefined) => void,
  ): Promise<() => void> {
    const watcher: Watcher = { prefix, onChange, isStopped: false };
    this.watchers.add(watcher);
    for (const entry of await this.list(prefix)) this.tellOne(watcher, entry.key, entry);
    return () => {
      watcher.isStopped = true;
      this.watchers.delete(watcher);
    };
  }

  private put(key: string, value: Uint8Array): number {
    this.lastRevision += 1;
    const entry = { key, value: new Uint8Array(value), revision: this.lastRevision };
    this.entries.set(key, entry);
    this.tell(key, entry);
    return entry.revision;
  }

  private tell(key: string, entry: KeyValueEntry | undefined): void {
    for (const watcher of this.watchers) {
      if (key.startsWith(watcher.prefix)) this.tellOne(watcher, key, entry);
    }
  }

  private tellOne(watcher: Watcher, key: string, entry: KeyValueEntry | undefined): void {
    this.clock.soon(() => {
      if (!watcher.isStopped) watcher.onChange(key, entry);
    });
  }
}

function conflict() {
  return refused("CONFLICT", "the key has another revision");
}
