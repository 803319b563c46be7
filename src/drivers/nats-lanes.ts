/**
 * Lanes over JetStream: a stream a lane, a durable pull consumer for each
 * partition, named by its owner's epoch.
 *
 * The client prefetches; what may be unacked at a time (`max_ack_pending`) is what holds
 * the server back when the taker is slow.
 */
import {
  type Consumer,
  type ConsumerInfo,
  type ConsumerMessages,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
  jetstream,
  jetstreamManager,
  type StoredMsg,
} from "@nats-io/jetstream";
import { headers, RequestError, TimeoutError } from "@nats-io/transport-node";
import { Fault } from "../base/result.js";
import type {
  DeadLetter,
  LaneClaim,
  LaneFeed,
  LaneFigures,
  LaneMessage,
  LaneReceiver,
  Lanes,
  StoredLetter,
} from "../ports/lanes.js";
import { isMap } from "../protocol/codec.js";
import type { LaneRecord } from "../protocol/lane-record.js";
import {
  deadLetterStream,
  deadLetterSubject,
  laneStream,
  sessionOfStored,
  storedLaneSubject,
} from "../protocol/lanes.js";
import { appOfKey, type SessionKey, sessionKey, uidOfKey } from "../protocol/shards.js";
import type { NatsConnection } from "./nats-connection.js";
import {
  claimPartitions,
  countLetters,
  ensureDeadLetters,
  ensureLaneStream,
  isNotFound,
  partitionOf,
} from "./nats-lane-streams.js";
import type { Replicas } from "./nats-replicas.js";

const requestMs = 5_000;
const prefetchMax = 256;
const letterHeader = "Belfry-Letter";
const ackBytes = new TextEncoder().encode("+ACK");
const endings = ["consumer_deleted", "consumer_not_found", "stream_not_found"];

export class NatsLanes implements Lanes {
  private hasDeadLetters = false;

  private constructor(
    private readonly connection: NatsConnection,
    private readonly replicas: Replicas,
    private readonly jsm: JetStreamManager,
    private readonly js: JetStreamClient,
  ) {}

  /** Makes nothing yet. Throws Fault. */
  static async open(connection: NatsConnection, replicas: Replicas = {}): Promise<NatsLanes> {
    return faulting(connection, "JetStream", async () => {
      const options = { timeout: requestMs };
      const jsm = await jetstreamManager(connection.client, options);
      return new NatsLanes(connection, replicas, jsm, jetstream(connection.client, options));
    });
  }

  /** The dead letters' stream first: a lane that has nowhere to put them is not worked on. */
  ensure(record: LaneRecord): Promise<void> {
    return this.doing(record.lane, async () => {
      if (!this.hasDeadLetters) await ensureDeadLetters(this.connection, this.replicas);
      this.hasDeadLetters = true;
      await ensureLaneStream(this.connection, record, this.replicas);
    });
  }

  take(claim: LaneClaim, receiver: LaneReceiver): Promise<LaneFeed> {
    const { lane } = claim;
    const feed = new NatsLaneFeed(this.connection, this.jsm, receiver);
    const taken = this.doing(lane, async () => {
      const made = await claimPartitions(this.jsm, claim, () => feed.isOver);
      if (made === undefined) {
        throw new Fault("LANE_TAKEN", "not-done", `a later owner has group ${claim.group}`);
      }
      await feed.open(this.js, made, Math.min(prefetchMax, claim.unackedMax));
      return feed;
    });
    // Given up when the connection goes, what is under way would go on at the next one, and
    // take from the take that follows.
    taken.catch(() => feed.close());
    return taken;
  }

  read(lane: string, sequence: number): Promise<Uint8Array | undefined> {
    return this.doing(lane, async () => {
      return (await this.stored(laneStream(lane), { seq: sequence }))?.data;
    });
  }

  bury(letter: DeadLetter): Promise<void> {
    const { lane, key, payload, sequence, storedAtMs } = letter;
    return this.doing(lane, async () => {
      const fields = headers();
      fields.set(letterHeader, encodeLetter(letter));
      const msgID = `${lane}.${storedAtMs}.${sequence}`;
      const subject = deadLetterSubject(lane, key);
      await this.js.publish(subject, payload, { headers: fields, msgID });
    });
  }

