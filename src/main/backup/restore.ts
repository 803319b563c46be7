/**
 * Puts a backup in place. Everything that is read is checked before anything is written,
 * and a volume is marked as restored before it stands where a node finds it: at no moment
 * is there a copy that would go on in the timeline it came from.
 */
import { existsSync } from "node:fs";
import { copyFile, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { defaultLimits } from "../../../actors/limits.js";
import { accepted, Fault, type Result, refused } from "../../base/result.js";
import type { RestoreReport, RestoreTarget } from "../../cli/backups.js";
import { holdVolume, markRestored, refuseHeldVolume } from "../../drivers/lmdb-backup.js";
import { volumeName } from "../../drivers/lmdb-inbox.js";
import type { RestoreMark } from "../../ports/inbox-store.js";
import { counterAt } from "../../protocol/position.js";
import { markMysql } from "../open-inbox-store.js";
import { BadSettings, readStoreSettings } from "../settings.js";
import { restoreBuckets } from "./buckets.js";
import { checkFile, type Manifest, verifyBackup, volumeFile } from "./manifest.js";
import { clearWorkFolders, makeWorkFolder } from "./work-folder.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** Throws BadBackup, and Fault when nobody answers. */
export async function restoreBackup(
  named: string,
  target: RestoreTarget,
  environment: Environment,
): Promise<Result<RestoreReport>> {
  const folder = resolve(named);
  const manifest = await verifyBackup(folder);
  const to = target.kind;
  const isWanted = to === "kv" || manifest.store === (to === "data" ? "lmdb" : "redis-mysql");
  if (!isWanted) return refused("USAGE", `${folder} is a backup of the store ${manifest.store}`);
  switch (to) {
    case "kv": {
      const done = await restoreBuckets(target.fleet, folder, manifest, target.overwrite);
      return accepted({ folder, to, ...done });
    }
    case "mysql": {
      const marked = await markStore(environment, makeMark(manifest));
      return marked.ok ? accepted({ folder, to, restored: 1, kept: 0 }) : marked;
    }
    case "data": {
      const done = await restoreVolumes(folder, manifest, resolve(target.folder), target.overwrite);
      return done.ok ? accepted({ folder, to, restored: done.value, kept: 0 }) : done;
    }
  }
}

/**
 * One number above whatever was given since the backup: a time, which no count of owners
 * overtakes (see protocol/position for generations).
 */
function makeMark({ volumes }: Manifest): RestoreMark {
  const nowMs = Date.now();
  const floors = volumes.map(({ generationFloor }) => generationFloor + 1);
  const generationFloor = Math.max(counterAt(nowMs), ...floors);
  const reserveUntilMs = nowMs + defaultLimits.reserveMs;
  return { generationFloor, epoch: generationFloor, reserveUntilMs };
}

async function markStore(environment: Environment, mark: RestoreMark): Promise<Result<null>> {
  try {
    await markMysql(readStoreSettings({ ...environment, BELFRY_STORE: "redis-mysql" }), mark);
    return accepted(null);
  } catch (error) {
    if (error instanceof BadSettings) return refused("BAD_SETTINGS", error.message);
    throw error;
  }
}

/** Volumes on their way into a data folder, and what they replace. */
const restoring = "restoring";

async function restoreVolumes(
  folder: string,
  manifest: Manifest,
  dataFolder: string,
  overwrite: boolean,
): Promise<Result<number>> {
  const inTheWay = await findObstacle(manifest, dataFolder, overwrite);
  if (inTheWay !== undefined) return refused("CONFLICT", inTheWay);
  const beside = await makeWorkFolder(dataFolder, restoring);
  const mark = makeMark(manifest);
  try {
    for (const volume of manifest.volumes) {
      const target = join(beside, volumeName(volume.volume));
      await mkdir(target, { recursive: true });
      await copyFile(join(folder, volume.file), join(target, "data.mdb"));
      await checkFile(beside, { ...volume, file: volumeFile(volume.volume) });
      await markRestored(target, volume.volume, mark);
    }
    for (const { volume } of manifest.volumes) await putInPlace(beside, dataFolder, volume);
    await flushFolder(dataFolder);
    // What an interrupted one had moved aside is needed until here.
    await clearWorkFolders(dataFolder, restoring);
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
  return accepted(manifest.volumes.length);
}

/** The sentence that says why not, before anything is written. */
async function findObstacle(
  { volumes }: Manifest,
  dataFolder: string,
  overwrite: boolean,
): Promise<string | undefined> {
  for (const { volume } of volumes) {
    const target = join(dataFolder, volumeName(volume));
    try {
      await refuseHeldVolume(target);
    } catch (error) {
      if (error instanceof Fault) return error.message;
      throw error;
    }
    const found = await readdir(target).catch((): string[] => []);
    if (found.includes("data.mdb") && !overwrite) {
      return `${target} holds data; --overwrite puts the backup in its place`;
    }
  }
  return undefined;
}

/** What was there goes only when all that is to be there is. */
async function putInPlace(beside: string, dataFolder: string, volume: number): Promise<void> {
  const name = volumeName(volume);
  const target = join(dataFolder, name);
  if (existsSync(target)) {
    await holdVolume(target);
    await rename(target, join(beside, `previous-${name}`));
  }
  // Where a node has made one meanwhile this fails, and that one stays.
  await rename(join(beside, name), target);
}

async function flushFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
