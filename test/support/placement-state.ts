/** The placement bucket as tests read it: who serves what, who leads. */
import { leaderKey, tableKey } from "../../actors/membership.js";
import type { KeyValue } from "../../src/ports/key-value.js";
import { type Shard, shardCount, shardOf } from "../../src/protocol/shards.js";
import { encodeToken } from "../../src/protocol/tokens.js";
import { decodeLeader, type LeaderRecord } from "../../topology/election.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { readPlacementRecord } from "./placement-record.js";
import { app, type Platform } from "./platform.js";
import { until } from "./until.js";

export async function readTable(platform: Platform): Promise<PlacementTable> {
  const entry = await readPlacementRecord(platform.link, tableKey);
  const table = entry && PlacementTable.decode(entry.value);
  if (!table?.ok) throw new Error("there is no placement table that reads");
  return table.value;
}

export async function readLeader(platform: Platform): Promise<LeaderRecord | undefined> {
  const entry = await readPlacementRecord(platform.link, leaderKey);
  const leader = entry && decodeLeader(entry.value);
  return leader?.ok ? leader.value : undefined;
}

/** The leader's name as `Platform.nodes` has it. */
export async function leaderName(platform: Platform): Promise<string> {
  const leader = await until("somebody leads", () => readLeader(platform));
  return leader.nodeId.slice("dc1-".length);
}

/** The nodes that do not lead, in a stable order. */
export async function followerNames(platform: Platform): Promise<string[]> {
  const leader = await leaderName(platform);
  return [...platform.nodes.keys()].filter((name) => name !== leader).sort();
}

/** Every running node serves its even share and nothing moves any more. */
export async function untilBalanced(platform: Platform, deadlineMs?: number): Promise<void> {
  const share = shardCount / platform.nodes.size;
  const isBalanced = async () => {
    const counts = await platform.shardCounts();
    return [...platform.nodes.keys()].every((name) => counts.get(`dc1-${name}`) === share);
  };
  await until("each node serves its share", isBalanced, deadlineMs);
}

export async function shardsOf(platform: Platform, name: string): Promise<Set<Shard>> {
  const { nodeId, incarnation } = await platform.nodeRecord(`dc1-${name}`);
  const table = await readTable(platform);
  const shards = new Set<Shard>();
  for (let number = 0; number < shardCount; number++) {
    if (table.isOwnedBy(number as Shard, { nodeId, incarnation })) shards.add(number as Shard);
  }
  return shards;
}

/** Who serves each shard, under which epoch and incarnation. */
export function ownersOf(table: PlacementTable): string[] {
  return Array.from({ length: shardCount }, (_, number) => {
    const owner = table.ownerOf(number as Shard);
    return `${owner?.nodeId}.${owner?.incarnation} ${owner?.epoch} ${owner?.state}`;
  });
}

/**
 * Longer than lease and margin, by the renewals of a node's record: who would act has acted.
 * It is renewed every fifth of its lease; a watch may tell one renewal twice.
 */
export async function forSomeLeases(placement: KeyValue, key: string): Promise<void> {
  const revisions = new Set<number>();
  const stop = await placement.watch(key, (_, entry) => {
    if (entry !== undefined) revisions.add(entry.revision);
  });
  await until(`${key} is renewed for some leases`, () => revisions.size > 8);
  stop();
}

export function epochsOf(table: PlacementTable): number[] {
  return Array.from({ length: shardCount }, (_, number) => table.epochOf(number as Shard));
}

/** The first so many users whose shards are among these. */
export function usersAmong(shards: ReadonlySet<Shard>, count: number, prefix: string): string[] {
  if (shards.size === 0) throw new Error("no user is in no shard");
  const users: string[] = [];
  for (let index = 0; users.length < count; index++) {
    const uid = `${prefix}-${index}`;
    if (shards.has(shardOf(encodeToken(app), encodeToken(uid)))) users.push(uid);
  }
  return users;
}

/** So many users, each in a shard of its own and evenly over what is given. */
export function usersIn(shards: ReadonlySet<Shard>, count: number, prefix: string): string[] {
  const wanted = [...shards];
  if (wanted.length < count)
    throw new Error(`${count} users do not fit into ${wanted.length} shards`);
  const step = wanted.length / count;
  const free = new Set(Array.from({ length: count }, (_, at) => wanted[Math.floor(at * step)]));
  const users: string[] = [];
  for (let index = 0; free.size > 0; index++) {
    const uid = `${prefix}-${index}`;
    if (free.delete(shardOf(encodeToken(app), encodeToken(uid)))) users.push(uid);
  }
  return users;
}