  figures(lane: string): Promise<LaneFigures | undefined> {
    return this.doing(lane, async () => {
      try {
        const { state } = await this.jsm.streams.info(laneStream(lane));
        const oldestAtMs = state.messages > 0 ? Date.parse(state.first_ts) : undefined;
        return {
          messages: state.messages,
          bytes: state.bytes,
          deadLetters: await countLetters(this.jsm, lane),
          ...(oldestAtMs === undefined ? {} : { oldestAtMs }),
        };
      } catch (cause) {
        if (isNotFound(cause)) return undefined;
        throw cause;
      }
    });
  }

  deadLetters(lane: string, limit: number): Promise<readonly StoredLetter[]> {
    return this.doing(lane, async () => {
      const letters: StoredLetter[] = [];
      let seq = 1;
      while (letters.length < limit) {
        const query = { seq, next_by_subj: `dead.${lane}.>` };
        const stored = await this.stored(deadLetterStream, query);
        if (stored === undefined) break;
        seq = stored.seq + 1;
        letters.push(readLetter(lane, stored));
      }
      return letters;
    });
  }

  replay(lane: string, number: number): Promise<boolean> {
    return this.doing(lane, async () => {
      const stored = await this.stored(deadLetterStream, { seq: number });
      if (stored?.subject.startsWith(`dead.${lane}.`) !== true) return false;
      const { key } = readLetter(lane, stored);
      const subject = `lane.${lane}.${appOfKey(key)}.user.${uidOfKey(key)}`;
      // Without a header: what a lane took at its bound in bytes, it takes again.
      await this.js.publish(subject, stored.data);
      await this.jsm.streams.deleteMessage(deadLetterStream, number, false);
      return true;
    });
  }

  forget(lanes: readonly string[], key: SessionKey): Promise<void> {
    const filters = new Map(lanes.map((lane) => [laneStream(lane), storedLaneSubject(lane, key)]));
    filters.set(deadLetterStream, deadLetterSubject("*", key));
    return this.doing("of an erased user", async () => {
      await Promise.all([...filters].map(([stream, filter]) => this.purge(stream, filter)));
    });
  }

  private async purge(stream: string, filter: string): Promise<void> {
    try {
      await this.jsm.streams.purge(stream, { filter });
    } catch (cause) {
      if (!isNotFound(cause)) throw cause;
    }
  }

  /**
   * Emptied first: one that is deleted twice within a moment cannot be moved away, stays on
   * disk, and would be there again with all its messages when it is made anew (nats-server
   * 2.10.27, filestore.go, Delete: the rename meets what the former one left to be removed).
   */
  drop(lane: string): Promise<void> {
    return this.doing(lane, async () => {
      try {
        await this.jsm.streams.purge(laneStream(lane));
        await this.jsm.streams.delete(laneStream(lane));
      } catch (cause) {
        if (!isNotFound(cause)) throw cause;
      }
    });
  }

  private async stored(stream: string, query: { seq: number; next_by_subj?: string }) {
    try {
      return (await this.jsm.streams.getMessage(stream, query)) ?? undefined;
    } catch (cause) {
      if (cause instanceof JetStreamApiError && cause.code === 10_037) return undefined;
      throw cause;
    }
  }

  private doing<Value>(lane: string, step: () => Promise<Value>): Promise<Value> {
    return faulting(this.connection, `the lane ${lane}`, step);
  }
}

/**
 * What was lost on the way to the client would come again only after `ack_wait`, behind
 * what follows it: so a gap in the numbers of the consumer, and a lost connection, end it.
 * At the loss and not at the return: what is stored meanwhile is sent to nobody, and fills
 * the windows of devices, which would learn of it when their acks are overdue.
 */
class NatsLaneFeed implements LaneFeed {
  private readonly messages: ConsumerMessages[] = [];
  private consumers: readonly ConsumerInfo[] = [];
  private hasEnded = false;
  private settle: () => void = () => undefined;

  constructor(
    private readonly connection: NatsConnection,
    private readonly jsm: JetStreamManager,
    private readonly receiver: LaneReceiver,
  ) {
    const closed = new Promise<void>((resolve) => {
      this.settle = resolve;
    });
    connection.whileConnected(() => closed).catch(() => this.end("the connection was lost"));
  }

  get isOver(): boolean {
    return this.hasEnded;
  }

