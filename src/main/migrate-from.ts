/** What `belfry migrate` does: the store's settings from the environment, and its tables. */
import { Fault } from "../base/result.js";
import type { MigrationReport } from "../cli/migration.js";
import { migrateStore } from "./open-inbox-store.js";
import { BadSettings, readStoreSettings } from "./settings.js";

/** Throws Fault; wrong settings are one of the code BAD_SETTINGS. */
export async function migrateFrom(
  environment: Readonly<Record<string, string | undefined>>,
): Promise<MigrationReport> {
  try {
    const settings = readStoreSettings(environment);
    const { store } = settings;
    if (store === "lmdb") return { store, from: 0, to: 0 };
    return { store, ...(await migrateStore(settings)) };
  } catch (cause) {
    if (!(cause instanceof BadSettings)) throw cause;
    throw new Fault("BAD_SETTINGS", "not-done", cause.message, { cause });
  }
}
