/**
 * Takes the delivery journal's buffers away and has them kept, off the path of the pushes:
 * each block once a second, or when it is full enough.
 *
 * Invariants: what waits to be kept is bounded by bytes; a batch beyond that is dropped, and
 * its steps are counted in the journal. No push ever waits for any of this. While the store
 * fails one batch at a time is tried, under the id it had.
 */
import { unreachable } from "../src/base/assert.js";
import { Fault } from "../src/base/result.js";
import type { JournalStore } from "../src/ports/journal.js";
import { blockCount } from "../src/protocol/journal-batch.js";
import { Actor } from "../src/runtime/actor.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { DeliveryJournal } from "./delivery-journal.js";
import type { NodeContext } from "./node-context.js";

interface Batch {
  readonly block: number;
  readonly id: string;
  readonly bytes: Uint8Array;
  readonly steps: number;
}

interface FlushTick {
  readonly kind: "FlushTick";
}

interface BlockDue {
  readonly kind: "BlockDue";
  readonly block: number;
}

interface Kept {
  readonly kind: "Kept";
  readonly batch: Batch;
}

interface NotKept {
  readonly kind: "NotKept";
  readonly batch: Batch;
  readonly fault: Fault;
}

export type JournalWriterMessage = FlushTick | BlockDue | Kept | NotKept;

const writerKind: ActorKind = {
  name: "journal-writer",
  mailbox: { max: 1_024, onFull: "drop-newest" },
  restart: "permanent",
};

const flushEveryMs = 1_000;
const inFlightMax = 32;
const flushTick: FlushTick = { kind: "FlushTick" };

export class JournalWriter extends Actor<JournalWriterMessage> {
  /** Taken, and not in flight. */
  private readonly waiting: Batch[] = [];
  private inFlight = 0;
  /** Of what waits and what is in flight. */
  private bytes = 0;
  private batchesKept = 0;
  private isFailing = false;
  private taken = 0;

  constructor(
    private readonly node: NodeContext,
    private readonly journal: DeliveryJournal,
    private readonly store: JournalStore,
  ) {
    super();
  }

  get kind(): ActorKind {
    return writerKind;
  }

  protected override started(): void {
    this.journal.onDue = (block) => void this.tellSelf({ kind: "BlockDue", block });
    this.timer(flushEveryMs, flushTick);
  }

  /** What is in flight is answered to nobody any more; what was taken is tried once. */
  protected override async stopping(): Promise<void> {
    this.journal.onDue = () => undefined;
    for (let block = 0; block < blockCount; block++) this.take(block);
    await Promise.allSettled(
      this.waiting.map((batch) => this.store.append(batch.block, batch.id, batch.bytes)),
    );
  }

  receive(message: JournalWriterMessage): void {
    switch (message.kind) {
      case "FlushTick":
        for (let block = 0; block < blockCount; block++) this.take(block);
        this.send();
        this.timer(flushEveryMs, flushTick);
        return;
      case "BlockDue":
        this.take(message.block);
        if (!this.isFailing) this.send();
        return;
      case "Kept":
        this.onKept(message.batch);
        return;
      case "NotKept":
        this.onNotKept(message);
        return;
      default:
        unreachable(message);
    }
  }

  private take(block: number): void {
    const packed = this.journal.take(block);
    if (packed === undefined) return;
    if (this.bytes + packed.bytes.length > this.node.limits.journalUnkeptBytesMax) {
      this.journal.noteLost(block, packed.steps);
      return;
    }
    // New at every start of this actor, too: no other batch of the node has it.
    const { nodeId, incarnation, clock } = this.node;
    const id = `${nodeId}.${incarnation}.${clock.wallMs()}.${this.taken++}`;
    this.waiting.push({ block, id, ...packed });
    this.bytes += packed.bytes.length;
  }

  private send(): void {
    const most = this.isFailing ? 1 : inFlightMax;
    while (this.inFlight < most) {
      const batch = this.waiting.shift();
      if (batch === undefined) return;
      this.inFlight += 1;
      this.pipe(
        this.store.append(batch.block, batch.id, batch.bytes),
        (): Kept => ({ kind: "Kept", batch }),
        (error): NotKept => ({ kind: "NotKept", batch, fault: asFault(error) }),
      );
    }
  }

  private onKept({ bytes }: Batch): void {
    this.inFlight -= 1;
    this.bytes -= bytes.length;
    this.batchesKept += 1;
    if (this.isFailing) this.node.log.info("the delivery journal is kept again");
    this.isFailing = false;
    this.send();
  }

  /** Tried again with the next tick. */
  private onNotKept({ batch, fault }: NotKept): void {
    this.inFlight -= 1;
    this.waiting.unshift(batch);
    if (this.isFailing) return;
    this.isFailing = true;
    const { code, message } = fault;
    this.node.log.warn("the delivery journal is not kept; pushes go on", { code, message });
  }

  override inspect(): Record<string, unknown> {
    return {
      steps: this.journal.steps,
      lostSteps: this.journal.lostSteps,
      batchesKept: this.batchesKept,
      batchesWaiting: this.waiting.length + this.inFlight,
      bytesWaiting: this.bytes,
      isFailing: this.isFailing,
    };
  }
}

function asFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  return new Fault("JOURNAL_UNAVAILABLE", "unknown", String(error), { cause: error });
}
