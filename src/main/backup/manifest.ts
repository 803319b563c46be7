/**
 * A backup is a folder: `manifest.json`, which is written last and names every other file
 * with its size and SHA-256, and its own.
 *
 *   volume-0/data.mdb … volume-7/data.mdb     the embedded store
 *   apps.json                                 a bucket: its records, values in base64
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { BackupReport } from "../../cli/backups.js";
import { volumeCount, volumeName } from "../../drivers/lmdb-inbox.js";

const fileShape = {
  file: z.string().regex(/^[a-z0-9-]+(\/[a-z]+)?\.[a-z]+$/),
  bytes: z.int().min(0),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
};

const volumeShape = z.strictObject({
  ...fileShape,
  volume: z.int().min(0),
  sessions: z.int().min(0),
  entries: z.int().min(0),
  /** How far the change logs of its shards had come together. */
  changes: z.int().min(0),
  generationFloor: z.int().min(0),
});

const bucketShape = z.strictObject({
  ...fileShape,
  bucket: z.string(),
  records: z.int().min(0),
});

const manifestShape = z.strictObject({
  version: z.literal(1),
  belfry: z.string(),
  createdAt: z.iso.datetime(),
  store: z.enum(["lmdb", "redis-mysql"]),
  volumes: z.array(volumeShape),
  buckets: z.array(bucketShape),
});

export type Manifest = z.infer<typeof manifestShape>;
export type BackedUpFile = Pick<Manifest["buckets"][number], "file" | "bytes" | "sha256">;

/** What is no whole backup; the message says which file and why. */
export class BadBackup extends Error {
  override readonly name = "BadBackup";
}

const manifestFile = "manifest.json";

export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  const text = JSON.stringify(manifest, null, 2);
  const sealed = `${JSON.stringify({ sha256: sha256Of(text), manifest }, null, 2)}\n`;
  const beside = join(folder, `${manifestFile}.new`);
  await writeFlushed(beside, sealed);
  await rename(beside, join(folder, manifestFile));
}

export async function writeFlushed(path: string, text: string): Promise<void> {
  const file = await open(path, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** Every file of it read and compared. Throws BadBackup. */
export async function verifyBackup(folder: string): Promise<Manifest> {
  const manifest = await readManifest(folder);
  const names = manifest.volumes.map(({ volume }) => volume).sort((a, b) => a - b);
  const wanted = manifest.store === "lmdb" ? [...Array(volumeCount).keys()] : [];
  if (names.join() !== wanted.join()) throw new BadBackup(`${folder}: volumes are missing`);
  for (const { volume, file } of manifest.volumes) {
    if (file !== volumeFile(volume)) throw new BadBackup(`${folder}: ${file} is no volume's file`);
  }
  for (const wantedFile of [...manifest.volumes, ...manifest.buckets]) {
    await checkFile(folder, wantedFile);
  }
  return manifest;
}

export function volumeFile(volume: number): string {
  return `${volumeName(volume)}/data.mdb`;
}

/** Throws BadBackup unless the file is as the manifest says. */
export async function checkFile(folder: string, wanted: BackedUpFile): Promise<void> {
  const path = join(folder, wanted.file);
  const found = await describeFile(folder, wanted.file).catch((error: Error) => {
    throw new BadBackup(`${path} cannot be read: ${error.message}`);
  });
  if (found.bytes !== wanted.bytes) {
    throw new BadBackup(`${path} has ${found.bytes} bytes, and was backed up with ${wanted.bytes}`);
  }
  if (found.sha256 !== wanted.sha256) throw new BadBackup(`${path} is not what was backed up`);
}

export async function describeFile(folder: string, file: string): Promise<BackedUpFile> {
  const path = join(folder, file);
  const hash = createHash("sha256");
  const { size } = await stat(path);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return { file, bytes: size, sha256: hash.digest("hex") };
}

export function describeBackup(folder: string, manifest: Manifest): BackupReport {
  const { createdAt, store, volumes, buckets } = manifest;
  const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0);
  return {
    folder,
    createdAt,
    store,
    volumes: volumes.length,
    sessions: sum(volumes.map(({ sessions }) => sessions)),
    entries: sum(volumes.map(({ entries }) => entries)),
    bytes: sum([...volumes, ...buckets].map(({ bytes }) => bytes)),
    buckets: Object.fromEntries(buckets.map(({ bucket, records }) => [bucket, records])),
  };
}

async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, manifestFile);
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    const isMissing = error.code === "ENOENT";
    throw new BadBackup(isMissing ? `${folder} has no ${manifestFile}` : error.message);
  });
  let sealed: { sha256?: unknown; manifest?: { version?: unknown } };
  try {
    sealed = JSON.parse(text);
  } catch {
    throw new BadBackup(`${path} is damaged`);
  }
  if (sealed?.sha256 !== sha256Of(JSON.stringify(sealed?.manifest, null, 2) ?? "")) {
    throw new BadBackup(`${path} is damaged`);
  }
  const read = manifestShape.safeParse(sealed.manifest);
  if (read.success) return read.data;
  throw new BadBackup(`${path} is of a release that this one does not know`);
}

function sha256Of(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
