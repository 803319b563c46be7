/**
 * A folder for a platform's inboxes on a disk that can be made to stand still: whoever
 * writes there waits, as long as it is told.
 *
 *   STALL_DISK=loop   a disk of its own: a file system in a file that lies in another one,
 *                     which is frozen (fsfreeze). Needs root and two loop devices.
 *
 * Without it the volumes' write locks are held by another process (volume-holder.ts): their
 * write threads wait just as long, but before the disk.
 */
import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export interface StallingDisk extends AsyncDisposable {
  /** For BELFRY_DATA_FOLDER. */
  readonly dataFolder: string;
  /** Resolves when nothing is written any more. */
  stall(): Promise<void>;
  goOn(): Promise<void>;
}

export async function makeStallingDisk(): Promise<StallingDisk> {
  const folder = await mkdtemp(join(tmpdir(), "belfry-disk-"));
  return process.env["STALL_DISK"] === "loop" ? loopDisk(folder) : heldVolumes(folder);
}

const mebibyte = 1024 ** 2;

/** In a frozen file system itself reads would wait as well: LMDB's note themselves in a file. */
async function loopDisk(folder: string): Promise<StallingDisk> {
  const [outer, dataFolder] = [join(folder, "outer"), join(folder, "disk")];
  mountFile(join(folder, "image"), 1024 * mebibyte, outer);
  mountFile(join(outer, "image"), 768 * mebibyte, dataFolder);
  let isFrozen = false;
  const goOn = async () => {
    if (isFrozen) execFileSync("fsfreeze", ["-u", outer]);
    isFrozen = false;
  };
  return {
    dataFolder,
    stall: async () => {
      execFileSync("fsfreeze", ["-f", outer]);
      isFrozen = true;
    },
    goOn,
    [Symbol.asyncDispose]: async () => {
      await goOn();
      execFileSync("umount", [dataFolder]);
      execFileSync("umount", [outer]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function mountFile(image: string, bytes: number, at: string): void {
  mkdirSync(at);
  execFileSync("truncate", ["-s", String(bytes), image]);
  execFileSync("mkfs.ext4", ["-q", image]);
  execFileSync("mount", ["-o", "loop", image, at]);
}

const holderProgram = fileURLToPath(new URL("./volume-holder.js", import.meta.url));

async function heldVolumes(folder: string): Promise<StallingDisk> {
  const dataFolder = join(folder, "data");
  let holder: ChildProcess | undefined;
  const goOn = async () => {
    const child = holder;
    holder = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, "exit");
    // It looks for this, for its loop stands still with the locks.
    await mkdir(join(folder, "go-on"));
    await ended;
    await rm(join(folder, "go-on"), { recursive: true });
  };
  return {
    dataFolder,
    stall: async () => {
      holder = fork(holderProgram, [dataFolder, join(folder, "go-on")]);
      await once(holder, "message");
    },
    goOn,
    [Symbol.asyncDispose]: async () => {
      await goOn();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
