/**
 * How long a server asked to stay away, kept over a reload and for the next tab: opening the
 * page again is no way around it.
 */
import type { Clock } from "../base/clock.js";
import { hintMsMax } from "../base/retry-after.js";
import type { DeviceStorage } from "./device-storage.js";
import { LatestWriter } from "./latest-writer.js";

export class HoldMemory {
  private isRead = false;
  private readonly key: string;
  private readonly writer: LatestWriter;

  constructor(
    private readonly clock: Clock,
    private readonly storage: DeviceStorage,
    keyPrefix: string,
    private readonly onError: (error: unknown) => void,
  ) {
    this.key = `${keyPrefix}hold`;
    this.writer = new LatestWriter(storage, onError);
  }

  note(heldMs: number): void {
    this.writer.write(this.key, String(Math.ceil(this.clock.wallMs() + heldMs)));
  }

  /** Milliseconds that are left of it, the first time; then 0. */
  async load(): Promise<number> {
    if (this.isRead) return 0;
    this.isRead = true;
    try {
      const leftMs = Number(await this.storage.get(this.key)) - this.clock.wallMs();
      // Above that the clock was set back: what it meant is not known.
      return leftMs > 0 && leftMs <= hintMsMax ? leftMs : 0;
    } catch (error) {
      this.onError(error);
      return 0;
    }
  }
}
