/**
 * The store of one shard group: opened, its fences raised to this node's epochs, and closed
 * again, also when nobody waits for it any more.
 *
 *   open ──▶ raise ──▶ FencedShard of each whose fence went up
 *
 * A store that fails each time it is tried opens the group's circuit.
 */
import type { Fence, FenceAnswer, FenceRequest, InboxGroup } from "../src/ports/inbox-store.js";
import { MsgIdSource } from "../src/protocol/msg-id.js";
import type { Shard } from "../src/protocol/shards.js";
import type { GroupState } from "./admission.js";
import type { Epochs } from "./group-duty.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";

/** This node may write to it. */
export interface FencedShard {
  readonly shard: Shard;
  readonly epoch: number;
  readonly ids: MsgIdSource;
  readonly fence: Fence;
}

export interface RaisedFences {
  readonly shards: readonly FencedShard[];
  /** The highest found above this node's epochs; 0 when none was. */
  readonly highestFence: number;
}

export class GroupStore {
  constructor(
    private readonly node: NodeContext,
    private readonly incarnation: string,
    private readonly group: number,
    private readonly state: GroupState,
    /** Its actor was abandoned at its stop deadline: nobody else closes what is opened now. */
    private readonly isOver: () => boolean,
  ) {}

  open(): Promise<InboxGroup> {
    return this.tried(this.node.store.openGroup(this.group));
  }

  async raise(inbox: InboxGroup, epochs: Epochs): Promise<RaisedFences> {
    const startMs = this.node.clock.wallMs();
    const requests = this.requests(epochs, startMs + this.node.limits.reserveMs);
    const raise = inbox.raise(requests).finally(() => this.closeIfOver(inbox));
    return this.fenced(requests, await this.tried(raise), startMs);
  }

  private requests(epochs: Epochs, reserveUntilMs: number): FenceRequest[] {
    const { nodeId } = this.node;
    // Not the node's name of now: it may have changed while the store was opened.
    const holder = nodeNameOf({ nodeId, incarnation: this.incarnation });
    return [...epochs].map(([shard, epoch]) => ({ shard, epoch, holder, reserveUntilMs }));
  }

  private fenced(
    requests: readonly FenceRequest[],
    answers: readonly FenceAnswer[],
    startMs: number,
  ): RaisedFences {
    const shards: FencedShard[] = [];
    let highestFence = 0;
    for (const [index, { shard, epoch, reserveUntilMs }] of requests.entries()) {
      const answer = answers[index];
      if (answer === undefined || !answer.ok) {
        highestFence = Math.max(highestFence, answer?.epoch ?? 0);
        continue;
      }
      const fence = answer.value;
      // Where an earlier reservation reaches past ours, the first id waits for a longer one.
      const firstIdMs = Math.max(startMs, fence.previousReservedUntilMs);
      const ids = new MsgIdSource(shard, this.node.idcNumber, firstIdMs, reserveUntilMs);
      shards.push({ shard, epoch, ids, fence });
    }
    return { shards, highestFence };
  }

  private async tried<Value>(call: Promise<Value>): Promise<Value> {
    try {
      return await call;
    } catch (cause) {
      this.state.circuit.noteFailure(this.node.clock.monotonicMs());
      throw cause;
    }
  }

  private async closeIfOver(inbox: InboxGroup): Promise<void> {
    if (this.isOver()) await this.close(inbox);
  }

  /** The embedded store cannot open again in this process what it could not close. */
  async close(inbox: InboxGroup): Promise<void> {
    await inbox.close().catch((cause) => this.node.giveUp(`group ${this.group}: ${cause}`));
  }
}
