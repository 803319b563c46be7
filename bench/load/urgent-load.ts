/** One push on the lane `high` every few milliseconds to one device, from due to shown. */
import { setTimeout as delay } from "node:timers/promises";
import type { LaneService } from "../../test/support/lane-load.js";
import type { Platform } from "../../test/support/platform.js";
import { until } from "../../test/support/until.js";
import { Latencies } from "../harness/latency.js";

const urgentEveryMs = 20;

export class UrgentLoad {
  private readonly latencies = new Latencies();
  private isRunning = true;
  private sent = 0;
  private shown = 0;
  private done: Promise<void> = Promise.resolve();

  static async start(platform: Platform, service: LaneService): Promise<UrgentLoad> {
    const load = new UrgentLoad();
    const device = platform.device("urgent", {
      onMessage: ({ body: dueMs }) => {
        load.shown++;
        load.latencies.record(performance.now() - (dueMs as number));
      },
    });
    await until("the device is attached", () => device.state.name === "attached");
    load.done = load.run(service);
    return load;
  }

  private async run(service: LaneService): Promise<void> {
    for (let dueMs = performance.now(); this.isRunning; dueMs += urgentEveryMs) {
      await delay(Math.max(0, dueMs - performance.now()));
      this.sent++;
      void service.publish("high", "urgent", { body: dueMs });
    }
  }

  async stop() {
    this.isRunning = false;
    await this.done;
    await until("all urgent pushes are shown", () => this.shown === this.sent);
    return this.latencies.summary();
  }
}
