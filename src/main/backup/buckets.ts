/**
 * The buckets that hold state. The placement is not among them: it says who serves now, and
 * is made anew.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Fleet } from "../../cli/fleet.js";
import type { KeyValue } from "../../ports/key-value.js";
import { BadBackup, describeFile, type Manifest, writeFlushed } from "./manifest.js";

const stateBuckets: Readonly<Record<string, (fleet: Fleet) => Promise<KeyValue>>> = {
  apps: (fleet) => fleet.apps(),
};

const recordsShape = z.array(z.strictObject({ key: z.string(), value: z.base64() }));

export async function saveBuckets(fleet: Fleet, folder: string): Promise<Manifest["buckets"]> {
  const saved: Manifest["buckets"] = [];
  for (const [bucket, open] of Object.entries(stateBuckets)) {
    const entries = await (await open(fleet)).list("");
    const records = entries.map(({ key, value }) => ({
      key,
      value: Buffer.from(value).toString("base64"),
    }));
    const file = `${bucket}.json`;
    await writeFlushed(join(folder, file), `${JSON.stringify(records, null, 2)}\n`);
    saved.push({ bucket, records: records.length, ...(await describeFile(folder, file)) });
  }
  return saved;
}

/** What is there stays, unless `overwrite`; nothing is removed. */
export async function restoreBuckets(
  fleet: Fleet,
  folder: string,
  { buckets }: Manifest,
  overwrite: boolean,
): Promise<{ readonly restored: number; readonly kept: number }> {
  let [restored, kept] = [0, 0];
  for (const { bucket, file } of buckets) {
    const open = stateBuckets[bucket];
    if (open === undefined) throw new BadBackup(`${file}: this release has no bucket ${bucket}`);
    const records = recordsShape.parse(JSON.parse(await readFile(join(folder, file), "utf8")));
    const target = await open(fleet);
    for (const { key, value } of records) {
      if (await put(target, key, Buffer.from(value, "base64"), overwrite)) restored++;
      else kept++;
    }
  }
  return { restored, kept };
}

async function put(
  bucket: KeyValue,
  key: string,
  value: Uint8Array,
  overwrite: boolean,
): Promise<boolean> {
  if ((await bucket.create(key, value)).ok) return true;
  if (!overwrite) return false;
  const present = await bucket.get(key);
  // Changed in between by somebody who knows better than the backup.
  return present !== undefined && (await bucket.update(key, value, present.revision)).ok;
}
