/**
 * Removes what the sources make again, and what `make up` stored. What took a download
 * (node_modules/, .belfry/bin/, .belfry/chromium/) and what `make run` stored stay.
 */
import { existsSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { root, runWhenStarted, SetupError } from "./process.mjs";

const home = process.env["BELFRY_HOME"] ?? join(root, ".belfry");

await runWhenStarted(import.meta, async () => {
  // Data must not go from under servers that use it.
  if (isUp()) throw new SetupError("A topology is up from this folder: make down first.");
  await rm(join(root, "dist"), { recursive: true, force: true });
  await rm(join(home, "up"), { recursive: true, force: true });
});

function isUp() {
  const ledger = join(home, "run.json");
  return existsSync(ledger) && readFileSync(ledger, "utf8").includes('"topology"');
}
