/**
 * What a node writes into the delivery journal, on the path of every push: a call packs its
 * steps into the buffer of the shard's block and returns. The journal's writer takes the
 * buffers away once a second, or as soon as one is full enough.
 *
 * Invariant: a step is in a buffer, was taken, or is counted; what is counted goes into the
 * journal itself, in front of the next step of its block.
 */
import type { Clock } from "../src/base/clock.js";
import type { Change } from "../src/ports/inbox-store.js";
import { blockCount, blockOf, type StepSession } from "../src/protocol/journal-batch.js";
import { BatchWriter, type PackedBatch } from "../src/protocol/journal-batch-writer.js";
import { msgIdOfRecord } from "../src/protocol/message-record.js";
import type { Deliver } from "../src/protocol/messages.js";
import type { MsgId } from "../src/protocol/msg-id.js";
import { type Shard, shardOfKey } from "../src/protocol/shards.js";
import type { AwaitingAnswer } from "./pending-write.js";

/** A buffer is taken when it holds so much; beyond the second, steps are dropped and counted. */
const dueBytes = 64 * 1024;
const blockBytesMax = 80 * 1024;

export interface DeliveryJournalOptions {
  readonly nodeId: string;
  readonly clock: Clock;
  /** Of 64 shards of a block, every so many-th is journalled; 1 is all. */
  readonly sampleOneIn: number;
}

export class DeliveryJournal {
  /** Called when a block should be taken before the second is over; the writer sets it. */
  onDue: (block: number) => void = () => undefined;
  steps = 0;
  /** Steps that could not be kept, of all blocks. */
  lostSteps = 0;
  private readonly writers: (BatchWriter | undefined)[] = [];
  private readonly lost = new Float64Array(blockCount);
  private readonly isDueTold = new Uint8Array(blockCount);

  constructor(private readonly options: DeliveryJournalOptions) {}

  /** Of the owner: what is on disk now, and what was answered with it. */
  committed(
    shard: Shard,
    session: StepSession,
    changes: readonly Change[],
    answers: readonly AwaitingAnswer[],
  ): void {
    const block = this.blockFor(shard);
    if (block === undefined) return;
    const atMs = this.options.clock.wallMs();
    for (const change of changes) this.noteChange(block, atMs, session, change);
    for (const { isDuplicate, seq, id } of answers) {
      if (isDuplicate) this.kept(block, this.writer(block).duplicate(atMs, session, seq, id));
    }
  }

  /** Of the owner: a push under a known key was answered without a write. */
  duplicate(shard: Shard, session: StepSession, seq: number, id: MsgId): void {
    const block = this.blockFor(shard);
    if (block === undefined) return;
    const atMs = this.options.clock.wallMs();
    this.kept(block, this.writer(block).duplicate(atMs, session, seq, id));
  }

  /** Of the owner: stored messages on their way to the edge of a device. */
  sent(shard: Shard, deliver: Deliver, device: string, edge: string): void {
    this.delivery("sent", shard, deliver, device, edge);
  }

  /** Of the edge: the same, handed to the socket. */
  written(deliver: Deliver, device: string, edge: string): void {
    this.delivery("written", shardOfKey(deliver.key), deliver, device, edge);
  }

  /** Of the owner: an at-most-once message on its way to one device; "" where nobody took it. */
  passed(shard: Shard, session: StepSession, device: string, record: Uint8Array): void {
    const block = this.blockFor(shard);
    if (block === undefined) return;
    const atMs = this.options.clock.wallMs();
    const id = msgIdOfRecord(record);
    this.kept(block, this.writer(block).passed(atMs, session, device, id));
  }

  /** Of the edge: the same, handed to the socket. */
  passedWritten(session: StepSession, device: string, record: Uint8Array): void {
    const block = this.blockFor(shardOfKey(session.key));
    if (block === undefined) return;
    const atMs = this.options.clock.wallMs();
    const id = msgIdOfRecord(record);
    this.kept(block, this.writer(block).passedWritten(atMs, session, device, id));
  }

  /** Steps that were taken and could not be kept after all. */
  noteLost(block: number, count: number): void {
    this.lost[block] = (this.lost[block] ?? 0) + count;
    this.lostSteps += count;
  }

  /** Empties the block's buffer; what was lost before is told in it. */
  take(block: number): PackedBatch | undefined {
    this.isDueTold[block] = 0;
    const isSilent = (this.lost[block] ?? 0) > 0 && (this.writers[block]?.steps ?? 0) === 0;
    if (isSilent) this.writer(block);
    return this.writers[block]?.take();
  }

  private delivery(
    kind: "sent" | "written",
    shard: Shard,
    deliver: Deliver,
    device: string,
    edge: string,
  ): void {
    const block = this.blockFor(shard);
    if (block === undefined) return;
    const atMs = this.options.clock.wallMs();
    const { connection, seqs } = deliver;
    for (let at = 0; at < seqs.length; ) {
      const end = runEnd(seqs, at);
      const writer = this.writer(block);
      const from = seqs[at] ?? 0;
      this.kept(
        block,
        writer.delivered(kind, atMs, deliver, device, edge, connection, from, end - at),
      );
      at = end;
    }
  }

  private noteChange(block: number, atMs: number, session: StepSession, change: Change): void {
    switch (change.kind) {
      case "stored":
        this.kept(block, this.writer(block).stored(atMs, session, change.seq, change.id));
        return;
      case "acked":
        this.kept(block, this.writer(block).acked(atMs, session, change.device, change.seq));
        return;
      case "dropped":
        this.noteDropped(block, atMs, session, change.reason, change.seqs);
        return;
      case "opened":
        this.kept(block, this.writer(block).opened(atMs, session, change.device, change.id));
        return;
      default:
      // Of devices and users, not of messages.
    }
  }

  private noteDropped(
    block: number,
    atMs: number,
    session: StepSession,
    reason: string,
    seqs: readonly number[],
  ): void {
    for (let at = 0; at < seqs.length; ) {
      const end = runEnd(seqs, at);
      const writer = this.writer(block);
      this.kept(block, writer.dropped(atMs, session, reason, seqs[at] ?? 0, end - at));
      at = end;
    }
  }

  /** Undefined where the shard is not in the sample. Every block has its share of it. */
  private blockFor(shard: Shard): number | undefined {
    const isSampled = Math.floor(shard / blockCount) % this.options.sampleOneIn === 0;
    return isSampled ? blockOf(shard) : undefined;
  }

  private writer(block: number): BatchWriter {
    let writer = this.writers[block];
    if (writer === undefined) {
      writer = new BatchWriter(this.options.nodeId, blockBytesMax);
      this.writers[block] = writer;
    }
    if (this.lost[block] !== 0 && writer.steps === 0) this.tellLost(block, writer);
    return writer;
  }

  private tellLost(block: number, writer: BatchWriter): void {
    const count = this.lost[block] ?? 0;
    if (writer.lost(this.options.clock.wallMs(), count)) this.lost[block] = 0;
  }

  private kept(block: number, isKept: boolean): void {
    if (isKept) this.steps += 1;
    else this.noteLost(block, 1);
    const length = this.writers[block]?.length ?? 0;
    if (length < dueBytes || this.isDueTold[block] === 1) return;
    this.isDueTold[block] = 1;
    this.onDue(block);
  }
}

/** Seqs are ascending; those of one device may leave some out. */
function runEnd(seqs: readonly number[], start: number): number {
  let end = start + 1;
  while (end < seqs.length && seqs[end] === (seqs[end - 1] ?? 0) + 1) end += 1;
  return end;
}
