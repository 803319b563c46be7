/**
 * Volumes at rest: what a copy holds, a copy of one that nobody serves, and what makes a
 * copy a restored store.
 *
 * A restored copy knows nothing of what came after it: epochs, MsgIDs and positions were
 * given then that it would give again. `markRestored` lifts all three, in one transaction,
 * before the copy stands where a node finds it.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "../base/result.js";
import type { RestoreMark } from "../ports/inbox-store.js";
import { type Shard, shardsOfGroup } from "../protocol/shards.js";
import { WriteBatch } from "./lmdb-bytes.js";
import { ShardLog } from "./lmdb-change-log.js";
import { LmdbEnvironment } from "./lmdb-environment.js";
import {
  type Holder,
  leaveFolder,
  readHolder,
  startTimeOf,
  takeFreeFolder,
} from "./lmdb-holder.js";
import { volumeCount } from "./lmdb-inbox.js";
import * as layout from "./lmdb-layout.js";
import * as records from "./lmdb-records.js";

/** Stands as the holder of a restored shard's fence: nobody is that. */
const restoreHolder = "a restore";

export interface VolumeContent {
  readonly sessions: number;
  readonly entries: number;
  /** Over all shards: how far their change logs have come together. */
  readonly changes: number;
  /** Of the last restore that the copy has behind it, 0 for none. */
  readonly generationFloor: number;
}

/**
 * Keeps nodes out of a volume that is about to go: one that starts meanwhile finds this
 * process in it. Throws Fault("STORE_UNAVAILABLE", "not-done") where another one has it.
 */
export async function holdVolume(folder: string): Promise<void> {
  await takeFreeFolder(folder, await ownHolder());
}

/** Throws Fault("STORE_UNAVAILABLE", "not-done") where a process that lives has the volume. */
export async function refuseHeldVolume(folder: string): Promise<void> {
  const holder = await readHolder(folder);
  if (holder === undefined || (await startTimeOf(holder.pid)) !== holder.startTime) return;
  const message = `${folder} is held by process ${holder.pid} (node ${holder.nodeId}); stop it first`;
  throw new Fault("STORE_UNAVAILABLE", "not-done", message);
}

/** A copy of a volume that no node serves, as `InboxGroup.backUp` makes one that is. */
export async function copyVolume(folder: string, target: string): Promise<void> {
  const holder = await ownHolder();
  await takeFreeFolder(folder, holder);
  try {
    const environment = await LmdbEnvironment.open(folder);
    try {
      const copy = environment.beginCopy(await environment.openSource(folder));
      await environment.endCopy(copy, target);
    } finally {
      await environment.close();
    }
  } finally {
    await leaveFolder(folder, holder);
  }
}

/** Reads all of a copy, so that one that cannot be read shows now. */
export async function inspectCopy(folder: string, volume: number): Promise<VolumeContent> {
  const environment = await LmdbEnvironment.openCopy(folder);
  try {
    return readContent(environment, volume);
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    const message = `${folder} cannot be read: ${(cause as Error).message}`;
    throw new Fault("STORE_UNAVAILABLE", "not-done", message, { cause });
  } finally {
    await environment.close();
    // Of its reader table, which no backup needs.
    await rm(join(folder, "lock.mdb"), { force: true });
  }
}

function readContent(environment: LmdbEnvironment, volume: number): VolumeContent {
  let [sessions, entries, changes] = [0, 0, 0];
  let previous = "";
  for (const shard of shardsOfGroup(volume, volumeCount)) {
    const fence = environment.get(layout.fenceReadKey(shard));
    if (fence !== undefined) records.readFence(fence);
    changes += ShardLog.load(environment, shard).last;
    for (const { key, value } of environment.range(layout.shardSessionsRange(shard))) {
      const { session, part } = layout.splitSessionKey(key);
      if (session !== previous) sessions++;
      previous = session;
      if (part === layout.sessionPart.record) records.readSessionRecord(value);
      if (part !== layout.sessionPart.entry) continue;
      records.readEntry(layout.numberIn(key), value);
      entries++;
    }
  }
  const generationFloor = records.readGenerationFloor(environment.get(layout.floorReadKey()));
  return { sessions, entries, changes, generationFloor };
}

/** Nobody has the copy open. Each mark is at least what stands there already. */
export async function markRestored(
  folder: string,
  volume: number,
  mark: RestoreMark,
): Promise<void> {
  const environment = await LmdbEnvironment.open(folder);
  try {
    const batch = new WriteBatch();
    const known = records.readGenerationFloor(environment.get(layout.floorReadKey()));
    const floor = Math.max(known, mark.generationFloor);
    records.putGenerationFloor(layout.floorKey(batch), floor);
    for (const shard of shardsOfGroup(volume, volumeCount)) {
      liftFence(environment, batch, shard, mark);
    }
    await environment.write(batch);
  } finally {
    await environment.close();
  }
}

function liftFence(
  environment: LmdbEnvironment,
  batch: WriteBatch,
  shard: Shard,
  mark: RestoreMark,
): void {
  const stored = environment.get(layout.fenceReadKey(shard));
  const before = stored && records.readFence(stored);
  records.putFence(layout.fenceKey(batch, shard), {
    epoch: Math.max((before?.epoch ?? 0) + 1, mark.epoch),
    reservedUntilMs: Math.max(before?.reservedUntilMs ?? 0, mark.reserveUntilMs),
    holder: restoreHolder,
  });
}

async function ownHolder(): Promise<Holder> {
  const startTime = (await startTimeOf(process.pid)) ?? "unknown";
  return { pid: process.pid, startTime, nodeId: "backup", incarnation: "backup", atMs: Date.now() };
}
