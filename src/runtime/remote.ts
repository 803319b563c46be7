/**
 * This node's end of every other node: outgoing entries in one outbox a
 * destination, incoming batches from one subscription.
 *
 * Order is kept from node to node: an outbox is filled in the order of the
 * tells, batches are published in order, and entries are taken in order.
 * Delivery is at most once; who needs more asks, and asks always end.
 */
import type { Clock } from "../base/clock.js";
import { type Address, actorsSubject, addressOn, isNodeName, nodeOf, pathOf } from "./address.js";
import type { Counters } from "./counters.js";
import type { DeadLetters } from "./dead-letters.js";
import { type Asker, type Context, Envelope, type TerminatedReason } from "./envelope.js";
import { type AddOutcome, type MakeEntry, Outbox, type OutboxLimits } from "./outbox.js";
import type { Bus, BusSubscription } from "./ports.js";
import {
  ANSWER,
  ASK,
  decodeBatch,
  type Entry,
  REFUSAL,
  TELL,
  TERMINATED,
  UNWATCH,
  WATCH,
  type WireContext,
} from "./wire.js";

/** The local side, as entries from other nodes need it. */
export interface Inbound {
  onRemoteMessage(path: string, message: unknown, envelope: Envelope | undefined): void;
  /** Undefined value: a refusal. */
  onRemoteAnswer(from: string, id: number, value: unknown): void;
  onRemoteRefusal(from: string, id: number, code: string, message: string): void;
  onRemoteWatch(path: string, watcher: Address): void;
  onRemoteUnwatch(path: string, watcher: Address): void;
  onRemoteTerminated(watcherPath: string, target: Address, reason: TerminatedReason): void;
}

const IDLE_OUTBOXES_MAX = 256;
const GONE_NODES_MAX = 1_024;

export class Remote {
  private readonly outboxes = new Map<string, Outbox>();
  private readonly touched = new Set<Outbox>();
  private readonly gone = new Set<string>();
  private subscription: BusSubscription | undefined;
  private isArmed = false;

  constructor(
    private node: string,
    private readonly bus: Bus | undefined,
    private readonly clock: Clock,
    private readonly counters: Counters,
    private readonly deadLetters: DeadLetters,
    private readonly inbound: Inbound,
    private readonly limits: Omit<OutboxLimits, "payloadMax">,
  ) {}

  start(): void {
    this.subscription = this.bus?.subscribe(actorsSubject(this.node), (message) =>
      this.onBatch(message.payload),
    );
  }

  stop(): void {
    this.subscription?.unsubscribe();
    this.subscription = undefined;
  }

  get pendingEntries(): number {
    let total = 0;
    for (const outbox of this.touched) total += outbox.pendingEntries;
    return total;
  }

  tell(to: Address, message: unknown, context: Context | undefined): void {
    this.counters.tellsRemote++;
    const path = pathOf(to);
    const wire = this.contextToWire(context);
    this.add(to, message, (packed) =>
      wire === undefined ? [TELL, path, packed] : [TELL, path, packed, wire],
    );
  }

  /** False when it cannot even be sent. */
  ask(to: Address, message: unknown, id: number, context: Context): boolean {
    const path = pathOf(to);
    const wire = this.contextToWire(context);
    return this.add(to, message, (packed) => [ASK, path, packed, wire, id]) === "added";
  }

  /** False when it cannot even be sent. */
  watch(target: Address, watcherPath: string, type: typeof WATCH | typeof UNWATCH): boolean {
    const path = pathOf(target);
    return this.add(target, undefined, () => [type, path, watcherPath]) === "added";
  }

  terminated(watcher: Address, targetPath: string, reason: TerminatedReason): void {
    const path = pathOf(watcher);
    this.add(watcher, undefined, () => [TERMINATED, path, targetPath, reason]);
  }

  /** What waits for it is dropped, and nothing is sent to this incarnation any more. */
  nodeGone(node: string): void {
    if (this.gone.size >= GONE_NODES_MAX && !this.gone.has(node)) {
      for (const oldest of this.gone) {
        this.gone.delete(oldest);
        break;
      }
    }
    this.gone.add(node);
    const outbox = this.outboxes.get(node);
    if (outbox === undefined) return;
    this.counters.deadLetters.unreachable += outbox.discard();
    this.outboxes.delete(node);
    this.touched.delete(outbox);
  }

  nodeBack(node: string): void {
    this.gone.delete(node);
  }

  /** What had not gone out under the former name never does; to that name nothing is sent. */
  rename(node: string): void {
    for (const outbox of this.outboxes.values()) {
      this.counters.deadLetters.unreachable += outbox.discard();
    }
    this.outboxes.clear();
    this.touched.clear();
    this.nodeGone(this.node);
    this.node = node;
    if (this.subscription === undefined) return;
    this.stop();
    this.start();
  }

  /** At the end of a run of turns, or when the loop turns: what waits goes out. */
  flush(): void {
    for (const outbox of this.touched) outbox.onLoopTurn();
    this.touched.clear();
    if (this.outboxes.size > IDLE_OUTBOXES_MAX) this.outboxes.clear();
  }

