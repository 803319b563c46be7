/**
 * Requests to users through several NATS connections at once, and what became of each:
 * answered, failed, shown on the user's device.
 *
 *   const load = new PushLoad(platform, users, [viaFirst, viaSecond]);
 *   …break something…
 *   await load.stop();
 *   await load.untilShown();
 */
import { setTimeout as delay } from "node:timers/promises";
import { Fault } from "../../src/base/result.js";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import type { NatsConnection } from "../../src/drivers/nats-connection.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { pushUserSubject } from "../../src/protocol/subjects.js";
import { app, type Platform } from "./platform.js";
import { until } from "./until.js";

export interface Via {
  readonly name: string;
  readonly connection: NatsConnection;
}

export interface Failure {
  readonly user: string;
  readonly via: string;
  readonly code: string;
  readonly sentMs: number;
  readonly endedMs: number;
}

/** Of each user; they take turns, so that a short gap is seen, too. */
const everyMs = 100;
/**
 * Mere patience: whoever is not served is told so at once. What is in a silent node's hands
 * is not told at all, and fails then.
 */
const answerWithinMsDefault = 10_000;

export class PushLoad {
  readonly failures: Failure[] = [];
  answered = 0;
  /** The longest that a request took which was answered ok. */
  slowestMs = 0;
  private isRunning = true;
  private readonly accepted = new Map<string, number[]>();
  private readonly shown = new Map<string, number[]>();
  private readonly lanes: Promise<void>[] = [];

  constructor(
    platform: Platform,
    users: readonly string[],
    vias: readonly Via[],
    private readonly answerWithinMs = answerWithinMsDefault,
  ) {
    for (const [at, user] of users.entries()) {
      const accepted: number[] = [];
      const shown: number[] = [];
      this.accepted.set(user, accepted);
      this.shown.set(user, shown);
      platform.device(user, { onMessage: (message) => void shown.push(message.body as number) });
      this.lanes.push(this.run(user, vias, accepted, (everyMs * at) / users.length));
    }
  }

  /** Resolves when so many more were answered ok. */
  async untilAnswered(more: number, deadlineMs?: number): Promise<void> {
    const wanted = this.answered + more;
    await until(`${more} more are answered`, () => this.answered >= wanted, deadlineMs);
  }

  async stop(): Promise<void> {
    this.isRunning = false;
    await Promise.all(this.lanes);
  }

  /** Every device shows what was answered ok, in order and nothing twice. Throws what is not so. */
  async untilShown(): Promise<void> {
    for (const [user, accepted] of this.accepted) {
      const shown = this.shown.get(user) ?? [];
      await until(`${user} has all that was answered`, () => {
        const seen = new Set(shown);
        return accepted.every((number) => seen.has(number));
      });
      const inOrder = [...new Set(shown)].sort((a, b) => a - b);
      if (inOrder.join() !== shown.join()) throw new Error(`${user} was shown ${shown.join()}`);
    }
  }

  /** One user's pushes, one after the other, through each connection in turn. */
  private async run(
    user: string,
    vias: readonly Via[],
    accepted: number[],
    firstMs: number,
  ): Promise<void> {
    await delay(firstMs);
    for (let number = 1; this.isRunning; number++) {
      const via = vias[number % vias.length] as Via;
      const sentMs = performance.now();
      const code = await push(via.connection, user, number, this.answerWithinMs);
      const endedMs = performance.now();
      if (code === undefined) {
        accepted.push(number);
        this.answered++;
        this.slowestMs = Math.max(this.slowestMs, endedMs - sentMs);
      } else {
        this.failures.push({ user, via: via.name, code, sentMs, endedMs });
      }
      await delay(everyMs);
    }
  }
}

/** Undefined when it was answered ok, else why not. */
async function push(
  connection: NatsConnection,
  user: string,
  number: number,
  answerWithinMs: number,
) {
  const command = packValue({ body: number, id: `push-${number}` });
  try {
    const bus = new NatsBus(connection);
    const bytes = await bus.request(pushUserSubject(app, user), command, answerWithinMs);
    const answer = unpackValue(bytes) as PushAnswer;
    return answer.ok ? undefined : answer.code;
  } catch (cause) {
    if (cause instanceof Fault) return cause.code;
    throw cause;
  }
}
