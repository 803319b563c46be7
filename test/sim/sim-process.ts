/**
 * A process that can be killed and paused, with a clock of its own that drifts.
 *
 * While it is paused what arrives waits, as it does in the kernel; afterwards it is
 * handled by kind, beginning with any kind, as an event loop that was stopped
 * anywhere does. A dead process runs nothing, and nothing of it is left.
 */
import type { Cancel, Clock } from "../../src/base/clock.js";
import type { World } from "./world.js";

/** The phases of an event loop. */
type Phase = "timer" | "io" | "turn";
const phases: readonly Phase[] = ["timer", "io", "turn"];

interface Waiting {
  readonly phase: Phase;
  readonly label: string;
  readonly run: () => void;
}

const wallBaseMs = Date.UTC(2026, 0, 1);

export class SimProcess implements Clock {
  isDead = false;
  private isPaused = false;
  private waiting: Waiting[] = [];
  private turnAtMs = -1;
  private turnTie = 0;
  private caughtUpMs = -1;
  /** When it last went on after a pause. */
  awakeSinceMs = 0;
  private readonly bornMs: number;

  /** `rate`: seconds of this clock in a true second. */
  constructor(
    readonly world: World,
    readonly name: string,
    readonly rate: number,
    private wallOffsetMs: number,
  ) {
    this.bornMs = world.nowMs;
  }

  // ---- its clock ----

  wallMs(): number {
    return Math.floor(wallBaseMs + this.wallOffsetMs + this.world.nowMs * this.rate);
  }

  monotonicMs(): number {
    return 1_000 + (this.world.nowMs - this.bornMs) * this.rate;
  }

  after(delayMs: number, callback: () => void): Cancel {
    const waitMs = Math.max(0, delayMs) / this.rate;
    let isCancelled = false;
    const event = this.world.after(waitMs, this.name, () =>
      this.handle("timer", this.name, () => {
        if (!isCancelled) callback();
      }),
    );
    return () => {
      isCancelled = true;
      event.isCancelled = true;
    };
  }

  soon(callback: () => void): void {
    const { world } = this;
    // All of one turn run together, in order; what they ask for is the next turn's.
    if (this.turnAtMs <= world.nowMs) {
      this.turnAtMs = world.nowMs + world.random.between(0.01, 0.1);
      this.turnTie = world.random.word();
    }
    const run = () => this.handle("turn", this.name, callback);
    world.at(this.turnAtMs, this.name, run, this.turnTie);
  }

  jumpWall(byMs: number): void {
    this.wallOffsetMs += byMs;
  }

  // ---- its life ----

  /** Input that arrives now. */
  receive(label: string, run: () => void): void {
    this.handle("io", label, run);
  }

  kill(): void {
    this.isDead = true;
    this.waiting = [];
  }

  pause(): void {
    this.isPaused = true;
  }

  get isStopped(): boolean {
    return this.isPaused;
  }

  resume(): void {
    if (!this.isPaused || this.isDead) return;
    this.isPaused = false;
    this.awakeSinceMs = this.world.nowMs;
    const { world, waiting } = this;
    this.waiting = [];
    const first = world.random.below(phases.length);
    const order = [...phases.slice(first), ...phases.slice(0, first)];
    this.caughtUpMs = world.nowMs;
    for (const phase of order) {
      for (const one of waiting.filter((each) => each.phase === phase)) this.handleLater(one);
    }
  }

  /** Behind all that waited while it was paused. */
  private handleLater({ phase, label, run }: Waiting): void {
    this.caughtUpMs += 0.001;
    this.world.at(this.caughtUpMs, label, () => {
      if (this.isDead) return;
      if (this.isPaused) this.waiting.push({ phase, label, run });
      else run();
    });
  }

  private handle(phase: Phase, label: string, run: () => void): void {
    if (this.isDead) return;
    if (this.isPaused) this.waiting.push({ phase, label, run });
    else if (this.caughtUpMs > this.world.nowMs) this.handleLater({ phase, label, run });
    else run();
  }
}
