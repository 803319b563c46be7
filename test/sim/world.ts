/**
 * One simulated world: true time, the heap of all events, chance, and the trace.
 *
 * Between two events every promise that can settle has settled: the loop goes on
 * only from a tick that Node runs once the queue of microtasks is empty. So a run
 * depends on nothing but its seed.
 */
import { EventHeap, type SimEvent } from "./event-heap.js";
import { SeededRandom } from "./seeded-random.js";
import { Trace } from "./trace.js";

/** A run that needs more is stuck in a loop that takes no time. */
const eventsMax = 5_000_000;

/** What ends a run at once: an invariant does not hold. */
export class Violation extends Error {
  override readonly name = "Violation";

  constructor(
    /** 1…6, DESIGN §10. */
    readonly invariant: number,
    message: string,
  ) {
    super(`invariant ${invariant}: ${message}`);
  }
}

export class World {
  nowMs = 0;
  readonly random: SeededRandom;
  readonly trace: Trace;
  private readonly heap = new EventHeap();
  private order = 0;
  private failure: unknown;

  constructor(
    readonly seed: number,
    isTraceKept: boolean,
  ) {
    this.random = new SeededRandom(seed);
    this.trace = new Trace(isTraceKept);
  }

  at(atMs: number, label: string, run: () => void, tie = this.random.word()): SimEvent {
    const dueMs = Math.max(atMs, this.nowMs);
    const event = { atMs: dueMs, tie, order: this.order++, label, run, isCancelled: false };
    this.heap.push(event);
    return event;
  }

  after(delayMs: number, label: string, run: () => void): SimEvent {
    return this.at(this.nowMs + delayMs, label, run);
  }

  note(where: string, what: string, detail: () => string = () => ""): void {
    this.trace.note(this.nowMs, where, what, detail);
  }

  /** The first failure ends the run, wherever it was seen. */
  fail(failure: unknown): void {
    this.failure ??= failure;
  }

  check(isHeld: boolean, invariant: number, message: () => string): void {
    if (!isHeld) this.fail(new Violation(invariant, message()));
  }

  /** Throws the failure, if there was one. */
  async runUntil(untilMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const next = (): void => {
        if (this.failure !== undefined || !this.step(untilMs)) {
          resolve();
          return;
        }
        // The tick is queued by a microtask, so it runs when no microtask is left.
        queueMicrotask(() => process.nextTick(next));
      };
      process.nextTick(next);
    });
    if (this.failure !== undefined) throw this.failure;
    this.nowMs = Math.max(this.nowMs, untilMs);
  }

  /** False when nothing is left to do by then. */
  private step(untilMs: number): boolean {
    for (;;) {
      const event = this.heap.pop();
      if (event === undefined) return false;
      if (event.isCancelled) continue;
      if (event.atMs > untilMs) {
        this.heap.push(event);
        return false;
      }
      this.nowMs = event.atMs;
      this.trace.count(event.atMs, event.label);
      if (this.trace.events > eventsMax) this.fail(new Error("the run does not end"));
      try {
        event.run();
      } catch (error) {
        this.fail(error);
      }
      return true;
    }
  }
}
