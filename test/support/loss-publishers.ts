/**
 * The services of a loss test: each pushes to each user, one push after the other, and
 * repeats what it was not told the fate of under its idempotency key until it is told.
 * How a push leaves (by request, or by a lane) is a `PublishWay`.
 */
import { EventEmitter } from "node:events";
import { createService, type Push, type Service } from "../../src/client/service-client.js";
import { connectNats, type NatsConnection } from "../../src/drivers/nats-connection.js";
import { SeededRandom } from "../sim/seeded-random.js";
import { notStoredCodes } from "./loss-judge.js";
import type { LossCommand, LossLedger, LossOutcome, LossWayKind } from "./loss-ledger.js";
import { app, type Platform } from "./platform.js";

/** One publisher's way into the platform. */
export interface PublishWay extends AsyncDisposable {
  /**
   * Resolves when the push's fate is known: a push with an `id` is repeated until it is,
   * for at most `deadlineMs`; one without is tried once. Never rejects.
   */
  publish(uid: string, push: Push, deadlineMs: number): Promise<LossOutcome>;
}

export type OpenWay = (platform: Platform, name: string) => Promise<PublishWay>;

/** What is asked of a user; the late ones' inboxes are counted, so all theirs are keyed. */
export interface LossRecipient {
  readonly uid: string;
  readonly isLate: boolean;
  readonly way: LossWayKind;
}

/** One attempt of a request: what a dead owner had in its hands is asked for again so late. */
const attemptMs = 1_000;
const backoff = { baseMs: 20, capMs: 200 };
/** Each publisher to each user: with two publishers and bursts, below 1,000 keys in a key window. */
const pushEveryMs = 2_000;
/** Below the 10 minutes that a key is remembered. */
const keyedDeadlineMs = 8 * 60_000;
const collapseKeys = 2;
const ttlSecondsMost = 12;

export class LossPublishers implements AsyncDisposable {
  /** When anybody was answered ok last, and the longest time in which nobody was. */
  private lastOkMs = performance.now();
  longestSilenceMs = 0;
  private isRunning = true;
  private readonly hurry = new EventEmitter();
  private readonly ways: PublishWay[] = [];
  private readonly runs: Promise<void>[] = [];

  constructor(
    private readonly platform: Platform,
    private readonly ledger: LossLedger,
    private readonly recipients: readonly LossRecipient[],
    private readonly seed: number,
  ) {
    this.hurry.setMaxListeners(0);
  }

  /** Everybody who waits for the next push sends it now: a fault then meets many on their way. */
  burst(): void {
    this.hurry.emit("now");
  }

  async add(name: string, kind: LossWayKind, open: OpenWay): Promise<void> {
    const way = await open(this.platform, name);
    this.ways.push(way);
    const recipients = this.recipients.filter((recipient) => recipient.way === kind);
    for (const [at, recipient] of recipients.entries()) {
      const firstMs = (pushEveryMs * at) / recipients.length;
      const random = new SeededRandom(this.seed * 7_919 + this.runs.length);
      this.runs.push(this.run(name, way, recipient, random, firstMs));
    }
  }

  /** Resolves when every push has ended. */
  async stop(): Promise<void> {
    this.isRunning = false;
    this.burst();
    await Promise.all(this.runs);
  }

  /** After a failure some may still be repeated, and are not waited for. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.isRunning = false;
    this.burst();
    for (const way of this.ways) await way[Symbol.asyncDispose]();
  }

  private async run(
    publisher: string,
    way: PublishWay,
    recipient: LossRecipient,
    random: SeededRandom,
    firstMs: number,
  ): Promise<void> {
    let dueMs = performance.now() + firstMs;
    for (let number = 1; this.isRunning; number++) {
      await this.pause(dueMs - performance.now());
      if (!this.isRunning) return;
      await this.push(way, recipient, commandOf(publisher, number, recipient, random));
      dueMs = Math.max(dueMs + pushEveryMs, performance.now());
    }
  }

  private async push(way: PublishWay, { uid }: LossRecipient, command: LossCommand): Promise<void> {
    const { publisher, number, isKeyed, collapse, ttlSeconds } = command;
    const sentMs = performance.now();
    const push = this.ledger.notePush(uid, { ...command, sentMs, sentWallMs: Date.now() });
    const bytes = {
      body: { publisher, number },
      ...(isKeyed ? { id: `${publisher}-${number}` } : {}),
      ...(collapse === undefined ? {} : { collapse }),
      ...(ttlSeconds === undefined ? {} : { ttl: ttlSeconds }),
    };
    push.outcome = await way.publish(uid, bytes, keyedDeadlineMs);
    push.endedMs = performance.now();
    push.endedWallMs = Date.now();
    if (push.outcome.kind === "ok") this.noteOk(push.endedMs);
  }

  private async pause(ms: number): Promise<void> {
    if (ms <= 0) return;
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.hurry.off("now", end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      this.hurry.once("now", end);
    });
  }

  private noteOk(nowMs: number): void {
    this.longestSilenceMs = Math.max(this.longestSilenceMs, nowMs - this.lastOkMs);
    this.lastOkMs = nowMs;
  }
}

function commandOf(
  publisher: string,
  number: number,
  { isLate, way }: LossRecipient,
  random: SeededRandom,
): LossCommand {
  const plain = { publisher, number, isKeyed: true };
  const kind = random.next();
  if (kind < 0.5) return plain;
  if (kind < 0.7) return { ...plain, collapse: `${publisher}-${random.below(collapseKeys)}` };
  // A time to live begins when the lane's owner accepts the push, which nobody is told.
  if (way === "lane") return { ...plain, isKeyed: isLate || kind < 0.85 };
  const ttlSeconds = 1 + random.below(ttlSecondsMost);
  if (kind < 0.85) return { ...plain, ttlSeconds };
  // Of two publishers: whose push stands last is told by the seqs alone.
  if (kind < 0.9) return { ...plain, collapse: "shared", ttlSeconds };
  return isLate ? plain : { ...plain, isKeyed: false };
}

/** By request, with the services' SDK. */
export const openRequests: OpenWay = async (platform, name) => {
  const { user, pass: password, inboxPrefix } = platform.nats.credentials.app(app);
  const { url } = platform.nats;
  const connection = await connectNats({ url, name, user, password, inboxPrefix });
  return new RequestWay(connection);
};

class RequestWay implements PublishWay {
  private readonly service: Service;

  constructor(private readonly connection: NatsConnection) {
    const { client } = connection;
    this.service = createService({ connection: client, app, timeoutMs: attemptMs, backoff });
  }

  async publish(uid: string, push: Push, deadlineMs: number): Promise<LossOutcome> {
    try {
      const answer =
        push.id === undefined
          ? await this.service.push(uid, push)
          : await this.service.pushReliably(uid, push, { deadlineMs });
      if (answer.ok) return { kind: "ok", id: answer.id, seq: answer.seq };
      const isKnown = !answer.retryable || notStoredCodes.has(answer.code);
      return { kind: isKnown ? "refused" : "unknown", why: answer.code };
    } catch (error) {
      return { kind: "unknown", why: String(error) };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection.close();
  }
}
