/**
 * Requests at a steady pace to each of a few users, none of them repeated: what a
 * service without patience would see. One that has not ended in ok by its deadline, or
 * was refused, has failed; a user's gap is the longest time between two of its answers.
 *
 * Open loop: a request is sent when it is due, whatever became of those before.
 */
import { setTimeout as delay } from "node:timers/promises";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { pushUserSubject } from "../../src/protocol/subjects.js";
import { app, type Platform } from "../../test/support/platform.js";

export interface SteadyCounts {
  readonly sent: number;
  readonly failed: number;
  readonly firstFailure: string;
  readonly longestRequestMs: number;
  /** Between two answers to one user; the pace is its floor. */
  readonly longestGapMs: number;
}

const deadlineMs = 5_000;

export class SteadyRequests {
  private sent = 0;
  private failed = 0;
  private firstFailure = "";
  private longestRequestMs = 0;
  private longestGapMs = 0;
  private readonly answeredMs = new Map<string, number>();
  private readonly running: Promise<void>[];
  private readonly bus: NatsBus;
  private isWanted = true;

  /** `command` as services send it; users that have devices get it, too. */
  constructor(
    platform: Platform,
    users: readonly string[],
    private readonly everyMs: number,
    command: object,
  ) {
    this.bus = new NatsBus(platform.operator);
    const payload = packValue(command);
    this.running = users.map((uid, at) =>
      this.run(uid, payload, (everyMs * at) / users.length).catch((error) => {
        this.fail(String(error));
      }),
    );
  }

  /** Sends no more, and resolves when all that was sent has ended. */
  async stop(): Promise<SteadyCounts> {
    this.isWanted = false;
    await Promise.all(this.running);
    const { sent, failed, firstFailure, longestRequestMs, longestGapMs } = this;
    return { sent, failed, firstFailure, longestRequestMs, longestGapMs };
  }

  private async run(uid: string, payload: Uint8Array, firstMs: number): Promise<void> {
    const open = new Set<Promise<void>>();
    let dueMs = performance.now() + firstMs;
    while (this.isWanted) {
      await delay(Math.max(0, dueMs - performance.now()));
      const request: Promise<void> = this.request(uid, payload).finally(() => open.delete(request));
      open.add(request);
      // A loop that is late does not send what it missed all at once.
      dueMs = Math.max(dueMs + this.everyMs, performance.now());
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
