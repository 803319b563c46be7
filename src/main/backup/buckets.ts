/**
 * The state that buckets hold. The placement is not among it: it says who serves now, and
 * is made anew.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Fleet } from "../../cli/fleet.js";
import type { KeyValue } from "../../ports/key-value.js";
import { readLanes, restoreLanes, type StateRecord } from "./lane-settings.js";
import { BadBackup, describeFile, type Manifest, writeFlushed } from "./manifest.js";

interface Restored {
  readonly restored: number;
  readonly kept: number;
}

interface State {
  read(fleet: Fleet): Promise<readonly StateRecord[]>;
  restore(fleet: Fleet, records: readonly StateRecord[], overwrite: boolean): Promise<Restored>;
}

/** By bucket. In this order: a lane of an app's own needs its app. */
const states: Readonly<Record<string, State>> = {
  apps: {
    read: async (fleet) => (await fleet.apps()).list(""),
    restore: restoreApps,
  },
  lanes: { read: readLanes, restore: restoreLanes },
};

const recordsShape = z.array(z.strictObject({ key: z.string(), value: z.base64() }));

export async function saveBuckets(fleet: Fleet, folder: string): Promise<Manifest["buckets"]> {
  const saved: Manifest["buckets"] = [];
  for (const [bucket, state] of Object.entries(states)) {
    const entries = await state.read(fleet);
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
): Promise<Restored> {
  let [restored, kept] = [0, 0];
  for (const { bucket, file } of buckets) {
    const state = states[bucket];
    if (state === undefined) throw new BadBackup(`${file}: this release has no bucket ${bucket}`);
    const records = recordsShape.parse(JSON.parse(await readFile(join(folder, file), "utf8")));
    const bytes = records.map(({ key, value }) => ({ key, value: Buffer.from(value, "base64") }));
    const done = await state.restore(fleet, bytes, overwrite);
    restored += done.restored;
    kept += done.kept;
  }
  return { restored, kept };
}

async function restoreApps(
  fleet: Fleet,
  records: readonly StateRecord[],
  overwrite: boolean,
): Promise<Restored> {
  const target = await fleet.apps();
  let restored = 0;
  for (const { key, value } of records) {
    if (await put(target, key, value, overwrite)) restored++;
  }
  return { restored, kept: records.length - restored };
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
