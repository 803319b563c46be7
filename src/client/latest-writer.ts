/**
 * Writes values to a storage that may be slow: one write of a key at a time, and of
 * those that wait only the newest. At most one value waits per key.
 */
import type { DeviceStorage } from "./device-storage.js";

export class LatestWriter {
  private readonly writing = new Set<string>();
  private readonly waiting = new Map<string, string>();

  constructor(
    private readonly storage: DeviceStorage,
    private readonly onError: (error: unknown) => void,
  ) {}

  /** A storage that answers at once has the value when this returns. */
  write(key: string, value: string): void {
    if (this.writing.has(key)) {
      this.waiting.set(key, value);
      return;
    }
    try {
      const written = this.storage.set(key, value);
      if (written !== undefined) this.follow(key, Promise.resolve(written));
    } catch (error) {
      this.onError(error);
    }
  }

  private follow(key: string, written: Promise<unknown>): void {
    this.writing.add(key);
    void written.catch(this.onError).then(() => {
      this.writing.delete(key);
      const next = this.waiting.get(key);
      if (next === undefined) return;
      this.waiting.delete(key);
      this.write(key, next);
    });
  }
}
