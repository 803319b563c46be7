/**
 * Imported into a node of the platform before its program (NODE_OPTIONS=--import):
 * lets the bench collect garbage there, read its heap, profile it, and see how late its
 * event loop is. Changes nothing else about the node.
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

const lagResolutionMs = 2;
let lag: IntervalHistogram | undefined;

function startLoopLag(): void {
  lag ??= monitorEventLoopDelay({ resolution: lagResolutionMs });
  lag.enable();
  lag.reset();
}

/** Milliseconds at the 99th percentile since the start, beside the timer's own interval. */
function loopLagP99(): number {
  return Math.max(0, (lag?.percentile(99) ?? 0) / 1e6 - lagResolutionMs);
}

answerRequests({ collect, startProfile, stopProfile, startLoopLag, loopLagP99 });
