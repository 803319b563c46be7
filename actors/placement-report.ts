/** The placement as its leader shows it to operators: `belfry placement`, `nodes`, `shards`. */
import { type Shard, shardCount } from "../src/protocol/shards.js";
import {
  isSame,
  type Member,
  type Ownership,
  type PlacementTable,
} from "../topology/placement-table.js";
import { type Candidate, nameOf } from "../topology/units.js";
import { totalLoad, type UnitWeights } from "../topology/weights.js";
import type { Decisions } from "./decisions.js";
import type { LeaderMemory } from "./leader-memory.js";
import type { Leading } from "./leadership.js";
import type { NodeContext } from "./node-context.js";

export function reportPlacement(
  { nodeId, incarnation, clock, limits }: NodeContext,
  leading: Leading,
  memory: LeaderMemory,
  members: readonly Candidate[],
  { table, revision }: { readonly table: PlacementTable; readonly revision: number },
  decisions: Decisions,
): Record<string, unknown> {
  const nowMs = clock.monotonicMs();
  const owners = ownersOf(table, memory.unitSize);
  const weights = memory.weights(nowMs);
  return {
    leader: { nodeId, incarnation },
    epoch: leading.epoch,
    leadingForMs: nowMs - leading.sinceMs,
    table: { revision, nonce: table.nonce, epoch: table.masterEpoch },
    unitSize: memory.unitSize,
    draining: table.draining,
    openMoves: openMoves(owners, memory, nowMs),
    rebalance: memory.orders.committed ?? null,
    avoided: memory.shunned(nowMs),
    load: {
      perSecond: rounded(totalLoad(memory.load.loads(nowMs))),
      floorPerSecond: limits.loadFloorPerSecond,
      isMeasured: memory.load.isComplete(table, members),
    },
    units: unitLoads(owners, memory, weights),
    nodes: members.map((member) => nodeLoad(member, owners, memory, weights)),
    decisions: decisions.latest(),
  };
}

type Owners = readonly (Ownership | undefined)[];

function ownersOf(table: PlacementTable, unitSize: number): Owners {
  return Array.from({ length: shardCount / unitSize }, (_, unit) => table.ownerOf(unit as Shard));
}

function openMoves(owners: Owners, memory: LeaderMemory, nowMs: number) {
  return owners.flatMap((owner, unit) => {
    if (owner?.state !== "moving") return [];
    const forMs = memory.openMoves.openForMs(unit, nowMs) ?? 0;
    const { epoch, from } = owner;
    return [{ unit, epoch, from: from ?? null, to: nameOf(owner), forMs }];
  });
}

function unitLoads(owners: Owners, memory: LeaderMemory, weights: UnitWeights) {
  return owners.map((owner, unit) => {
    const load = memory.load.of(unit);
    return {
      unit,
      nodeId: owner?.nodeId ?? null,
      perSecond: load === undefined ? null : rounded(load.perSecond),
      sessions: load?.sessions ?? null,
      weight: rounded(weights[unit] ?? 1),
    };
  });
}

/** Of what it owns; a unit on its way counts for its new owner. */
function nodeLoad(member: Member, owners: Owners, memory: LeaderMemory, weights: UnitWeights) {
  const sum = { units: 0, perSecond: 0, sessions: 0, weight: 0 };
  for (const [unit, owner] of owners.entries()) {
    if (owner === undefined || !isSame(owner, member)) continue;
    const load = memory.load.of(unit);
    sum.units++;
    sum.perSecond += load?.perSecond ?? 0;
    sum.sessions += load?.sessions ?? 0;
    sum.weight += weights[unit] ?? 1;
  }
  const { units, perSecond, sessions, weight } = sum;
  return {
    ...nameOf(member),
    units,
    perSecond: rounded(perSecond),
    sessions,
    weight: rounded(weight),
  };
}

function rounded(figure: number): number {
  return Math.round(figure * 10) / 10;
}
