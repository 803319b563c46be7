/**
 * Makes sure that there is a MariaDB server for the tests and topologies that use one,
 * and prints its path.
 *
 * In order: one on the PATH; a private one under `.belfry/mariadb/`; Debian's package
 * with its libraries, unpacked there. apt checks the signatures.
 *
 *   node scripts/ensure-mariadb.mjs          find it, or unpack it
 *   node scripts/ensure-mariadb.mjs --find   only find it
 */
import { spawnSync } from "node:child_process";
import { debianSources } from "./apt-private.mjs";
import { privateStarter, unpackPrivately } from "./private-package.mjs";
import { findExecutables, isExecutable, runWhenStarted, SetupError } from "./process.mjs";

/** The oldest long-term release that is still maintained. */
const leastVersion = /** @type {const} */ ([10, 6]);

const privatePackage = {
  title: "MariaDB",
  folder: "mariadb",
  packageName: "mariadb-server-core",
  starter: "mariadbd",
  // Its texts and first tables are looked for where the package would have been installed.
  script: 'exec "$here/usr/sbin/mariadbd" "$@" --lc-messages-dir="$here/usr/share/mysql"\n',
};

const whatToInstall =
  `The store redis-mysql needs MariaDB ${leastVersion.join(".")} or newer for its tests: none ` +
  "was found. Install it, such as with `apt-get install mariadb-server-core` or " +
  "`brew install mariadb`.";

/** @param {string} said what `mariadbd --version` printed */
export function isNewEnoughMariadb(said) {
  const found = /\bVer (\d+)\.(\d+)\.\d+-MariaDB\b/.exec(said);
  if (found === null) return false;
  const [major, minor] = [Number(found[1]), Number(found[2])];
  return major > leastVersion[0] || (major === leastVersion[0] && minor >= leastVersion[1]);
}

/** @param {string} file */
function runs(file) {
  const options = ["--no-defaults", "--version"];
  const done = spawnSync(file, options, { encoding: "utf8", timeout: 10_000 });
  return done.status === 0 && isNewEnoughMariadb(done.stdout);
}

/** @returns {Promise<string | undefined>} */
export async function findMariadb() {
  const sbin = ["/usr/local/sbin", "/usr/sbin", "/usr/libexec"];
  const candidates = await findExecutables(["mariadbd"], sbin);
  for (const file of [...candidates, privateStarter(privatePackage)]) {
    if ((await isExecutable(file)) && runs(file)) return file;
  }
  return undefined;
}

/** @returns {Promise<string>} the path of a server that is new enough */
export async function ensureMariadb() {
  const found = await findMariadb();
  if (found !== undefined) return found;
  const sources = await debianSources();
  if (sources.length === 0) throw new SetupError(whatToInstall);
  const starter = await unpackPrivately(privatePackage, sources);
  if (runs(starter)) return starter;
  throw new SetupError(`The MariaDB of this system's packages does not do. ${whatToInstall}`);
}

await runWhenStarted(import.meta, async () => {
  const onlyFind = process.argv.includes("--find");
  const file = onlyFind ? await findMariadb() : await ensureMariadb();
  if (file === undefined) throw new SetupError(whatToInstall);
  process.stdout.write(`${file}\n`);
});
