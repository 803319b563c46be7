/** What the command is told of backups. src/main/backup makes them. */
import type { Result } from "../base/result.js";
import type { Fleet } from "./fleet.js";

export interface BackupReport {
  readonly folder: string;
  readonly createdAt: string;
  readonly store: string;
  readonly volumes: number;
  readonly sessions: number;
  readonly entries: number;
  readonly bytes: number;
  /** Records of the buckets, by the bucket's name. */
  readonly buckets: Readonly<Record<string, number>>;
}

/** From the nodes that run, or from the data folder of nodes that do not. */
export type BackupSource =
  | { readonly kind: "fleet"; readonly fleet: Fleet }
  | { readonly kind: "data"; readonly folder: string };

export type RestoreTarget =
  | { readonly kind: "data"; readonly folder: string; readonly overwrite: boolean }
  /** MySQL of BELFRY_MYSQL_URL, into which its dump was loaded. */
  | { readonly kind: "mysql" }
  | { readonly kind: "kv"; readonly fleet: Fleet; readonly overwrite: boolean };

export interface RestoreReport {
  readonly folder: string;
  readonly to: RestoreTarget["kind"];
  /** Volumes, or records of buckets. */
  readonly restored: number;
  /** Records that were there, and were left as they are. */
  readonly kept: number;
}

/**
 * All throw Fault when nobody answers. Refusals: BACKUP_DAMAGED for what is no whole backup,
 * CONFLICT where something is in the way, and codes of protocol/errors.
 */
export interface Backups {
  create(folder: string, source: BackupSource): Promise<Result<BackupReport>>;
  verify(folder: string): Promise<Result<BackupReport>>;
  /** Looks at all of the backup before it writes anything. */
  restore(folder: string, target: RestoreTarget): Promise<Result<RestoreReport>>;
}
