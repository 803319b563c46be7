/**
 * Every ask ends (invariant 5), by a record of its own: the promise of each settles by
 * its deadline, as long as its process runs.
 */
import { ActorSystem } from "../../src/runtime/system.js";
import type { SimProcess } from "./sim-process.js";
import type { World } from "./world.js";

interface OpenAsk {
  readonly process: SimProcess;
  readonly untilMs: number;
  readonly what: string;
}

/** A timer wheel's tick, a clock's drift, and a turn of the loop. */
const lateMaxMs = 1_000;

export class AskChecks {
  private readonly open = new Set<OpenAsk>();
  asked = 0;

  constructor(private readonly world: World) {}

  /** Returns the way back. */
  watch(): () => void {
    const { ask } = ActorSystem.prototype;
    const { open, world } = this;
    const count = () => void this.asked++;
    ActorSystem.prototype.ask = async function (
      this: ActorSystem,
      to,
      message,
      deadlineMs,
      context,
    ) {
      count();
      const process = this.clock as SimProcess;
      const what = String((message as { kind?: unknown }).kind);
      const asked = { process, untilMs: world.nowMs + deadlineMs, what };
      open.add(asked);
      try {
        return await ask.call(this, to, message, deadlineMs, context);
      } finally {
        open.delete(asked);
      }
    } as typeof ask;
    return () => {
      ActorSystem.prototype.ask = ask;
    };
  }

  check(): void {
    const { world } = this;
    for (const asked of this.open) {
      const { process, untilMs, what } = asked;
      if (process.isDead) this.open.delete(asked);
      const dueMs = Math.max(untilMs, process.awakeSinceMs) + lateMaxMs;
      const isDue = !process.isDead && !process.isStopped && world.nowMs > dueMs;
      world.check(!isDue, 5, () => `${process.name} still waits for an answer to ${what}`);
    }
  }
}
