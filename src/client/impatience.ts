/** How often a wait may be ended before its time: by the app, and by a network that returns. */
import type { Clock } from "../base/clock.js";
import { taken, waitMs } from "../base/token-bucket.js";

/** A network that comes and goes hurries nobody more often. */
const hurryEveryMs = 5_000;
/** Beyond is no person, but a handler that calls in a circle. */
const connectRate = { perSecond: 0.2, burst: 5 };

export class Impatience {
  private hurriedAtMs = Number.NEGATIVE_INFINITY;
  private connectsFullAtMs = 0;

  constructor(private readonly clock: Clock) {}

  /** The app told it to connect; told more often, it comes back by its backoff. */
  mayConnect(): boolean {
    const nowMs = this.clock.monotonicMs();
    if (waitMs(this.connectsFullAtMs, connectRate, nowMs) > 0) return false;
    this.connectsFullAtMs = taken(this.connectsFullAtMs, connectRate, nowMs);
    return true;
  }

  mayHurry(): boolean {
    const nowMs = this.clock.monotonicMs();
    if (nowMs - this.hurriedAtMs < hurryEveryMs) return false;
    this.hurriedAtMs = nowMs;
    return true;
  }
}
