/** What the command is told of the inbox store's tables. */
export interface MigrationReport {
  readonly store: string;
  /** Of the schema; both 0 where the store has no tables. */
  readonly from: number;
  readonly to: number;
}

/** Throws Fault; STORE_NEWER_SCHEMA and BAD_SETTINGS are refusals, the others silence. */
export type MigrateStore = () => Promise<MigrationReport>;
