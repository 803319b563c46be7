/**
 * Answers operators from the delivery journal: one message's path, one app's reach. Every
 * reading is bounded in time and bytes, and says when a bound cut it short.
 */
import type { Clock } from "../src/base/clock.js";
import type { JournalStore, StoredBatch } from "../src/ports/journal.js";
import type { ErrorAnswer } from "../src/protocol/errors.js";
import { errorAnswer } from "../src/protocol/errors.js";
import {
  blockCount,
  blockOf,
  type JournalBatch,
  readBatch,
} from "../src/protocol/journal-batch.js";
import { decodeMsgId, type MsgId } from "../src/protocol/msg-id.js";
import type { DeskAnswer, JournalRequest } from "../src/protocol/operator-desk.js";
import { appOfKey, uidOfKey } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import { ReachTally, sumOf } from "./app-reach.js";
import { PathFinder } from "./message-path.js";

/** Unpacked, of one reading; a node reads at most two at once. */
const bytesMax = 64 * 1024 * 1024;
/** A MsgID's time may be ahead of the wall's by the reservation (10 s), clocks differ. */
const earlierMs = 15_000;
/** Buffers are taken once a second, and batches may have to be tried again. */
const laterMs = 10_000;

export async function answerFromJournal(
  request: JournalRequest,
  store: JournalStore,
  clock: Clock,
): Promise<DeskAnswer | ErrorAnswer> {
  return request.kind === "message" ? readPath(request, store) : readReach(request, store, clock);
}

async function readPath(
  { id, withinMs, deadlineMs }: Extract<JournalRequest, { kind: "message" }>,
  store: JournalStore,
): Promise<DeskAnswer | ErrorAnswer> {
  const parts = decodeMsgId(id);
  if (parts === undefined) return errorAnswer("BAD_COMMAND", `${id} is no MsgID`);
  const { shard, timeMs } = parts;
  const finder = new PathFinder(id as MsgId, shard);
  const counter = new BatchCounter();
  const fromMs = Math.max(0, timeMs - earlierMs);
  const reading = await store.read(
    { block: blockOf(shard), fromMs, bytesMax, deadlineMs },
    ({ bytes, storedAtMs }) => {
      if (storedAtMs > timeMs + withinMs + laterMs) return false;
      const batch = counter.read(bytes);
      return batch === undefined || finder.take(batch, storedAtMs);
    },
  );
  const path = finder.find();
  const read = {
    ...reading,
    unreadable: counter.unreadable,
    isCut: reading.end === "bound" || finder.isFull,
  };
  const gaps = finder.gaps.slice(0, gapsTold);
  if (path === undefined) {
    const lost = finder.gaps.reduce((sum, { count }) => sum + count, 0);
    const why = read.isCut ? "; the reading was cut short by its bounds" : "";
    const message = `no step of ${id} is in the journal (${lost} steps lost around it${why})`;
    return errorAnswer("NOT_FOUND", message);
  }
  const { key, seq } = path;
  const steps = path.steps.slice(0, stepsTold).map((step) => ({
    ...step,
    sinceMs: step.atMs - (path.steps[0]?.atMs ?? step.atMs),
  }));
  const [app, uid] = [decodeToken(appOfKey(key)), decodeToken(uidOfKey(key))];
  const isAll = steps.length === path.steps.length;
  return { ok: true, value: { id, app, uid, shard, seq, steps, isAll, gaps, read } };
}

/** An answer is one message of the bus. */
const stepsTold = 1_000;
const gapsTold = 100;

async function readReach(
  { app, withinMs, deadlineMs }: Extract<JournalRequest, { kind: "reach" }>,
  store: JournalStore,
  clock: Clock,
): Promise<DeskAnswer | ErrorAnswer> {
  const untilMs = clock.wallMs();
  const fromMs = Math.max(0, untilMs - withinMs);
  const endMs = clock.monotonicMs() + deadlineMs;
  const whole: ReachTally[] = [];
  let cut: ReachTally | undefined;
  let bytesLeft = bytesMax;
  const counter = new BatchCounter();
  // Not from 0 on at each time: with a bound in between, the same users would be asked for ever.
  const first = Math.floor(untilMs / 1_000) % blockCount;
  for (let nth = 0; nth < blockCount; nth++) {
    const leftMs = endMs - clock.monotonicMs();
    if (leftMs <= 0 || bytesLeft <= 0) break;
    const tally = new ReachTally(app, fromMs);
    const part = { block: (first + nth) % blockCount, fromMs };
    const onBatch = ({ bytes }: StoredBatch) => {
      const batch = counter.read(bytes);
      return batch === undefined || tally.take(batch);
    };
    const bounds = { bytesMax: bytesLeft, deadlineMs: leftMs };
    const { end, bytes } = await store.read({ ...part, ...bounds }, onBatch);
    bytesLeft -= bytes;
    if (end === "end") whole.push(tally);
    else cut ??= tally;
  }
  // Of a block that was cut the oldest are counted, and what became of them may be missing.
  const counted = whole.length > 0 || cut === undefined ? whole : [cut];
  const counts = sumOf(counted.map((tally) => tally.counts));
  const sample = { blocksRead: whole.length, blocks: blockCount, isCut: whole.length === 0 };
  const read = { bytes: bytesMax - bytesLeft, unreadable: counter.unreadable };
  return { ok: true, value: { fromMs, untilMs, ...counts, sample, read } };
}

class BatchCounter {
  unreadable = 0;

  read(bytes: Uint8Array): JournalBatch | undefined {
    const batch = readBatch(bytes);
    if (batch?.isWhole !== true) this.unreadable += 1;
    return batch;
  }
}