  /** One that fails leaves none behind. */
  async open(
    js: JetStreamClient,
    consumers: readonly ConsumerInfo[],
    prefetch: number,
  ): Promise<void> {
    if (this.isOver) return;
    this.consumers = consumers;
    const opened = await Promise.allSettled(
      consumers.map(async (each) => {
        const messages = await this.consume(js.consumers.getConsumerFromInfo(each), prefetch);
        this.messages.push(messages);
        void this.watchEnd(messages);
      }),
    );
    const failed = opened.find(({ status }) => status === "rejected");
    if (this.isOver || failed !== undefined) await this.close();
    if (failed?.status === "rejected") throw failed.reason;
  }

  async widen(partition: number, unackedMax: number): Promise<void> {
    const config = { max_ack_pending: unackedMax };
    const of = this.consumers.find(({ name }) => partitionOf(name) === partition);
    if (of === undefined || this.isOver) return;
    const { stream_name: stream, name } = of;
    await this.connection.whileConnected(() => this.jsm.consumers.update(stream, name, config));
  }

  private consume(consumer: Consumer, prefetch: number): Promise<ConsumerMessages> {
    let lastDelivery = 0;
    return consumer.consume({
      max_messages: prefetch,
      callback: (message: JsMsg) => {
        const { deliverySequence } = message.info;
        if (deliverySequence === ++lastDelivery) this.onMessage(message);
        else this.end(`a gap before delivery ${deliverySequence}`);
      },
    });
  }

  async close(): Promise<void> {
    this.hasEnded = true;
    this.settle();
    await Promise.all(this.messages.map((each) => each.close()));
  }

  private onMessage(message: JsMsg): void {
    if (this.isOver) return;
    const read = readMessage(this.connection, message);
    // It was stored by no transform of ours, and belongs to nobody.
    if (read === undefined) message.term("not a lane's subject");
    else this.receiver.onMessage(read);
  }

  private async watchEnd(messages: ConsumerMessages): Promise<void> {
    for await (const { type } of messages.status()) {
      if (endings.includes(type)) this.end(type);
    }
  }

  private end(reason: string): void {
    if (this.isOver) return;
    this.close().catch(() => undefined);
    this.receiver.onEnd(reason);
  }
}

/** What the client keeps to itself: where its `ack` goes. */
interface MessageInside {
  readonly msg: { readonly reply?: string };
}

function readMessage(connection: NatsConnection, message: JsMsg): LaneMessage | undefined {
  const key = sessionOfStored(message.subject);
  const { reply } = (message as unknown as MessageInside).msg;
  if (key === undefined || reply === undefined) return undefined;
  const { streamSequence, timestampNanos } = message.info;
  return {
    key,
    payload: message.data,
    sequence: streamSequence,
    storedAtMs: Math.floor(timestampNanos / 1_000_000),
    // Without the message, which keeps its bytes; many may wait for their user for long.
    ack: () => connection.client.publish(reply, ackBytes),
  };
}

/** A header carries ASCII only, here up to six for a character. */
const letterReasonMax = 1_000;

function encodeLetter({ message: whole, ...letter }: DeadLetter): string {
  const { code, attempts, sequence, storedAtMs } = letter;
  const message = whole.slice(0, letterReasonMax);
  return JSON.stringify({ code, message, attempts, sequence, storedAtMs }).replace(
    /[^\x20-\x7e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function readLetter(lane: string, stored: StoredMsg): StoredLetter {
  const [, , appToken = "", uidToken = ""] = stored.subject.split(".");
  const key: SessionKey = sessionKey(appToken, uidToken);
  const said = parse(stored.header?.get(letterHeader) ?? "");
  const number = (field: string) => (typeof said[field] === "number" ? said[field] : 0);
  const text = (field: string) => (typeof said[field] === "string" ? said[field] : "");
  return {
    lane,
    key,
    payload: stored.data,
    number: stored.seq,
    diedAtMs: stored.time.getTime(),
    code: text("code"),
    message: text("message"),
    attempts: number("attempts"),
    sequence: number("sequence"),
    storedAtMs: number("storedAtMs"),
  };
}

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return isMap(value) ? value : {};
  } catch {
    return {};
  }
}

async function faulting<Value>(
  connection: NatsConnection,
  what: string,
  step: () => Promise<Value>,
): Promise<Value> {
  try {
    return await connection.whileConnected(step);
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    const isAnswered = cause instanceof JetStreamApiError || cause instanceof RequestError;
    const isLate = cause instanceof TimeoutError;
    const message = `${what} cannot be used: ${isLate ? "no answer" : (cause as Error).message}`;
    throw new Fault("LANE_UNAVAILABLE", isAnswered ? "not-done" : "unknown", message, { cause });
  }
}
