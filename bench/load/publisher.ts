/**
 * A service that pushes, as a process: requests on `push.<app>.user.<uid>` to users
 * drawn at random, over one connection of the ordinary NATS client, closed loop (so
 * many in flight) or open loop (so many a second, whatever comes back).
 *
 * Invariant: a slot's command is not written to again before its answer is there.
 */
import { connect, type Msg, type NatsConnection } from "@nats-io/transport-node";
import { sharedMs } from "../harness/latency.js";
import { serve } from "../harness/worker-process.js";
import type { Pushed } from "./arrival-check.js";
import { bodyOf, newCommand, readBody, writeBody } from "./body.js";

export interface PublisherOptions {
  readonly url: string;
  readonly user: string;
  readonly password: string;
  readonly inboxPrefix: string;
  readonly app: string;
  readonly uids: readonly string[];
}

export interface PublisherCounts {
  readonly atMs: number;
  readonly sent: number;
  readonly accepted: number;
  readonly refused: number;
  readonly inFlight: number;
  /** From due to answered ok, since the load began. */
  readonly longestAnswerMs: number;
  /** The first refusal's bytes as text. */
  readonly firstRefusal: string;
}

interface Slot {
  readonly reply: string;
  readonly command: Buffer;
  dueMs: number;
}

type Load =
  | { readonly kind: "idle" }
  | { readonly kind: "closed" }
  | { readonly kind: "open"; readonly timer: NodeJS.Timeout };

const openLoopTickMs = 1;
/** Beyond, the platform is so far behind that the latencies say nothing any more. */
const inFlightMax = 100_000;
/** Beyond, a bench that compares each number has nothing to say. */
const refusalsMax = 1_000_000;

class Publisher {
  private readonly slots: Slot[] = [];
  private readonly free: number[] = [];
  private readonly subjects: string[];
  private readonly numbers: Uint32Array;
  private readonly replyPrefix: string;
  private load: Load = { kind: "idle" };
  private random = 0x2545f491;
  private sent = 0;
  private accepted = 0;
  private refused = 0;
  private longestAnswerMs = 0;
  private firstRefusal = "";
  /** User and number of each. */
  private readonly refusals: (readonly [number, number])[] = [];

  constructor(
    private readonly client: NatsConnection,
    options: PublisherOptions,
  ) {
    this.subjects = options.uids.map((uid) => `push.${options.app}.user.${uid}`);
    this.numbers = new Uint32Array(options.uids.length);
    // Of this process alone: others of the app hear what comes to its inboxes, too.
    this.replyPrefix = `${options.inboxPrefix}.bench-${process.pid}.`;
    client.subscribe(`${this.replyPrefix}*`, {
      callback: (error, message) => {
        if (error === null) this.onAnswer(message);
      },
    });
  }

  startClosed(inFlight: number): void {
    this.load = { kind: "closed" };
    const dueMs = sharedMs();
    for (let count = 0; count < inFlight; count++) this.push(dueMs);
  }

  startOpen(perSecond: number): void {
    const startMs = sharedMs();
    this.resetLongest();
    let pushed = 0;
    const tick = () => {
      const due = Math.floor(((sharedMs() - startMs) * perSecond) / 1_000);
      for (; pushed < due; pushed++) this.push(startMs + (pushed * 1_000) / perSecond);
    };
    this.load = { kind: "open", timer: setInterval(tick, openLoopTickMs) };
  }

  stop(): void {
    if (this.load.kind === "open") clearInterval(this.load.timer);
    this.load = { kind: "idle" };
  }

  counts(): PublisherCounts {
    const { sent, accepted, refused, longestAnswerMs, firstRefusal } = this;
    const inFlight = sent - accepted - refused;
    const atMs = sharedMs();
    return { atMs, sent, accepted, refused, inFlight, longestAnswerMs, firstRefusal };
  }

  /** The longest answer counts anew. */
  resetLongest(): void {
    this.longestAnswerMs = 0;
  }

