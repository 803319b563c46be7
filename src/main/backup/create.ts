/**
 * Makes a backup. Volumes are copied by whoever has them open: the nodes that serve them,
 * at their operators' desks, one after the other; or this process, where none runs. Each is
 * a snapshot of its own: what one session has is of one moment, two sessions' moments may
 * differ by as long as the backup takes.
 */
import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { accepted, Fault, type Result, refused } from "../../base/result.js";
import type { BackupReport, BackupSource } from "../../cli/backups.js";
import type { Fleet } from "../../cli/fleet.js";
import { copyVolume, inspectCopy } from "../../drivers/lmdb-backup.js";
import { permitFile } from "../../drivers/lmdb-environment.js";
import { volumeCount, volumeName } from "../../drivers/lmdb-inbox.js";
import { isMap } from "../../protocol/codec.js";
import { shardsOfGroup } from "../../protocol/shards.js";
import { version } from "../version.js";
import { saveBuckets } from "./buckets.js";
import {
  describeBackup,
  describeFile,
  type Manifest,
  volumeFile,
  writeManifest,
} from "./manifest.js";
import { clearWorkFolders, makeWorkFolder } from "./work-folder.js";

/** A disk that has not copied a volume by then never will. */
const volumeDeadlineMs = 3_600_000;
const askEveryMs = 50;
/** A volume that moves while it is copied is copied anew. */
const triesMax = 5;
const tryAgainMs = 1_000;
const silencesMax = 10;

/** `named` is there when it is whole: what failed on the way is in nobody's way. */
export async function createBackup(
  named: string,
  source: BackupSource,
): Promise<Result<BackupReport>> {
  const folder = resolve(named);
  const found = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    return [];
  });
  if (found.length > 0) {
    return refused("CONFLICT", `${folder} is not empty; a backup is a folder of its own`);
  }
  const parent = dirname(folder);
  const making = `${basename(folder)}.making`;
  await mkdir(parent, { recursive: true });
  await clearWorkFolders(parent, making);
  const beside = await makeWorkFolder(parent, making);
  try {
    const manifest = await writeBackup(beside, source);
    if (!manifest.ok) return manifest;
    await rename(beside, folder);
    return accepted(describeBackup(folder, manifest.value));
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}

async function writeBackup(folder: string, source: BackupSource): Promise<Result<Manifest>> {
  const createdAt = new Date().toISOString();
  const buckets = source.kind === "fleet" ? await saveBuckets(source.fleet, folder) : [];
  const copied =
    source.kind === "fleet"
      ? await copyFromNodes(source.fleet, folder)
      : await copyAtRest(source.folder, folder);
  if (!copied.ok) return copied;
  const { store, volumes } = copied.value;
  const manifest: Manifest = { version: 1, belfry: version, createdAt, store, volumes, buckets };
  await writeManifest(folder, manifest);
  return accepted(manifest);
}

type Copied = Pick<Manifest, "store" | "volumes">;

async function copyAtRest(dataFolder: string, folder: string): Promise<Result<Copied>> {
  const volumes: Manifest["volumes"] = [];
  for (let volume = 0; volume < volumeCount; volume++) {
    const target = join(folder, volumeName(volume));
    const from = join(dataFolder, volumeName(volume));
    // Opening would make one where there is none: an empty backup that looks like a good one.
    const found = await readdir(from).catch((): string[] => []);
    if (!found.includes("data.mdb")) return refused("NOT_FOUND", `${from} is no volume`);
    await mkdir(target);
    try {
      await copyVolume(from, target);
    } catch (error) {
      if (error instanceof Fault) return refused("CONFLICT", error.message);
      throw error;
    }
    volumes.push(await describeVolume(folder, volume));
  }
  return accepted({ store: "lmdb", volumes });
}

async function copyFromNodes(fleet: Fleet, folder: string): Promise<Result<Copied>> {
  const volumes: Manifest["volumes"] = [];
  for (let volume = 0; volume < volumeCount; volume++) {
    const copied = await copyFromNode(fleet, folder, volume);
    if (!copied.ok) return copied;
    if (copied.value === "elsewhere") {
      await rm(join(folder, volumeName(volume)), { recursive: true });
      return accepted({ store: "redis-mysql", volumes: [] });
    }
    volumes.push(await describeVolume(folder, volume));
  }
  return accepted({ store: "lmdb", volumes });
}

async function describeVolume(
  folder: string,
  volume: number,
): Promise<Manifest["volumes"][number]> {
  const content = await inspectCopy(join(folder, volumeName(volume)), volume);
  return { volume, ...(await describeFile(folder, volumeFile(volume))), ...content };
}

/** `elsewhere`: its store is copied by its own means. */
type CopyEnd = Result<"done" | "elsewhere">;

async function copyFromNode(fleet: Fleet, folder: string, volume: number): Promise<CopyEnd> {
  const target = join(folder, volumeName(volume));
  let last: CopyEnd = refused("NOT_READY", `nobody serves volume ${volume} now`);
  for (let attempt = 0; attempt < triesMax; attempt++) {
    if (attempt > 0) await delay(tryAgainMs);
    await rm(target, { recursive: true, force: true });
    await mkdir(target);
    last = await tryToCopy(fleet, target, volume);
    // A node of an earlier release: asked again it knows no more.
    if (last.ok || last.code === "UNSUPPORTED") break;
  }
  await rm(join(target, permitFile), { force: true });
  return last;
}

/** The node finds the permit where it is to write: nobody gets files written elsewhere. */
async function tryToCopy(fleet: Fleet, folder: string, group: number): Promise<CopyEnd> {
  const permit = randomBytes(16).toString("hex");
  await writeFile(join(folder, permitFile), permit);
  const placement = await fleet.placement();
  const owner = placement.shards[shardsOfGroup(group, volumeCount)[0] ?? 0]?.owner;
  if (owner === undefined) return refused("NOT_READY", `nobody serves volume ${group} now`);
  const deadlineMs = performance.now() + volumeDeadlineMs;
  let silences = 0;
  while (performance.now() < deadlineMs) {
    const answer = await askNode(fleet, owner, { kind: "backup", group, folder, permit });
    // A busy node answers late, and copies on.
    if (!answer.ok && (answer.code !== "TIMEOUT" || ++silences > silencesMax)) return answer;
    if (answer.ok) {
      silences = 0;
      const { state, message } = isMap(answer.value) ? answer.value : {};
      if (state === "done" || state === "elsewhere") return accepted(state);
      if (state !== "running") {
        return refused("STORE_UNAVAILABLE", `volume ${group}: ${String(message)}`);
      }
    }
    await delay(askEveryMs);
  }
  return refused("TIMEOUT", `volume ${group} was not copied in time`);
}

/** A node that has just gone is no reason to give up: its volumes are served elsewhere soon. */
async function askNode(
  fleet: Fleet,
  ...[node, request]: Parameters<Fleet["ask"]>
): Promise<Result<unknown>> {
  try {
    return await fleet.ask(node, request);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return refused(error.code, error.message);
  }
}
