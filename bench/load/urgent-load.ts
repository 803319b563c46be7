/** One push on the lane `high` every few milliseconds to devices in turn, from due to shown. */
import { setTimeout as delay } from "node:timers/promises";
import type { LaneService } from "../../test/support/lane-load.js";
import type { Platform } from "../../test/support/platform.js";
import { until } from "../../test/support/until.js";
import { Latencies } from "../harness/latency.js";

const urgentEveryMs = 20;
/** A lane has one push of a user under way at a time: each of these gets two or three a second. */
const uids = Array.from({ length: 20 }, (_, index) => `urgent-${index}`);

export class UrgentLoad implements AsyncDisposable {
  /** What is shown from now on goes in here. */
  latencies = new Latencies();
  private isRunning = true;
  private sent = 0;
  private shown = 0;
  private failed: unknown;
  private readonly open = new Set<Promise<unknown>>();
  private done: Promise<void> = Promise.resolve();

  static async start(platform: Platform, service: LaneService): Promise<UrgentLoad> {
    const load = new UrgentLoad();
    const onMessage = ({ body: dueMs }: { readonly body: unknown }) => {
      load.shown++;
      load.latencies.record(performance.now() - (dueMs as number));
    };
    const devices = uids.map((uid) => platform.device(uid, { onMessage }));
    await until("all are attached", () => devices.every(({ state }) => state.name === "attached"));
    load.done = load.run(service);
    return load;
  }

  private async run(service: LaneService): Promise<void> {
    for (let dueMs = performance.now(); this.isRunning; dueMs += urgentEveryMs) {
      await delay(Math.max(0, dueMs - performance.now()));
      const uid = uids[this.sent++ % uids.length] ?? "";
      const published: Promise<unknown> = service
        .publish("high", uid, { body: dueMs })
        .catch((error: unknown) => {
          this.failed ??= error;
        })
        .finally(() => this.open.delete(published));
      this.open.add(published);
    }
  }

  /** Throws when one was not taken, or is not shown. */
  async stop(): Promise<void> {
    await this[Symbol.asyncDispose]();
    if (this.failed !== undefined) throw this.failed;
    await until("all urgent pushes are shown", () => this.shown === this.sent);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isRunning = false;
    await this.done;
    await Promise.all(this.open);
  }
}
