/** `belfry backup`: all that is state, as files with checksums, and back again. */
import type { Command } from "commander";
import { refused } from "../base/result.js";
import type { BackupReport, Backups, RestoreReport, RestoreTarget } from "./backups.js";
import type { Fleet } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { type Outcome, report } from "./outcome.js";
import { counted } from "./text.js";

interface RestoreOptions {
  readonly data?: string;
  readonly mysql?: true;
  readonly kv?: true;
  readonly overwrite?: true;
}

export function declareBackup(program: Command, invocation: Invocation): void {
  const backup = program.command("backup").summary("back up and restore what is stored");
  const { backups } = invocation.world;
  declareCreate(backup, invocation, backups);
  backup
    .command("verify")
    .summary("read all of a backup")
    .description("Reads every file of a backup and holds it against its checksums.")
    .argument("<folder>", "the backup")
    .addHelpText("after", "\nExample:\n  belfry backup verify /backups/monday")
    .action((folder: string) =>
      invocation.withSilence(async () => made("whole", await backups.verify(folder))),
    );
  declareRestore(backup, invocation, backups);
}

function declareCreate(backup: Command, invocation: Invocation, backups: Backups): void {
  backup
    .command("create")
    .summary("back up the embedded store and the registry")
    .description(
      "Writes a backup into a new folder of this machine: the volumes of the embedded store, " +
        "copied by the nodes that serve them while they go on, and the registry of apps. With " +
        "the store redis-mysql the registry alone: MySQL is dumped by its own means.",
    )
    .argument("<folder>", "where to; it must not hold anything")
    .option("--data <folder>", "the data folder of nodes that do not run; without the registry")
    .addHelpText("after", "\nExample:\n  belfry backup create /backups/monday")
    .action(async (folder: string, { data }: { data?: string }) => {
      const create = async (source: Parameters<Backups["create"]>[1]) =>
        made("made", await backups.create(folder, source));
      if (data === undefined) {
        await invocation.withFleet((fleet) => create({ kind: "fleet", fleet }));
      } else {
        await invocation.withSilence(() => create({ kind: "data", folder: data }));
      }
    });
}

function declareRestore(backup: Command, invocation: Invocation, backups: Backups): void {
  backup
    .command("restore")
    .summary("put a backup in place")
    .description(
      "Puts one part of a backup in place, after all of the backup was read. No client's " +
        "position from after the backup counts as an ack: every session goes on under a new " +
        "generation, and clients are shown again what they had not acked by then.",
    )
    .argument("<folder>", "the backup")
    .option("--data <folder>", "the volumes, into this data folder; its nodes must not run")
    .option("--mysql", "tells MySQL (BELFRY_MYSQL_URL) that a dump was loaded into it")
    .option("--kv", "the registry of apps and the lanes' settings, while nodes run")
    .option("--overwrite", "in place of what is there")
    .addHelpText("after", "\nExample:\n  belfry backup restore /backups/monday --data .belfry/data")
    .action(async (folder: string, options: RestoreOptions) => {
      const wanted = [options.data, options.mysql, options.kv].filter((given) => given);
      if (wanted.length !== 1) {
        invocation.print(refused("USAGE", "one of --data, --mysql and --kv"));
        return;
      }
      const overwrite = options.overwrite === true;
      const restore = async (target: RestoreTarget) =>
        restored(await backups.restore(folder, target));
      if (options.kv) {
        await invocation.withFleet((fleet: Fleet) => restore({ kind: "kv", fleet, overwrite }));
      } else {
        const { data } = options;
        await invocation.withSilence(() =>
          restore(
            data === undefined ? { kind: "mysql" } : { kind: "data", folder: data, overwrite },
          ),
        );
      }
    });
}

function made(what: string, result: Awaited<ReturnType<Backups["verify"]>>): Outcome {
  if (!result.ok) return result;
  return report(result.value, () => describe(what, result.value));
}

function describe(what: string, backup: BackupReport): string {
  const { folder, store, createdAt, volumes, sessions, entries, bytes, buckets } = backup;
  const inStore =
    store === "lmdb"
      ? `${counted(volumes, "volume")} with ${counted(sessions, "session")} and ` +
        `${counted(entries, "message")}`
      : "no volumes (MySQL is dumped by its own means)";
  const records = Object.entries(buckets).map(([name, count]) => `${count} of ${name}`);
  const inBuckets = records.length === 0 ? "no registry" : `the registry: ${records.join(", ")}`;
  return `${folder} is ${what}: ${inStore}; ${inBuckets}; ${bytes} bytes, of ${createdAt}`;
}

function restored(result: Awaited<ReturnType<Backups["restore"]>>): Outcome {
  if (!result.ok) return result;
  return report(result.value, () => tellRestored(result.value));
}

function tellRestored({ folder, to, restored: count, kept }: RestoreReport): string {
  switch (to) {
    case "data":
      return `${counted(count, "volume")} of ${folder} in place; start the nodes`;
    case "mysql":
      return "MySQL is marked as restored; start the nodes";
    case "kv":
      return `${counted(count, "record")} of ${folder} written, ${kept} there already`;
  }
}
