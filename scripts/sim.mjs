/**
 * The simulator (test/sim): the real actors on virtual time, broken on purpose.
 *
 *   SEEDS=n SEED=s node scripts/sim.mjs     n seeds from s on
 *   SEED=s node scripts/sim.mjs             one seed, as a failure says to replay it
 */
import { join } from "node:path";
import { prepare } from "./prepare.mjs";
import { root, run, runWhenStarted } from "./process.mjs";

await runWhenStarted(import.meta, async () => {
  await prepare(["install", "build"]);
  return await run(process.execPath, [
    "--enable-source-maps",
    join(root, "dist", "test", "sim", "run.js"),
  ]);
});
