/**
 * Says when to acknowledge: after so many messages, or so long after the first that
 * waits. Acks are cumulative, so `send` reads the position itself, at that moment.
 *
 * Invariant: a timer runs exactly when something waits to be acknowledged.
 */
import type { Cancel, Clock } from "../base/clock.js";

export interface AckLimits {
  /** Messages after which an ack leaves at once. */
  readonly messagesMax: number;
  /** Milliseconds that a message waits for its ack at most. */
  readonly delayMs: number;
}

export class AckBatcher {
  private waiting = 0;
  private cancel: Cancel | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly limits: AckLimits,
    private readonly send: () => void,
  ) {}

  /** One more message to acknowledge. */
  note(): void {
    this.waiting += 1;
    if (this.waiting >= this.limits.messagesMax) {
      this.flush();
      return;
    }
    this.cancel ??= this.clock.after(this.limits.delayMs, () => this.flush());
  }

  /** Sends what waits, if anything does. */
  flush(): void {
    const isDue = this.waiting > 0;
    this.stop();
    if (isDue) this.send();
  }

  /** Forgets what waits: the connection is gone. */
  stop(): void {
    this.cancel?.();
    this.cancel = undefined;
    this.waiting = 0;
  }
}
