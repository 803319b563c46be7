/**
 * Runs one bench, or says which there are.
 *
 *   node scripts/bench.mjs NAME
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { ensureMariadb } from "./ensure-mariadb.mjs";
import { ensureRedisServer } from "./ensure-redis.mjs";
import { prepare } from "./prepare.mjs";
import { root, run, runWhenStarted, SetupError } from "./process.mjs";

await runWhenStarted(import.meta, async () => {
  const name = process.argv[2] ?? "";
  const files = await readdir(join(root, "bench"));
  // Folders beneath hold what benches share.
  const names = files.filter((file) => file.endsWith(".ts")).map((file) => file.slice(0, -3));
  if (!names.includes(name)) {
    throw new SetupError(
      `BENCH is one of ${names.sort().join(", ")}, as in \`make bench BENCH=idle\`.`,
    );
  }
  await prepare(["install", "build", "nats"]);
  if (name === "unicast") await Promise.all([ensureRedisServer(), ensureMariadb()]);
  const bench = join(root, "dist", "bench", `${name}.js`);
  // Some benches measure memory after a collection that they ask for.
  return await run(process.execPath, ["--expose-gc", "--enable-source-maps", bench]);
});
