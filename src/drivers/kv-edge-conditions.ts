/**
 * What decides beside the settings whom an edge lets in: the operators' switch, which it
 * follows in the bucket `placement`, and the lag of its own loop.
 */
import { Fault } from "../base/result.js";
import type { EdgeConditions } from "../ports/edge-conditions.js";
import type { KeyValue, KeyValueEntry } from "../ports/key-value.js";
import type { Log } from "../ports/log.js";
import { decodeEdgeSwitch, edgeSwitchKey, encodeEdgeSwitch } from "../protocol/edge-switch.js";
import { LoopLag } from "./loop-lag.js";

const letInAll = 100;
/** Operators who write at once; beyond, something else is wrong. */
const triesMax = 5;

export class KvEdgeConditions implements EdgeConditions {
  private readonly lag = new LoopLag();
  private percent = letInAll;
  private unwatch: () => void = () => undefined;

  private constructor(
    private readonly bucket: KeyValue,
    private readonly log: Log,
  ) {}

  /** Resolves when the watch has begun. Throws Fault. */
  static async follow(bucket: KeyValue, log: Log): Promise<KvEdgeConditions> {
    const conditions = new KvEdgeConditions(bucket, log);
    conditions.unwatch = await bucket.watch(edgeSwitchKey, (key, entry) => {
      if (key === edgeSwitchKey) conditions.onChange(entry);
    });
    return conditions;
  }

  get letInPercent(): number {
    return this.percent;
  }

  get lagMs(): number {
    return this.lag.ms;
  }

  async setLetIn(letInPercent: number): Promise<void> {
    const value = encodeEdgeSwitch({ letInPercent });
    for (let tries = 0; tries < triesMax; tries++) {
      const present = await this.bucket.get(edgeSwitchKey);
      const written =
        present === undefined
          ? await this.bucket.create(edgeSwitchKey, value)
          : await this.bucket.update(edgeSwitchKey, value, present.revision);
      if (written.ok) return;
    }
    throw new Fault("CONFLICT", "not-done", "others set it at the same time; try again");
  }

  close(): void {
    this.unwatch();
    this.lag.stop();
  }

  /** What does not read changes nothing; a switch that is gone lets all in. */
  private onChange(entry: KeyValueEntry | undefined): void {
    const read = entry === undefined ? { letInPercent: letInAll } : decodeEdgeSwitch(entry.value);
    if (read === undefined) {
      this.log.error("the edges' switch is not readable", { key: edgeSwitchKey });
      return;
    }
    if (read.letInPercent === this.percent) return;
    this.percent = read.letInPercent;
    this.log.warn("edges let in", { percent: this.percent });
  }
}
