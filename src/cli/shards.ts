/** `belfry shards`: who serves what, neighbours of one owner and epoch in one line. */
import type { Command } from "commander";
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

/** Both ends are in it. */
export interface ShardRange {
  readonly from: number;
  readonly to: number;
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
    .description("Prints the map of the 4096 shards: owner, epoch and state, as ranges.")
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
  const ranges = rangesOf(wanted).map((range) => {
    return { ...range, ...loadOf(range, leader.isUp ? leader.value : undefined) };
  });
  return report({ states: countStates(wanted), ranges }, (paint) => {
    const rows = ranges.map(({ from, to, nodeId, incarnation, epoch, state, ...range }) => [
      from === to ? from : `${from}-${to}`,
      to - from + 1,
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
export function loadOf({ from, to }: ShardRange, report: unknown): RangeLoad {
  const unitSize = numberAt(report, "unitSize");
  const units = listAt(report, "units");
  if (unitSize === null || unitSize < 1) return { messagesPerSecond: null, sessions: null };
  const sum = (field: string) => {
    let known: number | null = null;
    for (let unit = Math.floor(from / unitSize); unit * unitSize <= to; unit++) {
      const figure = numberAt(units[unit], field);
      const first = Math.max(from, unit * unitSize);
      const last = Math.min(to, (unit + 1) * unitSize - 1);
      if (figure !== null) known = (known ?? 0) + (figure * (last - first + 1)) / unitSize;
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

/** `places` in the order of their shards. */
export function rangesOf(places: readonly ShardPlace[]): ShardRange[] {
  const ranges: ShardRange[] = [];
  for (const { shard, state, epoch, owner, from } of places) {
    const movesFrom = from === undefined ? undefined : fullName(from);
    const nodeId = owner?.nodeId ?? null;
    const incarnation = owner?.incarnation ?? null;
    const last = ranges.at(-1);
    const continues =
      last !== undefined &&
      last.to + 1 === shard &&
      last.state === state &&
      last.epoch === epoch &&
      last.nodeId === nodeId &&
      last.incarnation === incarnation &&
      last.movesFrom === movesFrom;
    if (continues) {
      ranges[ranges.length - 1] = { ...last, to: shard };
      continue;
    }
    const range = { from: shard, to: shard, state, epoch, nodeId, incarnation };
    ranges.push(movesFrom === undefined ? range : { ...range, movesFrom });
  }
  return ranges;
}

export function countStates(places: Placement["shards"]): Record<string, number> {
  const states: Record<string, number> = { serving: 0, moving: 0, unassigned: 0 };
  for (const { state } of places) states[state] = (states[state] ?? 0) + 1;
  return states;
}
