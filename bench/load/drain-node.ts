/** The act that the drain bench measures: one node gives all of its shards away. */
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { type Shard, shardCount } from "../../src/protocol/shards.js";
import { operatorSubject } from "../../src/protocol/subjects.js";
import { readLeader, readTable } from "../../test/support/placement-state.js";
import type { Platform } from "../../test/support/platform.js";
import { until } from "../../test/support/until.js";
import type { Member, PlacementTable } from "../../topology/placement-table.js";

const deskDeadlineMs = 5_000;
const drainDeadlineMs = 60_000;
const volumeShards = 512;

/** Resolves when none of the node's shards is its own any more, and all are served. */
export async function drainNode(platform: Platform, name: string): Promise<void> {
  const member = await platform.nodeRecord(`dc1-${name}`);
  const volumes = volumesOf(await readTable(platform), member);
  const answer = await askLeader(platform, { kind: "drain", node: member.nodeId });
  if (!answer.ok) throw new Error(`the leader drains nothing: ${answer.code}`);
  await untilGiven(platform, member, volumes);
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
  return volume as Shard;
}