  private add(to: Address, message: unknown, makeEntry: MakeEntry): AddOutcome | "unreachable" {
    const node = nodeOf(to);
    const outcome =
      this.bus === undefined || this.gone.has(node)
        ? "unreachable"
        : this.outboxTo(node, this.bus).add(message, makeEntry);
    if (outcome !== "added") this.deadLetters.add(outcome, () => to, message);
    return outcome;
  }

  private outboxTo(node: string, bus: Bus): Outbox {
    let outbox = this.outboxes.get(node);
    if (outbox === undefined) {
      const limits = { ...this.limits, payloadMax: bus.payloadMax };
      outbox = new Outbox(this.node, limits, (batch, entries) =>
        this.publish(node, batch, entries),
      );
      this.outboxes.set(node, outbox);
    }
    if (!this.touched.has(outbox)) this.touched.add(outbox);
    if (!this.isArmed) this.arm();
    return outbox;
  }

  private arm(): void {
    this.isArmed = true;
    this.clock.soon(() => {
      this.isArmed = false;
      this.flush();
    });
  }

  private publish(node: string, batch: Uint8Array, entries: number): void {
    try {
      this.bus?.publish(actorsSubject(node), batch);
      this.counters.batchesSent++;
      this.counters.bytesSent += batch.length;
    } catch {
      // A fault of the bus: at most once means that these are lost, and counted.
      this.counters.deadLetters.unreachable += entries;
    }
  }

  private onBatch(payload: Uint8Array): void {
    this.counters.batchesReceived++;
    this.counters.bytesReceived += payload.length;
    const batch = decodeBatch(payload);
    if (!batch.ok) {
      if (batch.why === "garbage") this.counters.garbage++;
      else this.counters.unknownVersions++;
      return;
    }
    if (!isNodeName(batch.from)) {
      this.counters.garbage++;
      return;
    }
    for (const entry of batch.entries) this.onEntry(batch.from, entry);
  }

  private onEntry(from: string, entry: Entry): void {
    switch (entry.type) {
      case TELL: {
        const context = entry.context && this.contextFromWire(entry.context);
        const envelope = context && new Envelope(undefined, context);
        this.inbound.onRemoteMessage(entry.path, entry.message, envelope);
        return;
      }
      case ASK: {
        const context = this.contextFromWire(entry.context);
        const deadlineMs = context.deadlineMs ?? this.clock.monotonicMs();
        const asker = new RemoteAsker(this, from, entry.id, deadlineMs);
        this.inbound.onRemoteMessage(entry.path, entry.message, new Envelope(asker, context));
        return;
      }
      case ANSWER:
        this.inbound.onRemoteAnswer(from, entry.id, entry.value);
        return;
      case REFUSAL:
        this.inbound.onRemoteRefusal(from, entry.id, entry.code, entry.message);
        return;
      case WATCH:
        this.inbound.onRemoteWatch(entry.path, addressOn(from, entry.watcherPath));
        return;
      case UNWATCH:
        this.inbound.onRemoteUnwatch(entry.path, addressOn(from, entry.watcherPath));
        return;
      case TERMINATED: {
        const target = addressOn(from, entry.path);
        this.inbound.onRemoteTerminated(entry.watcherPath, target, entry.reason);
        return;
      }
    }
  }

  /** @internal */
  answer(node: string, id: number, value: unknown): void {
    const to = addressOn(node, "");
    const outcome = this.add(to, value, (packed) => [ANSWER, id, packed]);
    if (outcome === "added" || outcome === "unreachable") return;
    this.refuse(node, id, "UNREACHABLE", `the answer could not be sent: ${outcome}`);
  }

  /** @internal */
  refuse(node: string, id: number, code: string, message: string): void {
    this.add(addressOn(node, ""), undefined, () => [REFUSAL, id, code, message]);
  }

  /** Times are relative on the wire: two nodes share no clock. */
  private contextToWire(context: Context | undefined): unknown[] | undefined {
    if (context === undefined) return undefined;
    const { deadlineMs, trace, requestId } = context;
    const remainingMs =
      deadlineMs === undefined ? null : Math.max(0, deadlineMs - this.clock.monotonicMs());
    return [remainingMs, trace ?? null, requestId ?? null];
  }

  private contextFromWire(wire: WireContext): Context {
    const { remainingMs, trace, requestId } = wire;
    return {
      ...(remainingMs !== undefined && { deadlineMs: this.clock.monotonicMs() + remainingMs }),
      ...(trace !== undefined && { trace }),
      ...(requestId !== undefined && { requestId }),
    };
  }
}

/** Answers over the bus; a second answer is ignored, as it is locally. */
class RemoteAsker implements Asker {
  private isDone = false;

  constructor(
    private readonly remote: Remote,
    private readonly node: string,
    private readonly id: number,
    readonly deadlineMs: number,
  ) {}

  answer(value: unknown): void {
    if (this.isDone) return;
    this.isDone = true;
    this.remote.answer(this.node, this.id, value);
  }

  refuse(code: string, message: string): void {
    if (this.isDone) return;
    this.isDone = true;
    this.remote.refuse(this.node, this.id, code, message);
  }
}
