/**
 * Imported into a node of the platform before its program (NODE_OPTIONS=--import):
 * lets the bench collect garbage there, read its heap and its loop's lag, and profile
 * it. Changes nothing else about the node.
 */
import { writeFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import { collect } from "./collect.js";
import { answerRequests } from "./worker-process.js";

let session: Session | undefined;

async function startProfile(): Promise<void> {
  session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.setSamplingInterval", { interval: 500 });
  await session.post("Profiler.start");
}

async function stopProfile(file: string): Promise<void> {
  const stopped = await session?.post("Profiler.stop");
  writeFileSync(file, JSON.stringify(stopped?.profile));
  session?.disconnect();
}

export interface LoopLag {
  readonly p99Ms: number;
  readonly maxMs: number;
}

const lagEveryMs = 5;
let delays: IntervalHistogram | undefined;

function startLag(): void {
  delays?.disable();
  delays = monitorEventLoopDelay({ resolution: lagEveryMs });
  delays.enable();
}

/** How late the loop came to a timer, since the start. */
function lag(): LoopLag {
  // The histogram is of the time from one tick to the next, the timer's own among it.
  const late = (nanoseconds = 0) => Math.max(0, nanoseconds / 1e6 - lagEveryMs);
  return { p99Ms: late(delays?.percentile(99)), maxMs: late(delays?.max) };
}

answerRequests({ collect, startLag, lag, startProfile, stopProfile });
