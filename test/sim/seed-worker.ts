/** One thread of the pool: runs the seeds that it is sent, one at a time. */
import { parentPort, workerData } from "node:worker_threads";
import { runTwice, type SeedSettings } from "./seed-runs.js";

const settings = workerData as SeedSettings;

parentPort?.on("message", (seed: number) => {
  void runTwice(settings, seed).then((outcome) => parentPort?.postMessage({ seed, outcome }));
});
