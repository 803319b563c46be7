/**
 * The lanes as a node sees them: it follows the bucket `lanes` by a watch, has the common
 * ones written where they are missing, and has the queue of each made before it shows it.
 */
import type { KeyValue, KeyValueEntry } from "../ports/key-value.js";
import type { LaneDirectory, Lanes } from "../ports/lanes.js";
import type { Log } from "../ports/log.js";
import {
  decodeLaneRecord,
  defaultLaneSettings,
  encodeLaneRecord,
  type LaneRecord,
  laneRecordVersion,
  ownLaneSettings,
} from "../protocol/lane-record.js";
import { commonLanes } from "../protocol/lanes.js";

const retryMs = 2_000;

export class KvLaneDirectory implements LaneDirectory {
  /** By name: as it was read last, and whether its queue stands. */
  private readonly lanes = new Map<string, { record: LaneRecord; isReady: boolean }>();
  /** Dropped while their queues were made: those may have come after, and nobody works on them. */
  private readonly late = new Set<string>();
  private unwatch: () => void = () => undefined;
  private retry: NodeJS.Timeout | undefined;
  private isClosed = false;

  private constructor(
    private readonly bucket: KeyValue,
    private readonly queues: Lanes,
    private readonly log: Log,
  ) {}

  /** Resolves when the watch has begun. Throws Fault. */
  static async follow(bucket: KeyValue, queues: Lanes, log: Log): Promise<KvLaneDirectory> {
    for (const lane of commonLanes) {
      const settings = defaultLaneSettings[lane] ?? ownLaneSettings;
      // Where it stands already it is kept as operators have set it.
      await bucket.create(lane, encodeLaneRecord({ v: laneRecordVersion, lane, ...settings }));
    }
    const directory = new KvLaneDirectory(bucket, queues, log);
    directory.unwatch = await bucket.watch("", (key, entry) => directory.onChange(key, entry));
    return directory;
  }

  *all(): Iterable<LaneRecord> {
    for (const { record, isReady } of this.lanes.values()) if (isReady) yield record;
  }

  close(): void {
    this.isClosed = true;
    this.unwatch();
    clearTimeout(this.retry);
  }

  private onChange(key: string, entry: KeyValueEntry | undefined): void {
    if (entry === undefined) {
      if (this.lanes.delete(key)) this.log.info("lane removed", { lane: key });
      return;
    }
    const record = decodeLaneRecord(entry.value);
    if (record === undefined || record.lane !== key) {
      this.log.error("a lane record is not readable", { lane: key });
      return;
    }
    const known = this.lanes.get(key);
    // Weight and workers are this process's own matter.
    const isReady = known?.isReady === true && known.record.app === record.app;
    this.lanes.set(key, { record, isReady });
    if (!isReady) void this.makeQueues();
  }

  private async makeQueues(): Promise<void> {
    for (const [lane, known] of this.lanes) {
      if (known.isReady || this.isClosed) continue;
      await this.trying(lane, async () => {
        await this.queues.ensure(known.record);
        known.isReady = true;
      });
      if (!this.lanes.has(lane)) this.late.add(lane);
    }
    for (const lane of this.late) {
      if (this.isClosed) return;
      await this.trying(lane, () => this.dropLate(lane));
    }
  }

  private async dropLate(lane: string): Promise<void> {
    if ((await this.recordOf(lane)) === undefined) {
      await this.queues.drop(lane);
      // Made anew in between, it was dropped with the former.
      const anew = await this.recordOf(lane);
      if (anew !== undefined) await this.queues.ensure(anew);
      this.log.info("a lane's queue came late", { lane });
    }
    this.late.delete(lane);
  }

  private async recordOf(lane: string): Promise<LaneRecord | undefined> {
    const entry = await this.bucket.get(lane);
    return entry && decodeLaneRecord(entry.value);
  }

  private async trying(lane: string, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.log.warn("a lane's queue is not there", { lane, error: (error as Error).message });
      clearTimeout(this.retry);
      this.retry = setTimeout(() => void this.makeQueues(), retryMs).unref();
    }
  }
}
