/**
 * One lane for one group of shards, beside the group's owner: gives what the lane has to
 * the sessions, one push of a user at a time, and acks to the lane what they have on disk.
 *
 *   taking ──LaneTaken──▶ working ──LaneEnded──▶ (a while) ──▶ taking, from the first unacked on
 *
 * Who is refused for now is held back alone, and the lane gives more by what waits for him.
 * What is refused for good, or for too long, goes to the dead letters, and is acked when it
 * is safe there (topology/lane-refusal.ts).
 *
 * Invariant: of one user the pushes are told in the order of the lane, each after the one
 * before it was answered or buried. A gap ends the take, for its messages would come late.
 */
import { unreachable } from "../src/base/assert.js";
import type { LaneFeed, LaneMessage } from "../src/ports/lanes.js";
import { type ErrorAnswer, errorAnswer } from "../src/protocol/errors.js";
import type { PushAnswer } from "../src/protocol/push-answer.js";
import { partitionsOfGroup, shardOfKey } from "../src/protocol/shards.js";
import { shardPushSubject } from "../src/protocol/subjects.js";
import { Actor } from "../src/runtime/actor.js";
import { addressOn } from "../src/runtime/address.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { afterRefusal } from "../topology/lane-refusal.js";
import { isWindowCrowded } from "../topology/lane-window.js";
import { buryMessage } from "./lane-burial.js";
import type { NodeLanes } from "./lane-limits.js";
import type { LanePace } from "./lane-pace.js";
import { LaneQueue, type PlacedMessage } from "./lane-queue.js";
import { LaneWindows } from "./lane-windows.js";
import type {
  LaneRead,
  LaneWidened,
  LaneWorkerMessage,
  LetterKept,
  PushAnswered,
} from "./lane-worker-messages.js";
import { mayServe } from "./may-serve.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";
import type { ForShard } from "./shard-group.js";

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
  readonly message: PlacedMessage;
  readonly startedMs: number;
}

const workerKind: ActorKind = {
  name: "lane-worker",
  // What the lane gives unacked, its answers, and timers: far below.
  mailbox: { max: 65_536, onFull: "reject" },
  restart: "permanent",
  quantum: 256,
};

/** Refusals of a message that are waited for with its payload in hand: about a second. */
const keptAttempts = 3;
const sweepEveryMs = 1_000;

export class LaneWorker extends Actor<LaneWorkerMessage> {
  private queue = new LaneQueue();
  private windows: LaneWindows;
  private readonly underWay = new Map<number, UnderWay>();
  /** Of this take; what belongs to another one is not listened to. */
  private take = 0;
  private feed: LaneFeed | undefined = undefined;
  private isOver = false;
  /** A message was turned away by the full mailbox. */
  private hasGap = false;
  /** Payloads in the mailbox or asked for, of whatever take. */
  private comingBytes = 0;
  private taken = 0;
  private buried = 0;

