/**
 * One message's path, put together from the journal's steps of its shard.
 *
 * Only "stored" and the steps of at-most-once messages name the MsgID; the others name the
 * session's seqs. Batches of owner and edges come in any order, so the shard's steps are
 * gathered first and told apart at the end. Once the inbox has let the message go, or it was
 * handed on at most once, no more is to come than what is still on its way into the journal.
 */
import type { JournalBatch, JournalStep } from "../src/protocol/journal-batch.js";
import type { MsgId } from "../src/protocol/msg-id.js";
import { type SessionKey, type Shard, shardOfKey } from "../src/protocol/shards.js";

/** The one way to a device there is so far; vendors' channels will be others. */
const ownChannel = "own";
/** Of one shard in one reading; beyond, the path says so. */
const stepsMax = 200_000;
/** After its last step: edges' buffers and batches that were tried again are in by then. */
const settledMs = 10_000;

export interface PathStep {
  readonly atMs: number;
  readonly node: string;
  readonly epoch: number;
  readonly step: string;
  readonly channel: string;
  readonly device?: string;
  readonly edge?: string;
  readonly connection?: number;
  readonly reason?: string;
}

export interface MessagePath {
  readonly key: SessionKey;
  /** 0 for one that was never stored. */
  readonly seq: number;
  readonly steps: readonly PathStep[];
}

/** Steps of the message's block that a node could not keep. */
export interface JournalGap {
  readonly atMs: number;
  readonly node: string;
  readonly count: number;
}

interface NodeStep {
  readonly node: string;
  readonly step: SessionStep;
}

type SessionStep = Exclude<JournalStep, { kind: "lost" }>;
type SentTo = Extract<JournalStep, { kind: "sent" | "written" }>;

/** Steps of one moment in the order in which they must have happened. */
const ranks: Readonly<Record<SessionStep["kind"], number>> = {
  stored: 0,
  duplicate: 1,
  passed: 2,
  "passed-written": 3,
  sent: 3,
  written: 4,
  acked: 5,
  dropped: 6,
  opened: 7,
};

export class PathFinder {
  readonly gaps: JournalGap[] = [];
  private readonly steps: NodeStep[] = [];
  private readonly shards = new Map<SessionKey, Shard>();
  private named: SessionStep | undefined = undefined;
  private endedAtMs = Number.POSITIVE_INFINITY;

  constructor(
    private readonly id: MsgId,
    private readonly shard: Shard,
  ) {}

  /** False when it needs no more, or takes no more. */
  take({ node, steps }: JournalBatch, storedAtMs: number): boolean {
    for (const step of steps) {
      if (step.kind === "lost") this.gaps.push({ atMs: step.atMs, node, count: step.count });
      else if (this.isOfShard(step.session.key)) this.add({ node, step });
    }
    this.shards.clear();
    return !this.isFull && storedAtMs < this.endedAtMs + settledMs;
  }

  get isFull(): boolean {
    return this.steps.length >= stepsMax;
  }

  private add(found: NodeStep): void {
    this.steps.push(found);
    const { step } = found;
    // Who opened it names it too, but says not where it stood.
    const isNaming = "id" in step && step.id === this.id && step.kind !== "opened";
    if (this.named === undefined && isNaming) {
      this.named = step;
      for (const { step: before } of this.steps) this.noteEnd(before, step);
    } else if (this.named !== undefined) {
      this.noteEnd(step, this.named);
    }
  }

  private noteEnd(step: SessionStep, named: SessionStep): void {
    const isLast = step.kind === "dropped" || step.kind === "passed";
    if (!isLast || step.session.key !== named.session.key) return;
    if (this.concerns(step, named, seqOf(named))) this.endedAtMs = step.atMs;
  }

  /** Undefined when no step names the message. */
  find(): MessagePath | undefined {
    const { named } = this;
    if (named === undefined) return undefined;
    const { key } = named.session;
    const seq = seqOf(named);
    const receivers = this.receiversOf(key, seq);
    const own = this.steps
      .filter(({ step }) => step.session.key === key && this.concerns(step, named, seq, receivers))
      .sort((a, b) => a.step.atMs - b.step.atMs || ranks[a.step.kind] - ranks[b.step.kind]);
    return { key, seq, steps: firstOfEach(own.map(pathStep)) };
  }

  private concerns(
    step: SessionStep,
    named: SessionStep,
    seq: number,
    receivers?: ReadonlySet<string>,
  ): boolean {
    if ("id" in step) return step.id === this.id;
    if (seq === 0 || step.session.generation !== named.session.generation) return false;
    if (step.kind === "acked") return step.seq >= seq && receivers?.has(step.device) === true;
    return step.fromSeq <= seq && seq < step.fromSeq + step.count;
  }

  /** An ack passes over what was meant for other devices; with its sending lost it is none. */
  private receiversOf(key: SessionKey, seq: number): ReadonlySet<string> {
    const devices = new Set<string>();
    for (const { step } of this.steps) {
      if (step.kind !== "sent" && step.kind !== "written") continue;
      if (step.session.key !== key || step.fromSeq > seq) continue;
      if (seq < step.fromSeq + step.count) devices.add(step.device);
    }
    return devices;
  }

  /** Each batch introduces its sessions once or a few times. */
  private isOfShard(key: SessionKey): boolean {
    let shard = this.shards.get(key);
    if (shard === undefined) {
      shard = shardOfKey(key);
      this.shards.set(key, shard);
    }
    return shard === this.shard;
  }
}

function seqOf(named: SessionStep): number {
  return "seq" in named ? named.seq : 0;
}

function pathStep({ node, step }: NodeStep): PathStep {
  const head = { atMs: step.atMs, node, epoch: step.session.epoch, channel: ownChannel };
  switch (step.kind) {
    case "stored":
    case "duplicate":
      return { ...head, step: step.kind };
    case "sent":
    case "written":
      return { ...head, step: step.kind, ...placeOf(step) };
    case "acked":
    case "opened":
      return { ...head, step: step.kind, device: step.device };
    case "dropped":
      return { ...head, step: "let-go", reason: step.reason };
    case "passed":
      return step.device === ""
        ? { ...head, step: "nobody-connected" }
        : { ...head, step: "handed-on", device: step.device };
    case "passed-written":
      return { ...head, step: "written", device: step.device };
  }
}

function placeOf({ device, edge, connection }: SentTo) {
  return { device, edge, connection };
}

/** A cursor is acked again and again, and a batch that was kept twice is one. */
function firstOfEach(steps: readonly PathStep[]): PathStep[] {
  const seen = new Set<string>();
  return steps.filter((step) => {
    const { atMs, node, device } = step;
    const mark = step.step === "acked" ? `acked ${device}` : JSON.stringify([atMs, node, step]);
    if (seen.has(mark)) return false;
    seen.add(mark);
    return true;
  });
}
