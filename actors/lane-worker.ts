/**
 * One lane for one group of shards, beside the group's owner: gives what the lane has to
 * the sessions, one push of a user at a time, and acks to the lane what they have on disk.
 *
 *   taking ──LaneTaken──▶ working ──LaneEnded──▶ (a while) ──▶ taking, from the first unacked on
 *
 * Who is refused for now is held back alone; what is refused for good, or too often, goes
 * to the dead letters, and is acked when it is safe there.
 *
 * Invariant: of one user the pushes are told in the order of the lane, each after the one
 * before it was answered or buried. A gap ends the take, for its messages would come late.
 */
import { unreachable } from "../src/base/assert.js";
import type { LaneFeed, LaneMessage } from "../src/ports/lanes.js";
import { type ErrorAnswer, errorAnswer } from "../src/protocol/errors.js";
import type { PushAnswer } from "../src/protocol/push-answer.js";
import { partitionsOfGroup, type SessionKey, shardOfKey } from "../src/protocol/shards.js";
import { shardPushSubject } from "../src/protocol/subjects.js";
import { Actor } from "../src/runtime/actor.js";
import { addressOn } from "../src/runtime/address.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { NodeLanes } from "./lane-limits.js";
import type { LanePace } from "./lane-pace.js";
import { LaneQueue } from "./lane-queue.js";
import { mayServe } from "./may-serve.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";
import type { ForShard } from "./shard-group.js";

interface LaneTaken {
  readonly kind: "LaneTaken";
  readonly take: number;
  readonly feed: LaneFeed;
}

interface LaneGiven {
  readonly kind: "LaneGiven";
  readonly take: number;
  readonly message: LaneMessage;
}

interface LaneEnded {
  readonly kind: "LaneEnded";
  readonly take: number;
  readonly reason: string;
}

interface PushAnswered {
  readonly kind: "PushAnswered";
  readonly take: number;
  readonly sequence: number;
  readonly answer: PushAnswer;
}

interface RetryTick {
  readonly kind: "RetryTick";
  readonly take: number;
  readonly key: SessionKey;
}

interface BuryTick {
  readonly kind: "BuryTick";
  readonly take: number;
  readonly message: LaneMessage;
  readonly refusal: ErrorAnswer;
}

interface LetterKept {
  readonly kind: "LetterKept";
  readonly take: number;
  readonly message: LaneMessage;
  readonly refusal: ErrorAnswer;
  readonly reason: string;
}

interface LetterBuried {
  readonly kind: "LetterBuried";
  readonly take: number;
  readonly message: LaneMessage;
}

interface RetakeTick {
  readonly kind: "RetakeTick";
}

interface SweepTick {
  readonly kind: "SweepTick";
}

export type LaneWorkerMessage =
  | LaneTaken
  | LaneGiven
  | LaneEnded
  | PushAnswered
  | RetryTick
  | BuryTick
  | LetterKept
  | LetterBuried
  | RetakeTick
  | SweepTick;

/** What all workers of a group are made with. */
export interface LaneDuty {
  readonly node: NodeContext;
  readonly lanes: NodeLanes;
  readonly incarnation: string;
  readonly group: number;
  readonly epoch: number;
  readonly pace: LanePace;
}

interface UnderWay {
  readonly message: LaneMessage;
  readonly startedMs: number;
}

const workerKind: ActorKind = {
  name: "lane-worker",
  // What the lane gives unacked, its answers, and timers: far below.
  mailbox: { max: 65_536, onFull: "reject" },
  restart: "permanent",
  quantum: 256,
};

const sweepEveryMs = 1_000;
/** Refusals that are of the user's own making: waiting for the platform mends nothing. */
const ownRefusals = ["INBOX_FULL", "KEYS_FULL"];

export class LaneWorker extends Actor<LaneWorkerMessage> {
  private queue = new LaneQueue();
  private readonly underWay = new Map<number, UnderWay>();
  /** Of this take; what belongs to another one is not listened to. */
  private take = 0;
  private feed: LaneFeed | undefined = undefined;
  private isOver = false;
  /** A message was turned away by the full mailbox. */
  private hasGap = false;
  private taken = 0;
  private buried = 0;

