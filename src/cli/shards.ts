/**
 * `belfry shards`: who serves what. A group is every so-many-th shard, so a line is a range
 * with a step: `3-4091 by 8`.
 */
import type { Command } from "commander";
import { groupOfShard, partitionCount, type Shard } from "../protocol/shards.js";
import { type Fleet, fullName, type Placement, type ShardPlace } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { hearLeader } from "./leader.js";
import { findNode, shardNumber } from "./names.js";
import { type Outcome, report } from "./outcome.js";
import { listAt, numberAt } from "./report.js";
import { type Cell, headings, table } from "./text.js";

interface ShardsOptions {
  readonly node?: string;
  readonly shard?: number;
}

/** Every `step`-th shard; both ends are in it. */
export interface ShardRange {
  readonly from: number;
  readonly to: number;
  readonly step: number;
  readonly state: string;
  readonly epoch: number;
  readonly nodeId: string | null;
  readonly incarnation: string | null;
  /** Who hands over, while they move to the owner. */
  readonly movesFrom?: string;
}

/** What the leader has heard of a range; null when it says nothing. */
export interface RangeLoad {
  readonly messagesPerSecond: number | null;
  readonly sessions: number | null;
}

export function declareShards(program: Command, invocation: Invocation): void {
  program
    .command("shards")
    .summary("show which node serves which shards")
    .description(
      "Prints the map of the 4096 shards: owner, epoch and state, as ranges with a step.",
    )
    .option("--node <id>", "only what this node owns")
    .option("--shard <n>", "only this shard", shardNumber)
    .addHelpText("after", "\nExample:\n  belfry shards --node dc1-a")
    .action(async (options: ShardsOptions) => {
      await invocation.withFleet((fleet) => shards(fleet, options));
    });
}

async function shards(fleet: Fleet, { node, shard }: ShardsOptions): Promise<Outcome> {
  const placement = await fleet.placement();
  let wanted = placement.shards;
  if (node !== undefined) {
    const owned = wanted.filter((place) => isOwnedBy(place, node));
    const found = findNode(placement, node);
    // A node that died still owns its shards until they are placed anew.
    if (owned.length === 0 && !found.ok) return found;
    wanted = owned;
  }
  if (shard !== undefined) wanted = wanted.filter((place) => place.shard === shard);
  const leader = await hearLeader(fleet, placement);
  const ranges = rangesOf(wanted, stepOf(placement.shards)).map((range) => {
    return { ...range, ...loadOf(range, leader.isUp ? leader.value : undefined) };
  });
  return report({ states: countStates(wanted), ranges }, (paint) => {
    const rows = ranges.map(({ nodeId, incarnation, epoch, state, ...range }) => [
      spell(range),
      countOf(range),
      nodeId === null ? null : `${nodeId}.${incarnation}`,
      epoch,
      range.messagesPerSecond,
      range.sessions,
      stateCell(state, range.movesFrom),
    ]);
    const titles = ["SHARDS", "COUNT", "OWNER", "EPOCH", "MESSAGES/S", "SESSIONS", "STATE"];
    return table([headings(...titles), ...rows], paint);
  });
}

/** Load is measured by unit: of one that is only partly in the range, that part. */
export function loadOf(range: ShardRange, report: unknown): RangeLoad {
  const unitSize = numberAt(report, "unitSize");
  const units = listAt(report, "units");
  if (unitSize === null || unitSize < 1) return { messagesPerSecond: null, sessions: null };
  const shares = new Map<number, number>();
  for (let shard = range.from; shard <= range.to; shard += range.step) {
    const unit = groupOfShard(shard as Shard, units.length);
    shares.set(unit, (shares.get(unit) ?? 0) + 1 / unitSize);
  }
  const sum = (field: string) => {
    let known: number | null = null;
    for (const [unit, share] of shares) {
      const figure = numberAt(units[unit], field);
      if (figure !== null) known = (known ?? 0) + figure * share;
    }
    return known === null ? null : Math.round(known * 10) / 10;
  };
  return { messagesPerSecond: sum("perSecond"), sessions: sum("sessions") };
}

function stateCell(state: string, movesFrom: string | undefined): Cell | string {
  if (state === "serving") return state;
  if (movesFrom === undefined) return { text: state, style: "red" };
  return { text: `${state} from ${movesFrom}`, style: "yellow" };
}

function isOwnedBy({ owner }: ShardPlace, name: string): boolean {
  return owner !== undefined && (owner.nodeId === name || fullName(owner) === name);
}

function spell({ from, to, step }: Pick<ShardRange, "from" | "to" | "step">): string {
  if (from === to) return `${from}`;
  return step === 1 ? `${from}-${to}` : `${from}-${to} by ${step}`;
}

function countOf({ from, to, step }: Pick<ShardRange, "from" | "to" | "step">): number {
  return (to - from) / step + 1;
}

/** The smallest step by which no more ranges are needed than by any other. */
export function stepOf(places: readonly ShardPlace[]): number {
  let best = { step: 1, ranges: Number.POSITIVE_INFINITY };
  for (let step = 1; step <= partitionCount; step *= 2) {
    const ranges = rangesOf(places, step).length;
    if (ranges < best.ranges) best = { step, ranges };
  }
  return best.step;
}

/** `places` in the order of their shards; the ranges ascend by their first. */
export function rangesOf(places: readonly ShardPlace[], step: number): ShardRange[] {
  const ranges: ShardRange[] = [];
  /** Of each remainder, the place of its last range. */
  const latest = new Map<number, number>();
  for (const { shard, state, epoch, owner, from } of places) {
    const movesFrom = from === undefined ? undefined : fullName(from);
    const nodeId = owner?.nodeId ?? null;
    const incarnation = owner?.incarnation ?? null;
    const at = latest.get(shard % step) ?? -1;
    const last = ranges[at];
    const continues =
      last !== undefined &&
      last.to + step === shard &&
      last.state === state &&
      last.epoch === epoch &&
      last.nodeId === nodeId &&
      last.incarnation === incarnation &&
      last.movesFrom === movesFrom;
    if (continues) {
      ranges[at] = { ...last, to: shard };
      continue;
    }
    const range = { from: shard, to: shard, step, state, epoch, nodeId, incarnation };
    latest.set(
      shard % step,
      ranges.push(movesFrom === undefined ? range : { ...range, movesFrom }) - 1,
    );
  }
  return ranges;
}

export function countStates(places: Placement["shards"]): Record<string, number> {
  const states: Record<string, number> = { serving: 0, moving: 0, unassigned: 0 };
  for (const { state } of places) states[state] = (states[state] ?? 0) + 1;
  return states;
}