  close(): Promise<void> {
    return this.client.close();
  }

  /** One more to every user. */
  pushToEach(): void {
    const dueMs = sharedMs();
    for (const user of this.subjects.keys()) this.push(dueMs, user);
  }

  private push(dueMs: number, user = this.nextUser()): void {
    const at = this.free.pop() ?? this.addSlot();
    const slot = this.slots[at] as Slot;
    const { reply, command } = slot;
    slot.dueMs = dueMs;
    const number = (this.numbers[user] ?? 0) + 1;
    this.numbers[user] = number;
    writeBody(command, user, number, dueMs);
    this.sent++;
    this.client.publish(this.subjects[user] ?? "", command, { reply });
  }

  private addSlot(): number {
    const at = this.slots.length;
    if (at === inFlightMax) throw new Error(`${inFlightMax} pushes wait for their answer`);
    this.slots.push({ reply: `${this.replyPrefix}${at}`, command: newCommand(), dueMs: 0 });
    return at;
  }

  private onAnswer(message: Msg): void {
    const slot = Number(message.subject.slice(this.replyPrefix.length));
    this.free.push(slot);
    if (isAccepted(message.data)) {
      this.accepted++;
      const tookMs = sharedMs() - (this.slots[slot]?.dueMs ?? 0);
      if (tookMs > this.longestAnswerMs) this.longestAnswerMs = tookMs;
    } else {
      this.noteRefusal(message, slot);
    }
    if (this.load.kind === "closed") this.push(sharedMs());
  }

  /** What of all that was sent is owed: all but what was refused or has no answer yet. */
  pushed(): Pushed {
    if (this.refused > refusalsMax) throw new Error(`more than ${refusalsMax} pushes refused`);
    const free = new Set(this.free);
    const open = this.slots.filter((_, at) => !free.has(at)).map(namedIn);
    return { sent: this.numbers, notAccepted: [...this.refusals, ...open] };
  }

  private noteRefusal(message: Msg, slot: number): void {
    this.refused++;
    const refused = this.slots[slot];
    if (refused !== undefined && this.refusals.length < refusalsMax) {
      this.refusals.push(namedIn(refused));
    }
    if (this.firstRefusal !== "") return;
    // No data: nobody listened on the subject.
    this.firstRefusal = message.data.length === 0 ? "no responders" : message.string();
  }

  /** xorshift32: the same users in the same order in each run. */
  private nextUser(): number {
    let value = this.random;
    value ^= value << 13;
    value ^= value >>> 17;
    value ^= value << 5;
    this.random = value;
    return (value >>> 0) % this.subjects.length;
  }
}

function namedIn({ command }: Slot): readonly [number, number] {
  const { user, number } = readBody(bodyOf(command));
  return [user, number];
}

const trueByte = 0xc3;

/** `{ok: true, …}` as msgpack, `ok` its first field, whichever header the map has. */
export function isAccepted(answer: Uint8Array): boolean {
  const at = answer[0] === 0xde ? 3 : 1;
  return answer[at] === 0xa2 && answer[at + 1] === 0x6f && answer[at + 3] === trueByte;
}

let publisher: Publisher | undefined;

function current(): Publisher {
  if (publisher === undefined) throw new Error("the publisher is not connected");
  return publisher;
}

serve({
  async connect(options: PublisherOptions) {
    const { url, user, password, inboxPrefix } = options;
    const client = await connect({ servers: url, user, pass: password, inboxPrefix });
    publisher = new Publisher(client, options);
    await client.flush();
  },
  startClosed: (inFlight: number) => current().startClosed(inFlight),
  startOpen: (perSecond: number) => current().startOpen(perSecond),
  stop: () => current().stop(),
  counts: () => current().counts(),
  pushed: () => current().pushed(),
  pushToEach: () => current().pushToEach(),
  resetLongest: () => current().resetLongest(),
  close: () => current().close(),
});
