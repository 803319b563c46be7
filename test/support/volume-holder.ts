/**
 * A process that holds the write locks of all volumes of a data folder, and writes nothing:
 *
 *   node volume-holder.js <data folder> <path>     until there is something at the path
 *
 * It must leave by itself: a lock of a process that was killed is not surely free again.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ABORT, open } from "lmdb";

const [, , dataFolder = "", end = ""] = process.argv;
const lookEveryMs = 20;
/** Whatever becomes of who started it. */
const longestMs = 120_000;

/** As the node has them open (lmdb-environment.ts). */
const options = { maxDbs: 2, overlappingSync: false, eventTurnBatching: false } as const;

const volumes = readdirSync(dataFolder)
  .filter((name) => name.startsWith("volume-"))
  .map((name) => open({ path: join(dataFolder, name), ...options }));

/** One inside the other: each is an environment of its own. */
function holdFrom(at: number): void {
  const volume = volumes[at];
  if (volume !== undefined) {
    volume.transactionSync(() => {
      holdFrom(at + 1);
      return ABORT;
    });
    return;
  }
  process.send?.("held");
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  const endMs = performance.now() + longestMs;
  while (!existsSync(end) && performance.now() < endMs) {
    Atomics.wait(sleeper, 0, 0, lookEveryMs);
  }
}

holdFrom(0);
await Promise.all(volumes.map((volume) => volume.close()));
process.disconnect?.();
