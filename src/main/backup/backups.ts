/** What `belfry backup` does, for the command line. */
import { ZodError } from "zod";
import { accepted, type Result, refused } from "../../base/result.js";
import type { Backups } from "../../cli/backups.js";
import { createBackup } from "./create.js";
import { BadBackup, describeBackup, verifyBackup } from "./manifest.js";
import { restoreBackup } from "./restore.js";

export function openBackups(environment: Readonly<Record<string, string | undefined>>): Backups {
  return {
    create: (folder, source) => orRefused(() => createBackup(folder, source)),
    verify: (folder) =>
      orRefused(async () => accepted(describeBackup(folder, await verifyBackup(folder)))),
    restore: (folder, target) => orRefused(() => restoreBackup(folder, target, environment)),
  };
}

/** A folder that cannot be read or written is the operator's to mend: its sentence names it. */
async function orRefused<Value>(work: () => Promise<Result<Value>>): Promise<Result<Value>> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BadBackup || error instanceof ZodError) {
      return refused("BACKUP_DAMAGED", error.message);
    }
    const { code, syscall, message } = error as NodeJS.ErrnoException;
    if (typeof syscall === "string") return refused("CONFLICT", `${code}: ${message}`);
    throw error;
  }
}
