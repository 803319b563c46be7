/**
 * Whether writes of one group still go through: an empty one under the group's own
 * fence, behind every commit before it. It costs no flush, so that an idle disk stays
 * idle; one that is stalled holds it back together with what it stalls.
 */
import type { Clock } from "../src/base/clock.js";
import { Fault } from "../src/base/result.js";
import type { InboxGroup } from "../src/ports/inbox-store.js";
import type { GroupProof } from "../src/protocol/messages.js";
import type { Shard } from "../src/protocol/shards.js";
import type { ShardContext } from "./shard-context.js";

export class StoreProbe {
  private isUnderWay = false;
  private provenMs: number;
  private fault: string | undefined = undefined;

  /** Made when the fences of `shards` have been raised in it, which proves it, too. */
  constructor(
    private readonly clock: Clock,
    private readonly inbox: InboxGroup,
    private readonly shards: ReadonlyMap<Shard, ShardContext>,
    /** Told of each write that came through, with when it began. */
    private readonly onProven: (startedMs: number) => void = () => undefined,
  ) {
    this.provenMs = clock.monotonicMs();
  }

  get proof(): GroupProof {
    const { provenMs, fault } = this;
    return fault === undefined ? { provenMs } : { provenMs, fault };
  }

  /** One at a time. A fence above it is an answer as well: the store lives. */
  start(): void {
    if (this.isUnderWay) return;
    this.isUnderWay = true;
    const startedMs = this.clock.monotonicMs();
    const [first] = this.shards.values();
    const writes = first && [{ shard: first.shard, epoch: first.epoch, sessions: [] }];
    this.inbox.commit(writes ?? []).then(
      () => {
        this.end(undefined);
        this.onProven(startedMs);
      },
      (cause) => this.end(cause instanceof Fault ? cause.message : String(cause)),
    );
  }

  private end(fault: string | undefined): void {
    this.isUnderWay = false;
    this.fault = fault;
    if (fault === undefined) this.provenMs = this.clock.monotonicMs();
  }
}
