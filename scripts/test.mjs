/**
 * The test suite: prepares what it needs, then hands over to Node's test runner
 * and to its exit code.
 *
 *   node scripts/test.mjs            all of it
 *   node scripts/test.mjs WORD...    the files whose path holds one of the words
 */
import { readdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { ensureChromium } from "./ensure-chromium.mjs";
import { ensureMariadb } from "./ensure-mariadb.mjs";
import { ensureNatsServer } from "./ensure-nats.mjs";
import { ensureRedisServer } from "./ensure-redis.mjs";
import { prepare } from "./prepare.mjs";
import { root, run, runWhenStarted, SetupError } from "./process.mjs";

/**
 * For one file (Node 20 has no flag for each test): a hung one fails, and the rest goes on.
 * Hostile peers took 139 s on a machine at rest and 291 s at a load of 20.
 * The loss tests' faults take LOSS_MINUTES of theirs, hostile peers a while when they are many.
 */
const longMinutes =
  Number(process.env["LOSS_MINUTES"] || 2) + Number(process.env["HOSTILE_PEERS"] || 0) / 250;
const fileTimeoutMs = 420_000 + longMinutes * 60_000;

/**
 * From the sources, not from dist/: what was deleted must not run again.
 * @param {string[]} words
 * @returns {Promise<string[]>} the compiled test files
 */
async function testFiles(words) {
  const entries = await readdir(join(root, "test"), { recursive: true });
  return entries
    .filter((entry) => entry.endsWith(".test.ts"))
    .map((entry) => join("test", entry))
    .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
    .map((file) => join("dist", file.replace(/\.ts$/, ".js")))
    .sort();
}

await runWhenStarted(import.meta, async () => {
  const words = process.argv.slice(2).filter((word) => word !== "");
  const files = await testFiles(words);
  if (files.length === 0) throw new SetupError(`No test file's path holds ${words.join(" or ")}.`);
  await prepare(["install", "build"]);
  await ensureNatsServer();
  // Without one of them only the tests that use it fail, each saying what to install.
  for (const ensure of [ensureChromium, ensureRedisServer, ensureMariadb]) {
    await ifToBeHad(ensure);
  }
  return await run(process.execPath, [
    "--enable-source-maps",
    "--test",
    // nats.js may leave a timer behind when a watch opens on a connection that drains.
    "--test-force-exit",
    `--test-timeout=${fileTimeoutMs}`,
    `--test-concurrency=${Math.max(2, availableParallelism())}`,
    ...files,
  ]);
});

/** @param {() => Promise<unknown>} ensure */
async function ifToBeHad(ensure) {
  try {
    await ensure();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`belfry: ${error.message}\n`);
  }
}
