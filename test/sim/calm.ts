/**
 * Whether anything that may cost a plain publish is going on. Core NATS loses what
 * nobody takes, so nothing is owed while a fault lasts; but in the calm between faults
 * the shards are served, or move as planned, and then nothing may get lost.
 */
import type { World } from "./world.js";

/**
 * A call that a fault left without an answer ends only with its deadline, and what waits
 * for it may cost a lease even then.
 */
const aftermathMs = 5_500;

export class Calm {
  isCalm = false;
  private disturbedUntilMs = 0;
  private readonly listeners: (() => void)[] = [];

  constructor(private readonly world: World) {}

  /** `forMs`: how long the fault lasts; all its aftermath is over when `look` finds all settled. */
  disturb(forMs: number): void {
    const untilMs = this.world.nowMs + forMs + aftermathMs;
    this.disturbedUntilMs = Math.max(this.disturbedUntilMs, untilMs);
    if (!this.isCalm) return;
    this.isCalm = false;
    this.world.note("calm", "ends");
    for (const listener of this.listeners) listener();
  }

  /** All that was broken is mended now. */
  mend(): void {
    this.disturbedUntilMs = Math.min(this.disturbedUntilMs, this.world.nowMs + aftermathMs);
  }

  onDisturbed(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** `isSettled` is asked only when it matters. */
  look(isSettled: () => boolean): void {
    if (this.isCalm || this.world.nowMs < this.disturbedUntilMs || !isSettled()) return;
    this.isCalm = true;
    this.world.note("calm", "begins");
  }
}
