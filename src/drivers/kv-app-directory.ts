/** The app registry as a node sees it: a cache that follows the bucket `apps` by a watch. */
import type { AppDirectory } from "../ports/app-directory.js";
import type { KeyValue } from "../ports/key-value.js";
import type { Log } from "../ports/log.js";
import { type AppRecord, decodeAppRecord } from "../protocol/app-record.js";

export class KvAppDirectory implements AppDirectory {
  private readonly records = new Map<string, AppRecord>();

  private constructor(private readonly log: Log) {}

  /** Resolves when what is registered now has been read. */
  static async follow(apps: KeyValue, log: Log): Promise<KvAppDirectory> {
    const directory = new KvAppDirectory(log);
    for (const entry of await apps.list("")) directory.put(entry.key, entry.value);
    await apps.watch("", (key, entry) => {
      if (entry === undefined) directory.records.delete(key);
      else directory.put(key, entry.value);
    });
    return directory;
  }

  find(app: string): AppRecord | undefined {
    return this.records.get(app);
  }

  private put(key: string, value: Uint8Array): void {
    const record = decodeAppRecord(value);
    if (record === undefined) this.log.error("an app record is not readable", { key });
    else this.records.set(key, record);
  }
}
