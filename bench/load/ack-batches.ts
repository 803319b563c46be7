/** When devices of a load acknowledge, as the SDK does, for all of one process. */
import type { Device } from "./device.js";

/** After so many messages, or so long after the first of them. */
export interface AckPolicy {
  readonly messagesMax: number;
  readonly delayMs: number;
}

const tickMs = 5;

export class AckBatches {
  /** All wait equally long, so it is in the order of its times. */
  private queue: { device: Device; dueMs: number }[] = [];
  /** Messages that acks were sent for. */
  acked = 0;

  constructor(public policy: AckPolicy) {
    setInterval(() => this.flush(), tickMs);
  }

  /** One more message, or one that was had before. */
  note(device: Device): void {
    device.unacked++;
    const { messagesMax, delayMs } = this.policy;
    if (device.unacked >= messagesMax) this.ack(device);
    else if (device.unacked === 1) {
      this.queue.push({ device, dueMs: performance.now() + delayMs });
    }
  }

  private ack(device: Device): void {
    this.acked += device.unacked;
    device.unacked = 0;
    device.sendAck();
  }

  private flush(): void {
    const nowMs = performance.now();
    let taken = 0;
    for (const { device, dueMs } of this.queue) {
      if (dueMs > nowMs) break;
      taken++;
      // Acked meanwhile because there were many.
      if (device.unacked > 0) this.ack(device);
    }
    if (taken > 0) this.queue = this.queue.slice(taken);
  }
}
