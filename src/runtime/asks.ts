/**
 * Questions that wait for an answer. Each ends exactly once: by the answer, a
 * refusal, its deadline, or the end of the system.
 *
 * Invariant: a pending ask is in `pending` and on the timer wheel, or in neither.
 */
import type { Clock } from "../base/clock.js";
import { accepted, refused } from "../base/result.js";
import { WheelEntry } from "../base/timer-wheel.js";
import type { Counters } from "./counters.js";
import type { AskCode, Asker, AskResult } from "./envelope.js";
import type { Timers } from "./timers.js";

export class Asks {
  private readonly pending = new Map<number, PendingAsk>();
  private lastId = 0;

  constructor(
    private readonly clock: Clock,
    private readonly timers: Timers,
    private readonly counters: Counters,
    private readonly max: number,
  ) {}

  get size(): number {
    return this.pending.size;
  }

  /** `node` is where the answer must come from; undefined at the bound on pending asks. */
  open(
    node: string | undefined,
    deadlineMs: number,
    resolve: (result: AskResult<unknown>) => void,
  ): PendingAsk | undefined {
    this.counters.asks++;
    if (this.pending.size >= this.max) return undefined;
    this.lastId++;
    const ask = new PendingAsk(this, this.lastId, node, deadlineMs, resolve);
    this.pending.set(ask.id, ask);
    this.timers.scheduleAt(ask, Math.max(deadlineMs, this.clock.monotonicMs()));
    return ask;
  }

  /** The pending ask `id` if its answer may come from `node`; a late or forged one finds none. */
  find(id: number, node: string): PendingAsk | undefined {
    const ask = this.pending.get(id);
    return ask?.node === node ? ask : undefined;
  }

  /** All asks, or those that wait for one node. */
  refuseAll(code: AskCode, message: string, node?: string): void {
    for (const ask of [...this.pending.values()]) {
      if (node === undefined || ask.node === node) ask.refuse(code, message);
    }
  }

  /** Those that wait for any other node. */
  refuseRemote(code: AskCode, message: string): void {
    for (const ask of [...this.pending.values()]) {
      if (ask.node !== undefined) ask.refuse(code, message);
    }
  }

  /** @internal */
  close(ask: PendingAsk, result: AskResult<unknown>): void {
    if (!this.pending.delete(ask.id)) return;
    this.timers.cancel(ask);
    if (!result.ok) {
      if (result.code === "TIMEOUT") this.counters.askTimeouts++;
      else this.counters.askRefusals++;
    }
    ask.resolve(result);
  }
}

export class PendingAsk extends WheelEntry implements Asker {
  constructor(
    private readonly asks: Asks,
    readonly id: number,
    readonly node: string | undefined,
    readonly deadlineMs: number,
    readonly resolve: (result: AskResult<unknown>) => void,
  ) {
    super();
  }

  answer(value: unknown): void {
    this.asks.close(this, accepted(value));
  }

  refuse(code: string, message: string): void {
    this.asks.close(this, refused(code, message));
  }

  onDue(): void {
    this.refuse("TIMEOUT", "no answer before the deadline");
  }
}
