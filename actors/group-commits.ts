/**
 * The commits of one group, one in flight: takes all that its sessions want stored, has it
 * written, and tells each session that it is on disk.
 *
 *   wake ──▶ take ──gather──▶ commit ──▶ CommitEnded ──▶ Committed to each session ──▶ take …
 *                                           │
 *                                           └── fate unknown: the group crashes, opens again
 *
 * Invariant: nothing is answered before its commit is on disk, and nothing of a shard whose
 * write was fenced is answered at all: it has another owner.
 */
import type { Circuit } from "../src/base/circuit.js";
import { Fault } from "../src/base/result.js";
import type { CommitAnswer, InboxGroup, ShardWrite } from "../src/ports/inbox-store.js";
import type { Shard } from "../src/protocol/shards.js";
import { answerDurable, answerUnknown, fencedShards } from "./commit-answers.js";
import type { CommitQueue } from "./commit-queue.js";
import { gatherWrites, publishedPositions } from "./gather-writes.js";
import type { NodeContext } from "./node-context.js";
import type { PendingWrite } from "./pending-write.js";
import type { ShardContext } from "./shard-context.js";

export interface CommitTick {
  readonly kind: "CommitTick";
}

export interface CommitEnded {
  readonly kind: "CommitEnded";
  readonly writes: readonly ShardWrite[];
  readonly taken: readonly PendingWrite[];
  readonly result: readonly CommitAnswer[] | Fault;
}

/** The group, as its commits know it. */
export interface CommittingGroup {
  /** Comes back as a message, between turns; false where the group takes none any more. */
  commitEnded(ended: CommitEnded): boolean;
  commitIn(delayMs: number): void;
  /** With the fences above this node's. */
  loseShards(fenced: ReadonlyMap<Shard, number>): void;
  noteDurable(write: PendingWrite): void;
  /** The shard's changes have something to publish, and had nothing before. */
  changesWait(shard: Shard): void;
}

/** A commit that would hold fewer pushes waits a moment for more, when one has just ended. */
const gatherPushes = 64;
const gatherMs = 2;

export class GroupCommits {
  /** Those that ended well. */
  count = 0;
  /** The commit under way; settles, never rejects. */
  private flight: Promise<void> | undefined = undefined;
  /** Its end, until the group has taken it up; where it stops, still to be answered. */
  private landed: CommitEnded | undefined = undefined;

  constructor(
    private readonly group: CommittingGroup,
    private readonly queue: CommitQueue,
    private readonly contexts: ReadonlyMap<Shard, ShardContext>,
    private readonly circuit: Circuit,
    private readonly node: NodeContext,
  ) {}

  begin(inbox: InboxGroup): void {
    const taken = this.queue.take();
    if (taken.length === 0) return;
    const writes = this.gather(taken);
    this.flight = inbox.commit(writes).then(
      (result) => this.land({ kind: "CommitEnded", writes, taken, result }),
      (cause) => this.land({ kind: "CommitEnded", writes, taken, result: asFault(cause) }),
    );
  }

  private land(ended: CommitEnded): void {
    this.landed = ended;
    // The group stops: who still waits for this would keep it.
    if (!this.group.commitEnded(ended)) this.queue.letGo();
  }

  private gather(taken: readonly PendingWrite[]): ShardWrite[] {
    return gatherWrites(taken, this.contexts, this.node);
  }

  /**
   * Tells the sessions, and has the next one begun. Throws where nobody knows what reached
   * the disk. `inbox`: undefined once the group is about to stop.
   */
  onEnded(ended: CommitEnded, inbox: InboxGroup | undefined): void {
    // Of an instance that crashed meanwhile, which has answered it as it ended.
    if (ended !== this.landed) return;
    this.landed = undefined;
    this.queue.pace.end();
    if (ended.result instanceof Fault) throw this.failed(ended.result);
    this.count++;
    const fenced = this.noteAnswers(ended.writes, ended.result);
    for (const write of ended.taken) {
      if (fenced.has(write.shard)) continue;
      this.group.noteDurable(write);
      write.author.committed(write);
    }
    const waiting = this.queue.settle();
    if (!this.queue.isWaiting) return;
    // Under load a moment's patience makes one flush serve many; after a rest nobody waits.
    if (waiting < gatherPushes) this.group.commitIn(gatherMs);
    else if (inbox !== undefined) this.begin(inbox);
  }

  /** Returns the shards that are fenced. */
  private noteAnswers(
    writes: readonly ShardWrite[],
    answers: readonly CommitAnswer[],
  ): ReadonlyMap<Shard, number> {
    const fenced = new Map<Shard, number>();
    for (const [index, write] of writes.entries()) {
      const answer = answers[index];
      if (answer === undefined) continue;
      if (answer.ok) this.noteCommitted(write, answer.value.lastChange);
      else fenced.set(write.shard, answer.epoch);
    }
    if (fenced.size > 0) this.group.loseShards(fenced);
    return fenced;
  }

  private noteCommitted(write: ShardWrite, lastChange: number): void {
    const { shard, sessions, reserveUntilMs, publishedChange } = write;
    const context = this.contexts.get(shard);
    if (context === undefined) return;
    const { ids, changes } = context;
    if (reserveUntilMs !== undefined) ids.extend(reserveUntilMs);
    if (publishedChange !== undefined) {
      changes.noteStored(publishedChange, this.node.clock.monotonicMs());
    }
    const isAtWork = changes.hasWork;
    changes.noteCommitted(lastChange, sessions);
    if (!isAtWork && changes.hasWork) this.group.changesWait(shard);
  }

  /**
   * Nobody knows what reached the disk: answer so, and begin again from what is
   * there. The supervisor opens the group anew, and the edges attach again.
   */
  private failed(fault: Fault): Fault {
    this.circuit.noteFailure(this.node.clock.monotonicMs());
    answerUnknown(this.node.bus, this.queue.abandon());
    return fault;
  }

  /**
   * The sessions are gone, and nobody takes messages any more, but the publishers still wait.
   * `isCrashed`: what still waits is answered at its deadline.
   */
  async end(inbox: InboxGroup, isCrashed: boolean): Promise<void> {
    await this.flight;
    const { landed, node } = this;
    if (landed !== undefined) this.answerLanded(landed);
    if (isCrashed) return;
    const left = this.queue.take();
    if (landed?.result instanceof Fault) {
      // They stand on what nobody knows to be stored.
      answerUnknown(node.bus, left);
      return;
    }
    const positions = publishedPositions(this.contexts.values());
    const writes = [...this.gather(left), ...positions];
    await inbox.commit(writes).then(
      (answers) => answerDurable(node.bus, left, fencedShards(writes, answers)),
      () => answerUnknown(node.bus, left),
    );
  }

  private answerLanded({ writes, taken, result }: CommitEnded): void {
    if (result instanceof Fault) answerUnknown(this.node.bus, taken);
    else answerDurable(this.node.bus, taken, fencedShards(writes, result));
  }
}

function asFault(cause: unknown): Fault {
  if (cause instanceof Fault) return cause;
  return new Fault("STORE_UNAVAILABLE", "unknown", String(cause), { cause });
}