  constructor(
    private readonly duty: LaneDuty,
    private readonly lane: string,
  ) {
    super();
  }

  get kind(): ActorKind {
    return workerKind;
  }

  protected override started(): void {
    this.begin();
    this.timer(sweepEveryMs, { kind: "SweepTick" });
  }

  protected override async stopping(): Promise<void> {
    this.isOver = true;
    this.duty.pace.reset(this.lane);
    await this.feed?.close().catch(() => undefined);
  }

  receive(message: LaneWorkerMessage): void {
    switch (message.kind) {
      case "LaneTaken":
        if (message.take === this.take) this.feed = message.feed;
        return;
      case "LaneGiven":
        if (message.take === this.take) this.onGiven(message.message);
        return;
      case "LaneEnded":
        if (message.take === this.take) this.end(message.reason);
        return;
      case "PushAnswered":
        if (message.take === this.take) this.onAnswered(message);
        return;
      case "RetryTick":
        if (message.take !== this.take) return;
        this.queue.release(message.key);
        this.fill();
        return;
      case "BuryTick":
        if (message.take === this.take) this.bury(message.message, message.refusal);
        return;
      case "LetterKept":
        if (message.take === this.take) this.onLetterKept(message);
        return;
      case "LetterBuried":
        if (message.take === this.take) this.onBuried(message.message);
        return;
      case "RetakeTick":
        this.begin();
        return;
      case "SweepTick":
        this.timer(sweepEveryMs, message);
        this.giveUpLate();
        this.fill();
        return;
      default:
        unreachable(message);
    }
  }

  // ---- the lane ----

  private begin(): void {
    this.letGo();
    const { take } = this;
    this.pipe(
      this.open(take),
      (feed) => ({ kind: "LaneTaken", take, feed }),
      (error) => ({ kind: "LaneEnded", take, reason: (error as Error).message }),
    );
  }

  /** Of all that was given nothing counts any more. */
  private letGo(): void {
    this.take++;
    this.feed = undefined;
    this.queue = new LaneQueue();
    this.underWay.clear();
    this.hasGap = false;
    this.duty.pace.reset(this.lane);
  }

  private async open(take: number): Promise<LaneFeed> {
    const { lanes, node, group, epoch } = this.duty;
    const partitions = partitionsOfGroup(group, node.store.groupCount);
    const { unackedMax } = lanes.limits;
    const feed = await lanes.queues.take(
      { lane: this.lane, group, epoch, partitions, unackedMax },
      {
        onMessage: (message) => {
          if (!this.tellSelf({ kind: "LaneGiven", take, message })) this.hasGap = true;
        },
        onEnd: (reason) => void this.tellSelf({ kind: "LaneEnded", take, reason }),
      },
    );
    if (this.isOver || take !== this.take) await feed.close();
    return feed;
  }

  /** What it was given comes again with the next take; what of it was taken is known then. */
  private end(reason: string): void {
    const { node, lanes, group } = this.duty;
    // Once: it may be tried for as long as the bus is away.
    const isNews = this.feed !== undefined;
    node.log[isNews ? "info" : "debug"]("a lane ended", { lane: this.lane, group, reason });
    void this.feed?.close().catch(() => undefined);
    this.letGo();
    const { retakeMs } = lanes.limits;
    this.timer(retakeMs * (0.5 + node.random.next()), { kind: "RetakeTick" });
  }

  private onGiven(message: LaneMessage): void {
    if (this.hasGap) {
      this.end("a message was turned away");
      return;
    }
    this.queue.add(message);
    this.fill();
  }

  // ---- pushes ----

  private fill(): void {
    const { node, incarnation, pace } = this.duty;
    if (!mayServe(node, incarnation)) return;
    for (let room = pace.room(this.lane, this.queue.readyCount); room > 0; room--) {
      const message = this.queue.next();
      if (message === undefined) return;
      this.start(message);
    }
  }

