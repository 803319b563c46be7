/**
 * The app registry as a node sees it: a cache that follows the bucket `apps` by a watch
 * alone, so that nothing can change between a reading and the watch. The watch tells
 * what is present, then each change, and after a reconnect what is gone meanwhile.
 */
import type { AppDirectory } from "../ports/app-directory.js";
import type { KeyValue, KeyValueEntry } from "../ports/key-value.js";
import type { Log } from "../ports/log.js";
import { type AppRecord, decodeAppRecord } from "../protocol/app-record.js";
import { decodeToken } from "../protocol/tokens.js";

export class KvAppDirectory implements AppDirectory {
  /** By name; the bucket's keys are the names encoded. */
  private readonly records = new Map<string, AppRecord>();
  private unwatch: () => void = () => undefined;
  private withConnectUrl = 0;

  private constructor(private readonly log: Log) {}

  /** Resolves when the watch has begun: over NATS it has told what is present by then. */
  static async follow(apps: KeyValue, log: Log): Promise<KvAppDirectory> {
    const directory = new KvAppDirectory(log);
    directory.unwatch = await apps.watch("", (key, entry) => directory.onChange(key, entry));
    return directory;
  }

  find(app: string): AppRecord | undefined {
    return this.records.get(app);
  }

  get hasConnectUrls(): boolean {
    return this.withConnectUrl > 0;
  }

  /** It stays as it is now. */
  close(): void {
    this.unwatch();
  }

  private onChange(key: string, entry: KeyValueEntry | undefined): void {
    const name = decodeToken(key);
    if (name === undefined) {
      this.log.error("an app's key is no encoded name", { key });
    } else if (entry === undefined) {
      this.countConnect(name, -1);
      if (this.records.delete(name)) this.log.info("app removed", { app: name });
    } else {
      this.put(name, entry.value);
    }
  }

  /** What is not readable changes nothing: the app is served by what was last read of it. */
  private put(name: string, value: Uint8Array): void {
    const record = decodeAppRecord(value);
    if (record === undefined) {
      this.log.error("an app record is not readable", { app: name });
      return;
    }
    this.countConnect(name, -1);
    this.records.set(name, record);
    this.countConnect(name, 1);
  }

  private countConnect(name: string, by: 1 | -1): void {
    if (this.records.get(name)?.connect !== undefined) this.withConnectUrl += by;
  }
}