  constructor(
    private readonly duty: LaneDuty,
    private readonly lane: string,
  ) {
    super();
    this.windows = this.newWindows();
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
    if (message.kind === "LaneGiven") this.comingBytes -= message.message.payload?.length ?? 0;
    if (message.kind === "LaneRead") this.comingBytes -= message.message.bytes;
    if ("take" in message && message.take !== this.take) return;
    switch (message.kind) {
      case "LaneTaken":
        this.feed = message.feed;
        return;
      case "LaneGiven":
        this.onGiven(message.message);
        return;
      case "LaneEnded":
        this.end(message.reason);
        return;
      case "LaneWidened":
        this.windows.settle(message.partition, message.window);
        return;
      case "LaneRead":
        this.onRead(message);
        return;
      case "PushAnswered":
        this.onAnswered(message);
        return;
      case "RetryTick":
        this.queue.release(message.key);
        this.fill();
        return;
      case "BuryTick":
        this.bury(message.message, message.refusal);
        return;
      case "LetterKept":
        this.onLetterKept(message);
        return;
      case "LetterBuried":
        this.onBuried(message.message);
        return;
      case "RetakeTick":
        this.begin();
        return;
      case "SweepTick":
        this.timer(sweepEveryMs, message);
        this.giveUpLate();
        this.widen();
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
    this.windows = this.newWindows();
    this.underWay.clear();
    this.hasGap = false;
    this.duty.pace.reset(this.lane);
  }

  private get partitions(): readonly number[] {
    return partitionsOfGroup(this.duty.group, this.duty.node.store.groupCount);
  }

  private newWindows(): LaneWindows {
    return new LaneWindows(this.partitions, this.duty.lanes.limits.unacked);
  }

  private async open(take: number): Promise<LaneFeed> {
    const { lanes, group, epoch } = this.duty;
    const { partitions, lane } = this;
    const { min: unackedMax } = lanes.limits.unacked;
    const claim = { lane, group, epoch, partitions, unackedMax };
    const feed = await lanes.queues.take(claim, {
      onMessage: (message) => this.onArrival(take, message),
      onEnd: (reason) => void this.tellSelf({ kind: "LaneEnded", take, reason }),
    });
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

  /** Outside of the actor's turn: what passes the bound in bytes is not to lie in the mailbox. */
  private onArrival(take: number, { payload, ...place }: LaneMessage): void {
    const bytes = payload.length;
    const isKept = this.hasRoomFor(bytes);
    const givenMs = this.duty.node.clock.monotonicMs();
    const message = { ...place, bytes, givenMs, payload: isKept ? payload : undefined };
    if (!this.tellSelf({ kind: "LaneGiven", take, message })) this.hasGap = true;
    else if (isKept) this.comingBytes += bytes;
  }

  private hasRoomFor(bytes: number): boolean {
    return this.queue.bytes + this.comingBytes + bytes <= this.duty.pace.bytesShare;
  }

  private onGiven(message: PlacedMessage): void {
    if (this.hasGap) {
      this.end("a message was turned away");
      return;
    }
    this.queue.add(message);
    this.fill();
  }

  private widen(): void {
    const { feed, take, windows } = this;
    if (feed === undefined) return;
    for (const [partition, window] of windows.due((each) => this.queue.apartOf(each))) {
      const widened = (done?: number): LaneWidened => {
        return { kind: "LaneWidened", take, partition, window: done };
      };
      this.pipe(
        feed.widen(partition, window),
        () => widened(window),
        () => widened(),
      );
    }
  }

  // ---- pushes ----

  private fill(): void {
    const { node, incarnation, pace } = this.duty;
    if (!mayServe(node, incarnation)) return;
    for (let room = pace.room(this.lane, this.queue.readyCount); room > 0; room--) {
      const message = this.queue.first();
      if (message === undefined || !this.fits(message)) return;
      this.queue.next();
      this.start(message);
    }
  }

  /** What is to be read waits until bytes are free; one at a time may always be. */
  private fits({ payload, bytes }: PlacedMessage): boolean {
    return payload !== undefined || this.underWay.size === 0 || this.hasRoomFor(bytes);
  }

  private start(message: PlacedMessage): void {
    const { node, pace } = this.duty;
    this.underWay.set(message.sequence, { message, startedMs: node.clock.monotonicMs() });
    pace.started(this.lane);
    if (message.payload === undefined) this.read(message);
    else this.give(message, message.payload);
  }

  private read(message: PlacedMessage): void {
    const { lane, take } = this;
    this.comingBytes += message.bytes;
    const told = (read: LaneRead["read"]): LaneRead => ({ kind: "LaneRead", take, message, read });
    this.pipe(
      this.duty.lanes.queues.read(lane, message.sequence),
      (payload) => told({ ok: true, payload }),
      (error) => told({ ok: false, reason: (error as Error).message }),
    );
  }

  private onRead({ take, message, read }: LaneRead): void {
    const { sequence } = message;
    // It was late, and is told already as another read had it.
    if (!this.underWay.has(sequence) || message.payload !== undefined) return;
    if (!read.ok) {
      const answer = errorAnswer("STORE_UNAVAILABLE", read.reason);
      this.onAnswered({ kind: "PushAnswered", take, sequence, answer });
    } else if (read.payload === undefined) {
      // Its time in the lane is over, or it was purged.
      this.settle(sequence);
      message.ack();
      this.queue.done(message.key, false);
      this.fill();
    } else {
      this.queue.restore(message, read.payload);
      this.give(message, read.payload);
    }
  }

  private give({ key, sequence, storedAtMs }: PlacedMessage, payload: Uint8Array): void {
    const { node, incarnation, group } = this.duty;
    const { lane, take } = this;
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
    const message = this.settle(sequence, answer.ok);
    if (message === undefined) return;
    if (answer.ok) {
      this.taken++;
      message.ack();
      this.queue.done(message.key, true);
    } else this.onRefused(message, answer);
    this.fill();
  }

  /** It is under way no more. `tellsTime`: how long it took is the store's doing. */
  private settle(sequence: number, tellsTime = false): PlacedMessage | undefined {
    const known = this.underWay.get(sequence);
    if (known === undefined) return undefined;
    const nowMs = this.duty.node.clock.monotonicMs();
    this.underWay.delete(sequence);
    this.duty.pace.ended(this.lane, nowMs, tellsTime ? nowMs - known.startedMs : undefined);
    return known.message;
  }

  private onRefused(message: PlacedMessage, refusal: ErrorAnswer): void {
    const { node, lanes, pace } = this.duty;
    const { key, givenMs } = message;
    const nowMs = node.clock.monotonicMs();
    const { attempts, sinceMs, partition } = this.queue.refused(key, refusal.code, nowMs);
    const after = afterRefusal(
      {
        refusal,
        attempts,
        waitedMs: nowMs - givenMs,
        sameCodeMs: nowMs - Math.max(givenMs, sinceMs),
        isCrowded: isWindowCrowded(this.queue.apartOf(partition), lanes.limits.unacked),
        isOwnLane: pace.isOwn(this.lane),
      },
      lanes.limits.retries,
      node.random.next(),
    );
    if (after.kind === "bury") {
      this.bury(message, refusal);
      return;
    }
    if (after.isApart) {
      // Who waits long keeps no others from their bytes, and may be erased meanwhile.
      const isShort = this.queue.attempts(key) <= keptAttempts;
      this.queue.setApart(key, isShort && this.queue.bytes <= pace.bytesShare / 2);
    }
    this.timer(after.delayMs, { kind: "RetryTick", take: this.take, key });
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

  private bury(message: PlacedMessage, refusal: ErrorAnswer): void {
    const { lane, take } = this;
    const attempts = this.queue.attempts(message.key);
    this.pipe(
      buryMessage(this.duty.lanes.queues, lane, message, refusal, attempts),
      () => ({ kind: "LetterBuried", take, message }),
      (error) => ({ kind: "LetterKept", take, message, refusal, reason: (error as Error).message }),
    );
  }

  private onLetterKept({ take, message, refusal, reason }: LetterKept): void {
    const { node, lanes } = this.duty;
    node.log.warn("a dead letter is not taken", { lane: this.lane, reason });
    this.queue.setApart(message.key, false);
    this.timer(lanes.limits.buryAgainMs, { kind: "BuryTick", take, message, refusal });
  }

  private onBuried(message: PlacedMessage): void {
    this.buried++;
    message.ack();
    this.queue.done(message.key, false);
    this.fill();
  }

  override inspect(): Record<string, unknown> {
    const { duty, queue, underWay, taken, buried } = this;
    return {
      lane: this.lane,
      isTaken: this.feed !== undefined,
      unacked: queue.size,
      ready: queue.readyCount,
      apart: queue.apartCount,
      payloadBytes: queue.bytes + this.comingBytes,
      underWay: underWay.size,
      inFlightMax: duty.pace.limit,
      taken,
      buried,
    };
  }
}
