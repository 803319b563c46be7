/** Collects this process's garbage as V8 does when the system runs out of memory. */
import { Session } from "node:inspector/promises";

/**
 * All that can be freed is, and the young generation shrinks: a plain `gc()` keeps the
 * pages that a burst of connects once needed. Returns what is left.
 */
export async function collect(): Promise<NodeJS.MemoryUsage> {
  const session = new Session();
  session.connect();
  await session.post("HeapProfiler.collectGarbage");
  await session.post("HeapProfiler.collectGarbage");
  session.disconnect();
  return process.memoryUsage();
}
