/** Lanes in memory, for tests and the simulator: as the stream is, but that nothing is on disk. */
import type { Clock } from "../base/clock.js";
import { Fault } from "../base/result.js";
import type {
  DeadLetter,
  LaneClaim,
  LaneFeed,
  LaneFigures,
  LaneReceiver,
  Lanes,
  StoredLetter,
} from "../ports/lanes.js";
import type { LaneRecord } from "../protocol/lane-record.js";
import { appOfKey, partitionCount, type SessionKey, shardOfKey } from "../protocol/shards.js";

interface Waiting {
  readonly key: SessionKey;
  readonly payload: Uint8Array;
  readonly sequence: number;
  readonly storedAtMs: number;
}

interface Taker {
  readonly claim: LaneClaim;
  readonly receiver: LaneReceiver;
  /** How many of each partition it was given and has not acked. */
  readonly unacked: Map<number, number>;
  /** And how many it may have, where that is not the claim's. */
  readonly windows: Map<number, number>;
  readonly given: Set<number>;
  isClosed?: boolean;
}

interface Queue {
  app: string | undefined;
  lastSequence: number;
  readonly waiting: Map<number, Waiting>;
  readonly takers: Set<Taker>;
}

export class MemoryLanes implements Lanes {
  private readonly queues = new Map<string, Queue>();
  private letters: StoredLetter[] = [];
  private lastLetter = 0;
  /** Set by tests: acks are lost from now on. */
  losesAcks = false;
  /** Set by tests: nothing can be buried. */
  buriesNothing = false;
  /** For tests: how many messages were read again. */
  reads = 0;

  /** `messagesMax`: of one lane; beyond, it refuses. */
  constructor(
    private readonly clock: Clock,
    private readonly messagesMax = 100_000,
  ) {}

  /** What a service does; the receipt is the sequence. Throws Fault where no lane takes it. */
  async publish(lane: string, key: SessionKey, payload: Uint8Array): Promise<number> {
    const queue = this.queues.get(lane);
    if (queue === undefined || (queue.app !== undefined && queue.app !== appOfKey(key))) {
      throw new Fault("NO_LANE", "not-done", `nothing takes what is published on ${lane}`);
    }
    if (queue.waiting.size >= this.messagesMax) {
      throw new Fault("LANE_FULL", "not-done", `the lane ${lane} is full`);
    }
    const sequence = ++queue.lastSequence;
    queue.waiting.set(sequence, { key, payload, sequence, storedAtMs: this.clock.wallMs() });
    this.give(queue);
    return sequence;
  }

  async ensure({ lane, app }: LaneRecord): Promise<void> {
    const queue = this.queues.get(lane);
    if (queue !== undefined) queue.app = app;
    else this.queues.set(lane, { app, lastSequence: 0, waiting: new Map(), takers: new Set() });
  }

  async take(claim: LaneClaim, receiver: LaneReceiver): Promise<LaneFeed> {
    const queue = this.queues.get(claim.lane);
    if (queue === undefined) throw unavailable(claim.lane);
    const former = [...queue.takers].filter(({ claim: { partitions } }) =>
      partitions.some((partition) => claim.partitions.includes(partition)),
    );
    if (former.some(({ claim: other }) => other.epoch > claim.epoch)) {
      throw new Fault("LANE_TAKEN", "not-done", `a later owner has group ${claim.group}`);
    }
    for (const taker of former) {
      queue.takers.delete(taker);
      taker.receiver.onEnd("consumer_deleted");
    }
    const [unacked, windows, given] = [new Map(), new Map(), new Set<number>()];
    const taker: Taker = { claim, receiver, unacked, windows, given };
    queue.takers.add(taker);
    this.give(queue);
    // As a durable consumer, it stays when its taker has gone away.
    const close = async () => {
      taker.isClosed = true;
    };
    const widen = async (partition: number, unackedMax: number) => {
      windows.set(partition, unackedMax);
      this.give(queue);
    };
    return { close, widen };
  }

