/**
 * The embedded inbox store, for one machine: eight volumes of 512 shards
 * (`groupOfShard`), each an LMDB environment in a folder of its own that exactly one process
 * has open. The volume is what placement moves, and what a killed node leaves behind
 * for another one to open.
 *
 * Each open volume keeps one of libuv's threads while it writes, so a node with many
 * of them needs UV_THREADPOOL_SIZE above their number.
 */
import { mkdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import { assert } from "../base/assert.js";
import type { Clock } from "../base/clock.js";
import { Fault } from "../base/result.js";
import type { InboxGroup, InboxStore } from "../ports/inbox-store.js";
import { groupOfShard, type Shard, shardsOfGroup } from "../protocol/shards.js";
import type { CopyPace } from "./lmdb-copy.js";
import { LmdbEnvironment } from "./lmdb-environment.js";
import { type Holder, leaveFolder, startTimeOf, takeFolder } from "./lmdb-holder.js";
import { LmdbVolume } from "./lmdb-volume.js";

export const volumeCount = 8;

/** LMDB must not be opened twice by one process, whoever asks. */
const openFolders = new Set<string>();

export interface LmdbInboxOptions {
  readonly dataFolder: string;
  readonly nodeId: string;
  /** Read at each opening: a node may go on as another one. */
  readonly incarnation: string;
  readonly clock: Clock;
  /** A live holder of a volume has so long to leave it before it is killed. */
  readonly leaveWaitMs?: number;
  /** Of copies; as fast as the disk is, unless given. */
  readonly copyPace?: CopyPace;
}

export class LmdbInbox implements InboxStore {
  readonly groupCount = volumeCount;
  /** Live processes that were killed to take their volumes. */
  killedHolders = 0;

  constructor(private readonly options: LmdbInboxOptions) {}

  groupOf(shard: Shard): number {
    return groupOfShard(shard, volumeCount);
  }

  async openGroup(group: number): Promise<InboxGroup> {
    assert(group >= 0 && group < volumeCount, `there is no volume ${group}`);
    const folder = await this.makeFolder(group);
    if (openFolders.has(folder)) {
      throw new Fault("STORE_UNAVAILABLE", "not-done", `${folder} is open in this process already`);
    }
    openFolders.add(folder);
    try {
      return await this.openFolder(folder, group);
    } catch (error) {
      openFolders.delete(folder);
      throw unavailable(folder, error);
    }
  }

  private async makeFolder(group: number): Promise<string> {
    const folder = join(this.options.dataFolder, volumeName(group));
    try {
      await mkdir(folder, { recursive: true });
      return await realpath(folder);
    } catch (error) {
      throw unavailable(folder, error);
    }
  }

  private async openFolder(folder: string, group: number): Promise<InboxGroup> {
    const holder = await this.describe();
    if (await takeFolder(folder, holder, this.options.leaveWaitMs)) this.killedHolders += 1;
    const environment = await LmdbEnvironment.open(folder).catch(async (error: unknown) => {
      // Else the next taker would wait for this process, and then kill it.
      await leaveFolder(folder, holder);
      throw error;
    });
    const shards = shardsOfGroup(group, volumeCount);
    try {
      const release = async () => {
        // Its record first: the next opening of this process writes one of its own.
        await leaveFolder(folder, holder).finally(() => openFolders.delete(folder));
      };
      return new LmdbVolume(environment, shards, release, this.options.copyPace);
    } catch (error) {
      await environment.close();
      await leaveFolder(folder, holder);
      throw error;
    }
  }

  private async describe(): Promise<Holder> {
    const { nodeId, incarnation, clock } = this.options;
    const startTime = (await startTimeOf(process.pid)) ?? "unknown";
    return { pid: process.pid, startTime, nodeId, incarnation, atMs: clock.wallMs() };
  }
}

/** Of the folder of a volume. */
export function volumeName(group: number): string {
  return `volume-${group}`;
}

function unavailable(folder: string, cause: unknown): Fault {
  if (cause instanceof Fault) return cause;
  const message = `the store in ${folder} cannot be opened: ${(cause as Error).message}`;
  return new Fault("STORE_UNAVAILABLE", "not-done", message, { cause });
}
