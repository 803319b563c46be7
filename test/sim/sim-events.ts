/**
 * One event log behind a way of its own for each process: events take time, answers get
 * lost, and now and then it is away for all. Its chance is its own, so that a run has the
 * same faults elsewhere with it and without it.
 */
import { Fault } from "../../src/base/result.js";
import { MemoryEvents } from "../../src/drivers/memory-events.js";
import type { EventLog, LoggedEvent } from "../../src/ports/event-log.js";
import { SeededRandom } from "./seeded-random.js";
import type { SimProcess } from "./sim-process.js";
import type { World } from "./world.js";

export interface EventWatcher {
  /** In the order of the log; a repeated one comes once. */
  onStored(event: LoggedEvent): void;
}

const answerMs = 2_000;

export class SimEvents {
  readonly log: MemoryEvents;
  readonly watchers: EventWatcher[] = [];
  repeats = 0;
  private readonly random: SeededRandom;
  private isMended = false;

  constructor(readonly world: World) {
    this.log = new MemoryEvents({ monotonicMs: () => world.nowMs });
    this.random = new SeededRandom(world.seed ^ 0x5eed);
    this.goAndCome();
  }

  /** No more faults. */
  mend(): void {
    this.isMended = true;
    this.log.isAway = false;
  }

  connect(process: SimProcess): EventLog {
    // What was stored is the record that checkers compare with: it stays.
    return { publish: (event) => this.publish(process, event), forget: async () => undefined };
  }

  private goAndCome(): void {
    const { world, random, log } = this;
    world.after(random.between(500, 9_000), "events", () => {
      if (this.isMended) return;
      log.isAway = true;
      world.note("events", "away");
      world.after(random.between(200, 5_000), "events", () => {
        if (!this.isMended) world.note("events", "back");
        log.isAway = false;
        this.goAndCome();
      });
    });
  }

  private publish(process: SimProcess, event: LoggedEvent): Promise<{ isDuplicate: boolean }> {
    const { world, random } = this;
    const isSlow = !this.isMended && random.chance(0.03);
    const isAnswerLost = !this.isMended && random.chance(0.05);
    const wayMs = isSlow ? random.between(5, 800) : random.between(0.1, 1);
    return new Promise((resolve, reject) => {
      const fail = (fault: Fault) => process.receive("events", () => reject(fault));
      world.after(wayMs, "events", () => {
        const done = this.store(event);
        if (isAnswerLost) {
          const lost = new Fault("EVENTS_UNAVAILABLE", "unknown", "no answer in time");
          world.after(answerMs, "events", () => fail(lost));
          done.catch(() => undefined);
          return;
        }
        world.after(random.between(0.1, 1), "events", () => {
          done.then(
            (answer) => process.receive("events", () => resolve(answer)),
            (fault) => fail(fault as Fault),
          );
        });
      });
    });
  }

  private async store(event: LoggedEvent): Promise<{ isDuplicate: boolean }> {
    const answer = await this.log.publish(event);
    if (answer.isDuplicate) this.repeats++;
    else {
      this.world.note("events", "stores", () => `${event.id} ${event.subject}`);
      for (const watcher of this.watchers) watcher.onStored(event);
    }
    return answer;
  }
}
