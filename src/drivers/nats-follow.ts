/**
 * Every message of a stream's subjects from one sequence on, in order and without a gap,
 * until it ends: it says so, and who follows begins anew.
 *
 * The client's own ordered consumer does the same, but asks the server for a sign of life
 * every 30 s and misses two before it acts (jetstream 3.3 jsmstream_api.js): when the
 * server of a cluster that feeds it dies, it hears nothing for more than a minute and
 * does not know. Here that is about three seconds.
 */
import { AckPolicy, DeliverPolicy, jetstreamManager, ReplayPolicy } from "@nats-io/jetstream";
import { createInbox, type Msg, nanos, nuid } from "@nats-io/transport-node";
import { askedAgain } from "./nats-asked-again.js";
import type { NatsConnection } from "./nats-connection.js";

export interface StreamPart {
  readonly stream: string;
  readonly filter: string;
  readonly fromRevision: number;
}

export interface Followed {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly sequence: number;
  /** A delete of the key. */
  readonly isGone: boolean;
}

const heartbeatMs = 1_000;
const heartbeatsMissedMax = 3;
const askMs = 2_000;

/**
 * Resolves once the server feeds it, to what ends it. `onEnd` is called once, also then.
 * Throws what the client throws, and has ended then without a call.
 */
export function followStream(
  connection: NatsConnection,
  part: StreamPart,
  onMessage: (message: Followed) => void,
  onEnd: () => void,
): Promise<() => void> {
  return askedAgain((given) => beFed(connection, part, onMessage, onEnd, given));
}

async function beFed(
  { client, inboxPrefix }: NatsConnection,
  part: StreamPart,
  onMessage: (message: Followed) => void,
  onEnd: () => void,
  given: AbortSignal,
): Promise<() => void> {
  const feed = new Feed((message) => {
    if (!given.aborted) onMessage(message);
  });
  // Before the consumer is there: the server takes a feed away that nobody listens to.
  const inbox = createInbox(inboxPrefix);
  const subscription = client.subscribe(inbox, {
    callback: (error, message) => {
      if (error !== null || !feed.take(message)) end();
    },
  });
  let isOver = false;
  let isFed = false;
  let ticking: NodeJS.Timeout | undefined;
  const end = () => {
    if (isOver) return;
    isOver = true;
    clearInterval(ticking);
    if (!subscription.isClosed()) subscription.unsubscribe();
    if (isFed) onEnd();
  };
  given.addEventListener("abort", end, { once: true });
  try {
    await addConsumer(client, part, inbox);
  } catch (cause) {
    end();
    throw cause;
  }
  given.removeEventListener("abort", end);
  // It ended while it was being made: who follows is to know all the same.
  if (isOver && !given.aborted) onEnd();
  if (isOver) return end;
  isFed = true;
  // Counted, not timed: a process that was paused hears what waits for it before the next.
  ticking = setInterval(() => {
    if (!feed.isAlive()) end();
  }, heartbeatMs);
  void subscription.closed.then(end);
  return end;
}

async function addConsumer(
  client: NatsConnection["client"],
  { stream, filter, fromRevision }: StreamPart,
  inbox: string,
): Promise<void> {
  const jsm = await jetstreamManager(client, { timeout: askMs, checkAPI: false });
  await jsm.consumers.add(stream, {
    name: `follow_${nuid.next()}`,
    deliver_subject: inbox,
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: fromRevision,
    filter_subject: filter,
    ack_policy: AckPolicy.None,
    replay_policy: ReplayPolicy.Instant,
    idle_heartbeat: nanos(heartbeatMs),
    num_replicas: 1,
    mem_storage: true,
  });
}

/** What comes in by the consumer's inbox, told apart and checked for gaps. */
class Feed {
  private delivered = 0;
  private missed = 0;

  constructor(private readonly onMessage: (message: Followed) => void) {}

  /** False when something is missing before it, or the server ends the feed. */
  take(message: Msg): boolean {
    this.missed = 0;
    const status = message.headers?.code ?? 0;
    if (status === 100) return this.isComplete(message);
    if (status !== 0) return false;
    const place = placeOf(message.reply);
    if (place?.delivery !== this.delivered + 1) return false;
    this.delivered = place.delivery;
    const { subject, data, headers } = message;
    const isGone = (headers?.get("KV-Operation") ?? "") !== "";
    this.onMessage({ subject, data, sequence: place.sequence, isGone });
    return true;
  }

  /** Once a heartbeat's time; false when too many were missed. */
  isAlive(): boolean {
    this.missed += 1;
    return this.missed <= heartbeatsMissedMax;
  }

  /** A heartbeat names the last that was sent: one lost at the end shows only so. */
  private isComplete({ headers }: Msg): boolean {
    const last = headers?.get("Nats-Last-Consumer") ?? "";
    return last === "" || Number(last) === this.delivered;
  }
}

/**
 * `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<delivery seq>.<time>.<pending>`,
 * with a domain and the account's hash before the stream where the server has them (ADR-15).
 */
function placeOf(reply: string | undefined) {
  const tokens = reply?.split(".") ?? [];
  const at = tokens.length === 9 ? 5 : 7;
  if (tokens.length < 9 || tokens[0] !== "$JS") return undefined;
  return { sequence: Number(tokens[at]), delivery: Number(tokens[at + 1]) };
}