  private start(message: LaneMessage): void {
    const { node, pace, incarnation, group } = this.duty;
    const { lane, take } = this;
    const { key, payload, sequence, storedAtMs } = message;
    this.underWay.set(sequence, { message, startedMs: node.clock.monotonicMs() });
    pace.started(lane);
    const shard = shardOfKey(key);
    const answered = (answer: PushAnswer) => {
      this.tellSelf({ kind: "PushAnswered", take, sequence, answer });
    };
    const name = nodeNameOf({ nodeId: node.nodeId, incarnation });
    this.tell(addressOn(name, `shards/${group}`), {
      kind: "ForShard",
      shard,
      message: {
        kind: "ReceivePush",
        push: { subject: shardPushSubject(shard, key), payload },
        sinceMs: node.clock.monotonicMs(),
        lane: { origin: { lane, sequence, storedAtMs }, reply: { answered } },
      },
    } satisfies ForShard);
  }

  private onAnswered({ sequence, answer }: PushAnswered): void {
    const known = this.underWay.get(sequence);
    if (known === undefined) return;
    const { message, startedMs } = known;
    const nowMs = this.duty.node.clock.monotonicMs();
    this.underWay.delete(sequence);
    this.duty.pace.ended(this.lane, nowMs, answer.ok ? nowMs - startedMs : undefined);
    if (answer.ok) this.leave(message);
    else this.onRefused(message, answer);
    this.fill();
  }

  private leave(message: LaneMessage): void {
    this.taken++;
    message.ack();
    this.queue.done(message.key);
  }

  private onRefused(message: LaneMessage, refusal: ErrorAnswer): void {
    const { limits } = this.duty.lanes;
    const { key } = message;
    const attempts = this.queue.refused(key);
    const { ownAttemptsMax, attemptsMax } = limits;
    const most = ownRefusals.includes(refusal.code) ? ownAttemptsMax : attemptsMax;
    if (!refusal.retryable || attempts >= most) {
      this.bury(message, refusal);
      return;
    }
    const delayMs = Math.min(limits.retryMsMax, limits.retryMs * 2 ** Math.min(attempts - 1, 20));
    const jitter = 0.5 + this.duty.node.random.next() / 2;
    this.timer(delayMs * jitter, { kind: "RetryTick", take: this.take, key });
  }

  private giveUpLate(): void {
    const { node, lanes } = this.duty;
    const latestMs = node.clock.monotonicMs() - lanes.limits.answerMs;
    for (const [sequence, { startedMs }] of this.underWay) {
      // In the order in which they were started.
      if (startedMs > latestMs) break;
      const answer = errorAnswer("TIMEOUT");
      this.onAnswered({ kind: "PushAnswered", take: this.take, sequence, answer });
    }
  }

  // ---- dead letters ----

  private bury(message: LaneMessage, refusal: ErrorAnswer): void {
    const { lane, take } = this;
    const { key, payload, sequence, storedAtMs } = message;
    const { code, message: why } = refusal;
    const attempts = this.queue.attempts(key);
    const letter = { lane, key, payload, sequence, storedAtMs, code, message: why, attempts };
    this.pipe(
      this.duty.lanes.queues.bury(letter),
      () => ({ kind: "LetterBuried", take, message }),
      (error) => ({ kind: "LetterKept", take, message, refusal, reason: (error as Error).message }),
    );
  }

  private onLetterKept({ take, message, refusal, reason }: LetterKept): void {
    const { node, lanes } = this.duty;
    node.log.warn("a dead letter is not taken", { lane: this.lane, reason });
    this.timer(lanes.limits.retryMsMax, { kind: "BuryTick", take, message, refusal });
  }

  private onBuried(message: LaneMessage): void {
    this.buried++;
    message.ack();
    this.queue.done(message.key);
    this.fill();
  }

  override inspect(): Record<string, unknown> {
    const { duty, queue, underWay, taken, buried } = this;
    return {
      lane: this.lane,
      isTaken: this.feed !== undefined,
      unacked: queue.size,
      ready: queue.readyCount,
      underWay: underWay.size,
      inFlightMax: duty.pace.limit,
      taken,
      buried,
    };
  }
}
