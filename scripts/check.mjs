/**
 * What can be known without running the system: format and lint, strict types,
 * the law of the rooms, and the licences of the dependencies. All are tried, so
 * that one call shows everything.
 */
import { join } from "node:path";
import { checkLicences } from "./licences.mjs";
import { prepare } from "./prepare.mjs";
import { root, run, runWhenStarted } from "./process.mjs";

/** @type {[string, () => Promise<boolean>][]} */
const checks = [
  ["types", () => passes(() => prepare(["build"]))],
  ["format and lint", biome],
  ["rooms", async () => (await run(process.execPath, ["--test", "dist/test/rooms.test.js"])) === 0],
  ["licences", () => passes(checkLicences)],
];

await runWhenStarted(import.meta, async () => {
  await prepare(["install"]);
  const failed = [];
  for (const [name, check] of checks) if (!(await check())) failed.push(name);
  process.stdout.write(
    failed.length === 0
      ? `check: ${checks.map(([name]) => name).join(", ")}: all in order\n`
      : `check: not in order: ${failed.join(", ")}\n`,
  );
  return failed.length === 0 ? 0 : 1;
});

async function biome() {
  const program = join(root, "node_modules", "@biomejs", "biome", "bin", "biome");
  const colors = process.stdout.isTTY ? "force" : "off";
  return (await run(process.execPath, [program, "ci", `--colors=${colors}`, "."])) === 0;
}

/** @param {() => Promise<void>} step */
async function passes(step) {
  try {
    await step();
    return true;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    return false;
  }
}
