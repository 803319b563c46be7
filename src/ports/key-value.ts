/**
 * A small replicated map with compare-and-set: leases, the placement table, the
 * app registry. Revisions only grow, except after a rollback of the store itself.
 */
import type { Result } from "../base/result.js";

export interface KeyValue {
  get(key: string): Promise<KeyValueEntry | undefined>;
  /** Refused CONFLICT when the key exists. */
  create(key: string, value: Uint8Array): Promise<Result<number, "CONFLICT">>;
  /** Refused CONFLICT unless the key's last revision is `revision`. */
  update(key: string, value: Uint8Array, revision: number): Promise<Result<number, "CONFLICT">>;
  /** Refused CONFLICT unless the key's last revision is `revision`. */
  delete(key: string, revision: number): Promise<Result<undefined, "CONFLICT">>;
  /** Keys that start with `prefix` and hold a value; may lag behind what was just written. */
  list(prefix: string): Promise<readonly KeyValueEntry[]>;
  /** Calls for each present key under `prefix`, then for every change; returns the way to stop. */
  watch(
    prefix: string,
    onChange: (key: string, entry: KeyValueEntry | undefined) => void,
  ): Promise<() => void>;
}

export interface KeyValueEntry {
  readonly key: string;
  readonly value: Uint8Array;
  readonly revision: number;
}
