/**
 * What is alive in this process: for tests that do a thing very often and must be left
 * with nothing of it.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Objects, and buffers beside them, behind a collection. */
export function liveHeapBytes(): number {
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Looks after the first tenth, when all is compiled and filled, and again at the end. */
export class LeakWatch {
  private startBytes: number | undefined;
  private count = 0;

  constructor(private readonly total: number) {}

  note(times = 1): void {
    this.count += times;
    if (this.startBytes === undefined && this.count >= this.total / 10) {
      this.startBytes = liveHeapBytes();
    }
  }

  /** Since the first look. */
  grownBytes(): number {
    return liveHeapBytes() - (this.startBytes ?? Number.NaN);
  }
}
