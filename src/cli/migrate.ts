/** `belfry migrate`: brings the inbox store's tables to this release. */
import type { Command } from "commander";
import { Fault, refused } from "../base/result.js";
import type { Invocation } from "./invocation.js";
import type { MigrateStore, MigrationReport } from "./migration.js";
import { report } from "./outcome.js";

const refusals: ReadonlySet<string> = new Set(["STORE_NEWER_SCHEMA", "BAD_SETTINGS"]);

export function declareMigrate(program: Command, invocation: Invocation): void {
  program
    .command("migrate")
    .summary("bring the inbox store's tables to this release")
    .description(
      "Makes the tables of the store that BELFRY_STORE and BELFRY_MYSQL_URL name, or brings " +
        "them to this release, as a starting node does. Tables of a later release are refused.",
    )
    .addHelpText("after", "\nExample:\n  BELFRY_STORE=redis-mysql belfry migrate --json")
    .action(() => invocation.withSilence(() => migrate(invocation.world.migrateStore)));
}

async function migrate(migrateStore: MigrateStore) {
  try {
    const migrated = await migrateStore();
    return report(migrated, () => describe(migrated));
  } catch (error) {
    if (!(error instanceof Fault) || !refusals.has(error.code)) throw error;
    return refused(error.code, error.message);
  }
}

function describe({ store, from, to }: MigrationReport): string {
  if (to === 0) return `the store ${store} has no tables`;
  return from === to ? `schema ${to} already` : `schema ${from} → ${to}`;
}
