/** The event log in memory, for unit tests and the simulator; what it holds can be read off. */
import type { Clock } from "../base/clock.js";
import { Fault } from "../base/result.js";
import { duplicateWindowMs, type EventLog, type LoggedEvent } from "../ports/event-log.js";

export class MemoryEvents implements EventLog {
  readonly stored: LoggedEvent[] = [];
  /** Nothing is stored meanwhile, and every publisher is told so. */
  isAway = false;
  /** So many of the next events are stored, and the answers are lost. */
  lostAnswers = 0;
  /** By id, in the order of the times at which they were stored. */
  private readonly storedAtMs = new Map<string, number>();

  constructor(private readonly clock: Pick<Clock, "monotonicMs">) {}

  async publish(event: LoggedEvent): Promise<{ readonly isDuplicate: boolean }> {
    if (this.isAway) throw new Fault("EVENTS_UNAVAILABLE", "not-done", "the event log is away");
    const nowMs = this.clock.monotonicMs();
    this.forgetIds(nowMs);
    const isDuplicate = this.storedAtMs.has(event.id);
    if (!isDuplicate) {
      this.storedAtMs.set(event.id, nowMs);
      this.stored.push(event);
    }
    if (this.lostAnswers > 0) {
      this.lostAnswers--;
      throw new Fault("EVENTS_UNAVAILABLE", "unknown", "the answer is lost");
    }
    return { isDuplicate };
  }

  async forget(subjects: string): Promise<void> {
    if (this.isAway) throw new Fault("EVENTS_UNAVAILABLE", "not-done", "the event log is away");
    const isMeant = ({ subject }: LoggedEvent) =>
      subjects.endsWith(">") ? subject.startsWith(subjects.slice(0, -1)) : subject === subjects;
    const kept = this.stored.filter((event) => !isMeant(event));
    this.stored.splice(0, this.stored.length, ...kept);
  }

  private forgetIds(nowMs: number): void {
    for (const [id, atMs] of this.storedAtMs) {
      if (nowMs - atMs < duplicateWindowMs) return;
      this.storedAtMs.delete(id);
    }
  }
}
