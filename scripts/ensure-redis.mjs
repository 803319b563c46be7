/**
 * Makes sure that there is a redis-server for the tests and topologies that use one,
 * and prints its path.
 *
 * In order: one on the PATH; a private one under `.belfry/redis/`; Debian's package
 * with its libraries, unpacked there. apt checks the signatures.
 *
 *   node scripts/ensure-redis.mjs          find it, or unpack it
 *   node scripts/ensure-redis.mjs --find   only find it
 */
import { spawnSync } from "node:child_process";
import { debianSources } from "./apt-private.mjs";
import { privateStarter, unpackPrivately } from "./private-package.mjs";
import { findExecutables, isExecutable, runWhenStarted, SetupError } from "./process.mjs";

/** The oldest that the store's scripts are tested with. */
const leastMajor = 7;

const privatePackage = {
  title: "redis-server",
  folder: "redis",
  packageName: "redis-server",
  starter: "redis-server",
  script: 'exec "$here/usr/bin/redis-server" "$@"\n',
};

const whatToInstall =
  `The store redis-mysql needs Redis ${leastMajor} or newer: none was found. Install it, such ` +
  "as with `apt-get install redis-server` or `brew install redis`.";

/** @param {string} said what `redis-server --version` printed */
export function isNewEnoughRedis(said) {
  const major = /\bv=(\d+)\./.exec(said)?.[1];
  return major !== undefined && Number(major) >= leastMajor;
}

/** @param {string} file */
function runs(file) {
  const done = spawnSync(file, ["--version"], { encoding: "utf8", timeout: 10_000 });
  return done.status === 0 && isNewEnoughRedis(done.stdout);
}

/** @returns {Promise<string | undefined>} */
export async function findRedisServer() {
  const candidates = await findExecutables(["redis-server"], ["/usr/local/bin", "/usr/bin"]);
  for (const file of [...candidates, privateStarter(privatePackage)]) {
    if ((await isExecutable(file)) && runs(file)) return file;
  }
  return undefined;
}

/** @returns {Promise<string>} the path of a redis-server that is new enough */
export async function ensureRedisServer() {
  const found = await findRedisServer();
  if (found !== undefined) return found;
  const sources = await debianSources();
  if (sources.length === 0) throw new SetupError(whatToInstall);
  const starter = await unpackPrivately(privatePackage, sources);
  if (runs(starter)) return starter;
  throw new SetupError(`The redis-server of this system's packages does not do. ${whatToInstall}`);
}

await runWhenStarted(import.meta, async () => {
  const onlyFind = process.argv.includes("--find");
  const file = onlyFind ? await findRedisServer() : await ensureRedisServer();
  if (file === undefined) throw new SetupError(whatToInstall);
  process.stdout.write(`${file}\n`);
});
