/**
 * Requests at a steady pace to each of a few users, none of them repeated: what a
 * service without patience would see. One that has not ended in ok by its deadline, or
 * was refused, has failed; a user's gap is the longest time between two of its answers.
 *
 * Open loop: a request is sent when it is due, whatever became of those before.
 */
import { setTimeout as delay } from "node:timers/promises";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { unpackValue } from "../../src/protocol/codec.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { pushUserSubject } from "../../src/protocol/subjects.js";
import { app, type Platform } from "../../test/support/platform.js";

/** The command of a user's n-th request, from 1 on; `at` is the user's place in the list. */
export type CommandOf = (at: number, number: number) => Uint8Array;

export interface SteadyCounts {
  readonly sent: number;
  readonly accepted: number;
  readonly failed: number;
  readonly firstFailure: string;
  readonly longestRequestMs: number;
  /** Between two answers to one user; the pace is its floor. */
  readonly longestGapMs: number;
}

const deadlineMs = 5_000;

export class SteadyRequests {
  private sent = 0;
  private accepted = 0;
  private failed = 0;
  private firstFailure = "";
  private longestRequestMs = 0;
  private longestGapMs = 0;
  private readonly answeredMs = new Map<string, number>();
  private readonly running: Promise<void>[];
  private readonly bus: NatsBus;
  private isWanted = true;

  constructor(
    platform: Platform,
    private readonly users: readonly string[],
    private readonly everyMs: number,
    private readonly commandOf: CommandOf,
  ) {
    this.bus = new NatsBus(platform.operator);
    this.running = users.map((uid, at) => this.run(uid, at));
  }

  /** Sends no more, and resolves when all that was sent has ended. */
  async stop(): Promise<SteadyCounts> {
    this.isWanted = false;
    await Promise.all(this.running);
    return this.counts();
  }

  counts(): SteadyCounts {
    const { sent, accepted, failed, firstFailure, longestRequestMs, longestGapMs } = this;
    return { sent, accepted, failed, firstFailure, longestRequestMs, longestGapMs };
  }

  /** What was longest counts anew. */
  resetLongest(): void {
    this.longestRequestMs = 0;
    this.longestGapMs = 0;
  }

  private async run(uid: string, at: number): Promise<void> {
    const { everyMs, users, commandOf } = this;
    const open = new Set<Promise<void>>();
    let dueMs = performance.now() + (everyMs * at) / users.length;
    for (let number = 1; ; number++) {
      await delay(Math.max(0, dueMs - performance.now()));
      if (!this.isWanted) break;
      const request: Promise<void> = this.request(uid, commandOf(at, number)).finally(() =>
        open.delete(request),
      );
      open.add(request);
      // A loop that is late does not send what it missed all at once.
      dueMs = Math.max(dueMs + everyMs, performance.now());
    }
    await Promise.all(open);
  }

  private async request(uid: string, payload: Uint8Array): Promise<void> {
    this.sent++;
    const sentMs = performance.now();
    try {
      const bytes = await this.bus.request(pushUserSubject(app, uid), payload, deadlineMs);
      const answer = unpackValue(bytes) as PushAnswer;
      if (!answer.ok) this.fail(`${uid}: ${answer.code}`);
      else this.noteAnswer(uid, sentMs);
    } catch (error) {
      this.fail(`${uid}: ${(error as Error).message}`);
    }
  }

  private noteAnswer(uid: string, sentMs: number): void {
    this.accepted++;
    const nowMs = performance.now();
    const gapMs = nowMs - (this.answeredMs.get(uid) ?? nowMs);
    this.answeredMs.set(uid, nowMs);
    this.longestGapMs = Math.max(this.longestGapMs, gapMs);
    this.longestRequestMs = Math.max(this.longestRequestMs, nowMs - sentMs);
  }

  private fail(why: string): void {
    this.failed++;
    if (this.failed === 1) this.firstFailure = why;
  }
}
