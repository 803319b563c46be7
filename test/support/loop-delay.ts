/**
 * How late the event loop of a node is. Imported into the node before its program
 * (NODE_OPTIONS), it answers by the channel to its parent, which asks with `loopDelayOf`.
 */
import type { ChildProcess } from "node:child_process";
import { monitorEventLoopDelay } from "node:perf_hooks";

export interface LoopDelay {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const ask = "tell the loop's delay";

/** What a node is started with to be asked. */
export const loopDelayEnvironment = {
  NODE_OPTIONS: `--import=${import.meta.url}`,
  BELFRY_TEST_LOOP_DELAY: "1",
} as const;

/** Since it was asked last. */
export function loopDelayOf(node: ChildProcess): Promise<LoopDelay> {
  return new Promise((resolve) => {
    const onMessage = (message: unknown) => {
      const { loopDelay } = message as { loopDelay?: LoopDelay };
      if (loopDelay === undefined) return;
      node.off("message", onMessage);
      resolve(loopDelay);
    };
    node.on("message", onMessage);
    node.send(ask);
  });
}

if (process.env["BELFRY_TEST_LOOP_DELAY"] !== undefined && process.send !== undefined) {
  const resolutionMs = 10;
  const delays = monitorEventLoopDelay({ resolution: resolutionMs });
  delays.enable();
  process.on("message", (message) => {
    if (message !== ask) return;
    // Its own timer is in what it counts.
    const ms = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - resolutionMs);
    const loopDelay: LoopDelay = {
      p50Ms: ms(delays.percentile(50)),
      p99Ms: ms(delays.percentile(99)),
      maxMs: ms(delays.max),
    };
    delays.reset();
    process.send?.({ loopDelay });
  });
}
