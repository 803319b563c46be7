/** The act that the drain bench measures: one node gives all of its shards away. */
import { tableKey } from "../../actors/membership.js";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import { type Shard, shardCount } from "../../src/protocol/shards.js";
import { operatorSubject } from "../../src/protocol/subjects.js";
import { readLeader, readTable } from "../../test/support/placement-state.js";
import type { Platform } from "../../test/support/platform.js";
import { until } from "../../test/support/until.js";
import { type Member, PlacementTable } from "../../topology/placement-table.js";
import { unitShards } from "../../topology/plan.js";

const deskDeadlineMs = 5_000;
const drainDeadlineMs = 60_000;
const volumeShards = 512;

/** Resolves when none of the node's shards is its own any more, and all are served. */
export async function drainNode(platform: Platform, name: string): Promise<void> {
  const member = await platform.nodeRecord(`dc1-${name}`);
  const volumes = volumesOf(await readTable(platform), member);
  const answer = await askLeader(platform, { kind: "drain", node: member.nodeId });
  if (answer.ok) await untilGiven(platform, member, volumes);
  else if (answer.code === "UNSUPPORTED") await trade(platform, member, volumes);
  else throw new Error(`the leader drains nothing: ${answer.code}`);
}

async function askLeader(
  platform: Platform,
  request: object,
): Promise<{ readonly ok: boolean; readonly code?: string }> {
  const { nodeId, incarnation } = await until("somebody leads", () => readLeader(platform));
  const subject = operatorSubject(nodeId, incarnation);
  const payload = new TextEncoder().encode(JSON.stringify(request));
  const answer = await new NatsBus(platform.operator).request(subject, payload, deskDeadlineMs);
  return JSON.parse(new TextDecoder().decode(answer));
}

/**
 * For a platform whose desk knows no drain: one after the other, each of its volumes for
 * one of another node, so that the leader sees nothing to even out.
 */
async function trade(
  platform: Platform,
  member: Member,
  volumes: readonly number[],
): Promise<void> {
  const bucket = await openKeyValue(platform.link, "placement");
  for (const [at, volume] of volumes.entries()) {
    await until(`volume ${volume} is on the move`, async () => {
      const entry = await bucket.get(tableKey);
      const table = entry && PlacementTable.decode(entry.value);
      if (entry === undefined || !table?.ok) return false;
      const changed = traded(table.value, member, volume, at);
      const bytes = changed.writtenBy(table.value.masterEpoch, `bench-${at}`).encode();
      return (await bucket.update(tableKey, bytes, entry.revision)).ok;
    });
    await untilGiven(platform, member, [volume]);
  }
}

function traded(table: PlacementTable, member: Member, volume: number, at: number): PlacementTable {
  const others = allVolumes().filter((other) => !table.isOwnedBy(firstShard(other), member));
  const wanted = others[at * 2] ?? 0;
  const to = table.ownerOf(firstShard(wanted));
  if (to === undefined) throw new Error(`volume ${wanted} has no owner`);
  return table
    .withMove(unitShards(volume, volumeShards), to)
    .withMove(unitShards(wanted, volumeShards), member);
}

async function untilGiven(
  platform: Platform,
  member: Member,
  volumes: readonly number[],
): Promise<void> {
  const isGiven = async () => {
    const table = await readTable(platform);
    return (
      volumes.every((volume) => !table.isOwnedBy(firstShard(volume), member)) &&
      allVolumes().every((volume) => table.stateOf(firstShard(volume)) === "serving")
    );
  };
  await until(`${member.nodeId} has given its volumes`, isGiven, drainDeadlineMs);
}

function volumesOf(table: PlacementTable, member: Member): number[] {
  return allVolumes().filter((volume) => table.isOwnedBy(firstShard(volume), member));
}

function allVolumes(): number[] {
  return Array.from({ length: shardCount / volumeShards }, (_, volume) => volume);
}

function firstShard(volume: number): Shard {
  return (volume * volumeShards) as Shard;
}
