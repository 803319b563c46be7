/**
 * Latencies in one HDR histogram (microseconds, three digits, up to a minute).
 *
 * Of an open-loop load: the sender stamps each message with the time at which it was
 * due, not at which it left, so that a stall of the sender counts as latency of every
 * message that it delayed (no coordinated omission).
 */
import { build, type Histogram } from "hdr-histogram-js";

const latencyMaxUs = 60_000_000;

export interface LatencySummary {
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

export class Latencies {
  private readonly histogram: Histogram = build({
    bitBucketSize: 32,
    lowestDiscernibleValue: 1,
    highestTrackableValue: latencyMaxUs,
    numberOfSignificantValueDigits: 3,
    useWebAssembly: false,
  });

  record(ms: number): void {
    this.histogram.recordValue(Math.min(Math.max(1, Math.round(ms * 1_000)), latencyMaxUs));
  }

  reset(): void {
    this.histogram.reset();
  }

  summary(): LatencySummary {
    const { histogram } = this;
    const at = (percentile: number) => histogram.getValueAtPercentile(percentile) / 1_000;
    return {
      count: histogram.totalCount,
      p50Ms: at(50),
      p90Ms: at(90),
      p99Ms: at(99),
      p999Ms: at(99.9),
      maxMs: histogram.totalCount === 0 ? 0 : histogram.maxValue / 1_000,
    };
  }
}

/** One clock for all processes of the machine: they share CLOCK_MONOTONIC. */
export function sharedMs(): number {
  return offsetMs + performance.now();
}

const offsetMs = Number(process.hrtime.bigint()) / 1e6 - performance.now();

export function latencyLine({ count, p50Ms, p90Ms, p99Ms, p999Ms, maxMs }: LatencySummary): string {
  const shown = [p50Ms, p90Ms, p99Ms, p999Ms, maxMs].map((ms) => ms.toFixed(1));
  const [p50, p90, p99, p999, max] = shown;
  return `${count} messages: p50 ${p50}, p90 ${p90}, p99 ${p99}, p99.9 ${p999}, max ${max} ms`;
}
