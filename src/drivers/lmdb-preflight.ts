/**
 * Looks at a volume's folder before LMDB does: opening that fails ends the whole
 * process with a segmentation fault (lmdb 3.5 env.cpp, openEnv uses its context after
 * deleting it), so whatever would make it fail is found here and said in a sentence.
 */
import { access, constants, type FileHandle, open, rm, stat } from "node:fs/promises";
import { join } from "node:path";

/** More than a new environment writes: two meta pages, and a lock file of 8 KiB. */
const roomBytes = 64 * 1024;

/** Throws an Error with the reason. */
export async function checkFolder(folder: string): Promise<void> {
  await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  await checkRoom(folder);
  await checkFile(join(folder, "lock.mdb"));
  const data = join(folder, "data.mdb");
  if (await checkFile(data)) await checkHeader(data);
}

/** Finds a full disk, a quota, a limit and a read-only file system alike. */
async function checkRoom(folder: string): Promise<void> {
  const path = join(folder, `room.${process.pid}`);
  try {
    const file = await open(path, "w");
    try {
      await file.writeFile(new Uint8Array(roomBytes));
      await file.datasync();
    } finally {
      await file.close();
    }
  } finally {
    await rm(path, { force: true });
  }
}

/** Whether it is there and holds something. */
async function checkFile(path: string): Promise<boolean> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (found === undefined) return false;
  if (!found.isFile()) throw new Error(`${path} is not a file`);
  await access(path, constants.R_OK | constants.W_OK);
  return found.size > 0;
}

/** The first meta page: a header of 24 bytes, then magic, version and page size (mdb.c). */
const metaFlag = { at: 18, bit: 0x08 };
const magic = { at: 24, value: 0xbeefc0de };
const version = { at: 28, value: 2 };
const pageSize = { at: 48, least: 256, most: 65_536 };
const headerBytes = 64;

async function checkHeader(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    const header = await read(file);
    const isMeta = (header.readUInt16LE(metaFlag.at) & metaFlag.bit) !== 0;
    if (!isMeta || header.readUInt32LE(magic.at) !== magic.value) {
      throw new Error(`${path} is not a store, or damaged`);
    }
    const found = header.readUInt32LE(version.at) & 0xffff;
    if (found !== version.value) {
      throw new Error(`${path} has LMDB's format ${found}, this release reads ${version.value}`);
    }
    const pageBytes = header.readUInt32LE(pageSize.at);
    const isSane = pageBytes >= pageSize.least && pageBytes <= pageSize.most;
    if (!isSane || (await file.stat()).size < 2 * pageBytes) throw new Error(`${path} is cut off`);
  } finally {
    await file.close();
  }
}

async function read(file: FileHandle): Promise<Buffer> {
  const header = Buffer.alloc(headerBytes);
  await file.read(header, 0, headerBytes, 0);
  return header;
}
