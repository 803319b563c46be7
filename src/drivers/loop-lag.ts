/**
 * How late this process's loop comes to its timers: the lesser of the last two latenesses,
 * for one pause (a large collection, a paused process) is no lag.
 */
const everyMs = 50;

export class LoopLag {
  private readonly timer: NodeJS.Timeout;
  private dueMs = performance.now() + everyMs;
  private lateMs = 0;
  private lesserMs = 0;

  constructor() {
    this.timer = setInterval(this.look, everyMs).unref();
  }

  get ms(): number {
    return this.lesserMs;
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private readonly look = (): void => {
    const nowMs = performance.now();
    const lateMs = Math.max(0, nowMs - this.dueMs);
    this.lesserMs = Math.min(lateMs, this.lateMs);
    this.lateMs = lateMs;
    this.dueMs = nowMs + everyMs;
  };
}
