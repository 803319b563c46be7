/**
 * The lease of the leader of an IDC, as one node sees it: taken by a challenge, renewed,
 * given back when the node stops.
 *
 *   following ──(holder gone, compare-and-set won)──▶ leading
 *       ▲                                                 │
 *       └──(deadline passed, or somebody else wrote)──────┘
 *
 * Invariant: `current` is past its deadline only until the next `stepDownIfLate`, which
 * the placement actor calls before it looks at a message.
 */
import { decodeLeader, encodeLeader } from "../topology/election.js";
import type { Decisions } from "./decisions.js";
import { leaderKey } from "./membership.js";
import type { NodeContext } from "./node-context.js";

/** One term of this node: another one is another object. */
export interface Leading {
  readonly incarnation: string;
  readonly epoch: number;
  readonly sinceMs: number;
  revision: number;
  deadlineMs: number;
  /** The epoch is in the table: only then are shards given under it. */
  hasWrittenTable: boolean;
}

export class Leadership {
  private term: Leading | undefined = undefined;

  constructor(
    private readonly node: NodeContext,
    private readonly decisions: Decisions,
  ) {}

  /** Undefined while this node follows. */
  get current(): Leading | undefined {
    return this.term;
  }

  /** `revision`: of the record that was judged; one written since makes it fail. */
  async challenge(reason: string, revision: number | undefined): Promise<boolean> {
    const { view, placement, incarnation, limits, clock } = this.node;
    // Who cannot hold its own lease must not lead.
    if (!view.isLeaseHeld(clock.monotonicMs()) || !view.isLoaded) return false;
    const sentMs = clock.monotonicMs();
    const epoch = view.floor.masterEpoch + 1;
    const record = this.recordOf({ incarnation, epoch });
    const won =
      revision === undefined
        ? await placement.create(leaderKey, record)
        : await placement.update(leaderKey, record, revision);
    if (!won.ok) return false;
    this.term = {
      incarnation,
      epoch,
      sinceMs: clock.monotonicMs(),
      revision: won.value,
      deadlineMs: sentMs + limits.leaseMs,
      hasWrittenTable: false,
    };
    this.decisions.note(`leads under epoch ${epoch}: ${reason}`);
    return true;
  }

  async renewWhenDue(leading: Leading): Promise<void> {
    const { placement, limits, clock } = this.node;
    const sentMs = clock.monotonicMs();
    // As often as a node its own (membership).
    if (leading.deadlineMs - sentMs > (limits.leaseMs * 4) / 5) return;
    const record = this.recordOf(leading);
    const renewed = await placement.update(leaderKey, record, leading.revision);
    if (!renewed.ok) {
      await this.onNotRenewed(leading);
      return;
    }
    leading.revision = renewed.value;
    leading.deadlineMs = sentMs + limits.leaseMs;
  }

  /** It may be an own renewal of unknown outcome that did take effect. */
  private async onNotRenewed(leading: Leading): Promise<void> {
    const present = await this.node.placement.get(leaderKey);
    const holder = present === undefined ? undefined : decodeLeader(present.value);
    const isOwn = holder?.ok && holder.value.incarnation === leading.incarnation;
    if (present !== undefined && isOwn && holder.value.epoch === leading.epoch) {
      leading.revision = present.revision;
    } else {
      this.stepDown("somebody else wrote the lease");
    }
  }

  stepDownIfLate(): void {
    const { term } = this;
    if (term === undefined) return;
    if (term.incarnation !== this.node.incarnation) {
      this.stepDown("this node has rejoined");
    } else if (this.node.clock.monotonicMs() >= term.deadlineMs) {
      this.stepDown("the lease was not renewed in time");
    }
  }

  stepDown(reason: string): void {
    this.term = undefined;
    this.decisions.note(`leads no more: ${reason}`);
  }

  /** So that the next leader need not wait. */
  async resign(reason: string): Promise<void> {
    const { term } = this;
    if (term === undefined) return;
    this.stepDown(reason);
    await this.node.placement.delete(leaderKey, term.revision);
  }

  private recordOf({ incarnation, epoch }: Pick<Leading, "incarnation" | "epoch">): Uint8Array {
    const { nodeId, limits } = this.node;
    return encodeLeader({ nodeId, incarnation, epoch, leaseMs: limits.leaseMs });
  }
}
