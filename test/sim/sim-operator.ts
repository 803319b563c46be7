/**
 * What operators do: moves as planned, one group at a time. Until `belfry rebalance
 * commit` and drains are among the actors, a move is written into the table just as the
 * leader writes one; afterwards only this file asks the leader for it instead.
 */
import { randomToken } from "../../src/base/random.js";
import { type Shard, shardCount } from "../../src/protocol/shards.js";
import { type Member, PlacementTable } from "../../topology/placement-table.js";
import { unitShards } from "../../topology/units.js";
import type { ModelPublisher } from "./model-publisher.js";
import type { SimKeyValueServer } from "./sim-key-value.js";
import type { SimNode } from "./sim-node.js";
import type { World } from "./world.js";

const tableKey = "table";

export class SimOperator {
  moves = 0;

  constructor(
    private readonly world: World,
    private readonly keyValue: SimKeyValueServer,
    private readonly nodes: readonly SimNode[],
    private readonly groupCount: number,
    private readonly publishers: readonly ModelPublisher[],
  ) {}

  /** A group that somebody publishes to goes to any other live node; not while another moves. */
  move(): void {
    const { world, keyValue } = this;
    const entry = keyValue.snapshot(tableKey)[0];
    const read = entry && PlacementTable.decode(entry.value);
    if (keyValue.leader !== "present" || read === undefined || !read.ok) return;
    const table = read.value;
    const unitSize = shardCount / this.groupCount;
    const units = Array.from({ length: this.groupCount }, (_, unit) => unit);
    if (units.some((unit) => table.stateOf(unit as Shard) !== "serving")) return;
    const unit = world.random.pick(this.publishers).shard % this.groupCount;
    const shards = unitShards(unit, unitSize);
    // As the leader would: not to who says that it cannot serve it.
    const takers = this.members(unit).filter(
      (member) => !table.isOwnedBy(shards[0] as Shard, member),
    );
    if (takers.length === 0) return;
    const to = world.random.pick(takers);
    world.note("operator", "moves", () => `group ${unit} to ${to.nodeId}`);
    this.moves++;
    const moved = table.withMove(shards, to);
    const nonce = randomToken(world.random, 12);
    keyValue.write("operator", tableKey, moved.writtenBy(table.masterEpoch, nonce).encode());
  }

  private members(unit: number): Member[] {
    return this.nodes.flatMap(({ running, isStopping }) => {
      if (running === undefined || isStopping) return [];
      const { context, process } = running;
      const isHeld = context.view.isLeaseHeld(process.monotonicMs());
      const { nodeId, incarnation } = context;
      const { unwell, isInDoubt, cannotServe } = context.view.health;
      const isWell = unwell === undefined && !isInDoubt && !cannotServe.includes(unit);
      return isHeld && isWell ? [{ nodeId, incarnation }] : [];
    });
  }
}