  async read(lane: string, sequence: number): Promise<Uint8Array | undefined> {
    const queue = this.queues.get(lane);
    if (queue === undefined) throw unavailable(lane);
    this.reads++;
    return queue.waiting.get(sequence)?.payload;
  }

  async bury(letter: DeadLetter): Promise<void> {
    if (this.buriesNothing) throw unavailable("dead letters");
    const { lane, sequence, storedAtMs } = letter;
    const isSame = (other: StoredLetter) =>
      other.lane === lane && other.sequence === sequence && other.storedAtMs === storedAtMs;
    if (this.letters.some(isSame)) return;
    const number = ++this.lastLetter;
    this.letters.push({ ...letter, number, diedAtMs: this.clock.wallMs() });
  }

  async figures(lane: string): Promise<LaneFigures | undefined> {
    const queue = this.queues.get(lane);
    if (queue === undefined) return undefined;
    const waiting = [...queue.waiting.values()];
    const [oldest] = waiting;
    return {
      messages: waiting.length,
      bytes: waiting.reduce((sum, { payload }) => sum + payload.length, 0),
      deadLetters: this.letters.filter((letter) => letter.lane === lane).length,
      ...(oldest === undefined ? {} : { oldestAtMs: oldest.storedAtMs }),
    };
  }

  async deadLetters(lane: string, limit: number): Promise<readonly StoredLetter[]> {
    return this.letters.filter((letter) => letter.lane === lane).slice(0, limit);
  }

  async replay(lane: string, number: number): Promise<boolean> {
    const letter = this.letters.find((each) => each.lane === lane && each.number === number);
    if (letter === undefined) return false;
    await this.publish(lane, letter.key, letter.payload);
    this.letters = this.letters.filter((each) => each !== letter);
    return true;
  }

  async forget(lanes: readonly string[], key: SessionKey): Promise<void> {
    for (const lane of lanes) {
      const queue = this.queues.get(lane);
      if (queue === undefined) continue;
      for (const [sequence, waiting] of queue.waiting) {
        if (waiting.key !== key) continue;
        queue.waiting.delete(sequence);
        const partition = shardOfKey(key) % partitionCount;
        for (const taker of queue.takers) {
          if (!taker.given.delete(sequence)) continue;
          taker.unacked.set(partition, (taker.unacked.get(partition) ?? 1) - 1);
        }
      }
      this.give(queue);
    }
    this.letters = this.letters.filter((letter) => letter.key !== key);
  }

  async drop(lane: string): Promise<void> {
    const takers = this.queues.get(lane)?.takers ?? [];
    this.queues.delete(lane);
    for (const { receiver } of takers) receiver.onEnd("stream_not_found");
  }

  private give(queue: Queue): void {
    for (const taker of queue.takers) {
      for (const message of queue.waiting.values()) {
        if (taker.isClosed === true || taker.given.has(message.sequence)) continue;
        const partition = shardOfKey(message.key) % partitionCount;
        if (!taker.claim.partitions.includes(partition)) continue;
        const unacked = taker.unacked.get(partition) ?? 0;
        if (unacked >= (taker.windows.get(partition) ?? taker.claim.unackedMax)) continue;
        taker.unacked.set(partition, unacked + 1);
        taker.given.add(message.sequence);
        const ack = () => this.onAck(queue, taker, partition, message.sequence);
        taker.receiver.onMessage({ ...message, ack });
      }
    }
  }

  private onAck(queue: Queue, taker: Taker, partition: number, sequence: number): void {
    if (this.losesAcks || !queue.takers.has(taker)) return;
    if (!queue.waiting.delete(sequence)) return;
    taker.given.delete(sequence);
    taker.unacked.set(partition, (taker.unacked.get(partition) ?? 1) - 1);
    this.give(queue);
  }
}

function unavailable(lane: string): Fault {
  return new Fault("LANE_UNAVAILABLE", "not-done", `the lane ${lane} cannot be used`);
}
