/**
 * Folders that stand under another name until they are whole: `<name>-<pid>-<start>`, after
 * the process that makes them. What a dead one left is found by that, and goes.
 */
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { startTimeOf } from "../../drivers/lmdb-holder.js";

/** A new one of this process in `parent`. */
export async function makeWorkFolder(parent: string, name: string): Promise<string> {
  const start = plain((await startTimeOf(process.pid)) ?? "unknown");
  const folder = join(parent, `${name}-${process.pid}-${start}`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return folder;
}

/** Those of the name in `parent` that nobody works in any more. */
export async function clearWorkFolders(parent: string, name: string): Promise<void> {
  for (const found of await readdir(parent)) {
    if (!found.startsWith(`${name}-`)) continue;
    const owner = /^(\d+)(?:-([a-z0-9]+))?$/i.exec(found.slice(name.length + 1));
    if (owner === null) continue;
    const runs = await startTimeOf(Number(owner[1]));
    // An earlier release wrote no start time: the pid alone says that it may still be made.
    const isMade = runs !== undefined && (owner[2] === undefined || plain(runs) === owner[2]);
    if (!isMade) await rm(join(parent, found), { recursive: true, force: true });
  }
}

function plain(startTime: string): string {
  return startTime.replaceAll(/[^a-z0-9]/gi, "");
}
