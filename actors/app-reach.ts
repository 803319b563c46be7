/**
 * What became of one app's messages, counted from the journal: of those accepted within a
 * window, how many the inbox has let go and why, and how many it still holds.
 *
 * Bounded: beyond so many that are still open, it takes no more and says so.
 */
import type { JournalBatch, JournalStep } from "../src/protocol/journal-batch.js";
import { appOfKey, type SessionKey } from "../src/protocol/shards.js";

const openMax = 200_000;

export interface ReachCounts {
  /** Stored within the window. */
  readonly accepted: number;
  /** Of these, by the reason for which the inbox let them go. */
  readonly letGo: Readonly<Record<string, number>>;
  /** At most once: all, and those that a connected device was there for. */
  readonly passed: number;
  readonly passedOn: number;
  /** Steps of any app that nodes could not keep. */
  readonly lostSteps: number;
}

export class ReachTally {
  private accepted = 0;
  private open = 0;
  private lostSteps = 0;
  private readonly letGo: Record<string, number> = {};
  private readonly openSeqs = new Map<SessionKey, Set<number>>();
  private readonly passedIds = new Set<string>();
  private readonly passedOnIds = new Set<string>();

  constructor(
    /** Encoded. */
    private readonly app: string,
    private readonly fromMs: number,
  ) {}

  /** False when it takes no more. */
  take({ steps }: JournalBatch): boolean {
    for (const step of steps) {
      if (step.kind === "lost") this.lostSteps += step.count;
      else if (appOfKey(step.session.key) === this.app) this.note(step);
    }
    return this.open + this.passedIds.size < openMax;
  }

  get counts(): ReachCounts {
    const { accepted, letGo, lostSteps, passedIds, passedOnIds } = this;
    const passed = { passed: passedIds.size, passedOn: passedOnIds.size };
    return { accepted, letGo: { ...letGo }, ...passed, lostSteps };
  }

  private note(step: Exclude<JournalStep, { kind: "lost" }>): void {
    const { key } = step.session;
    if (step.kind === "stored") this.noteStored(key, step.seq, step.atMs);
    else if (step.kind === "dropped") this.noteLetGo(key, step);
    else if (step.kind === "passed" && step.atMs >= this.fromMs) {
      this.passedIds.add(step.id);
      if (step.device !== "") this.passedOnIds.add(step.id);
    }
  }

  private noteStored(key: SessionKey, seq: number, atMs: number): void {
    if (atMs < this.fromMs) return;
    let seqs = this.openSeqs.get(key);
    if (seqs === undefined) {
      seqs = new Set();
      this.openSeqs.set(key, seqs);
    }
    if (seqs.has(seq)) return;
    seqs.add(seq);
    this.accepted += 1;
    this.open += 1;
  }

  private noteLetGo(
    key: SessionKey,
    { fromSeq, count, reason }: Extract<JournalStep, { kind: "dropped" }>,
  ): void {
    const seqs = this.openSeqs.get(key);
    if (seqs === undefined) return;
    for (const seq of [...seqs]) {
      if (seq < fromSeq || seq >= fromSeq + count) continue;
      seqs.delete(seq);
      this.open -= 1;
      this.letGo[reason] = (this.letGo[reason] ?? 0) + 1;
    }
    if (seqs.size === 0) this.openSeqs.delete(key);
  }
}

/** Blocks have different users, so their counts add up. */
export function sumOf(all: readonly ReachCounts[]): ReachCounts {
  const letGo: Record<string, number> = {};
  for (const counts of all) {
    for (const [reason, count] of Object.entries(counts.letGo)) {
      letGo[reason] = (letGo[reason] ?? 0) + count;
    }
  }
  const sum = (field: "accepted" | "passed" | "passedOn" | "lostSteps") =>
    all.reduce((total, counts) => total + counts[field], 0);
  return {
    accepted: sum("accepted"),
    letGo,
    passed: sum("passed"),
    passedOn: sum("passedOn"),
    lostSteps: sum("lostSteps"),
  };
}
