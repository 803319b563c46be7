/**
 * Makes sure that there is a Chromium for the tests of pages, and prints its path.
 *
 * In order: one on the PATH (or where macOS keeps applications); a private one
 * under `.belfry/chromium/`; Debian's package with its libraries, unpacked there,
 * which needs no root and installs nothing. apt checks the signatures.
 *
 *   node scripts/ensure-chromium.mjs          find it, or unpack it
 *   node scripts/ensure-chromium.mjs --find   only find it
 */
import { spawnSync } from "node:child_process";
import { debianSources } from "./apt-private.mjs";
import { privateStarter, unpackPrivately } from "./private-package.mjs";
import { findExecutables, isExecutable, runWhenStarted, SetupError } from "./process.mjs";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const applications = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];
/** Finds fonts' settings beside itself where the system has none. */
const privatePackage = {
  title: "Chromium",
  folder: "chromium",
  packageName: "chromium",
  starter: "chromium",
  script: `if [ ! -e /etc/fonts/fonts.conf ] && [ -e "$here/etc/fonts/fonts.conf" ]; then
  export FONTCONFIG_PATH="$here/etc/fonts" FONTCONFIG_SYSROOT="$here"
fi
exec "$here/usr/lib/chromium/chromium" "$@"
`,
};

const whatToInstall =
  "The tests of pages need Chromium: none was found. Install Chromium or Google Chrome, " +
  "such as with `apt-get install chromium` or `brew install --cask chromium`.";

/** @returns {Promise<string | undefined>} */
export async function findChromium() {
  const candidates = [
    ...(await findExecutables(names)),
    ...applications,
    privateStarter(privatePackage),
  ];
  for (const file of candidates) {
    // Started once: Ubuntu's package of that name only says that it wants a snap.
    if ((await isExecutable(file)) && runs(file)) return file;
  }
  return undefined;
}

/** @param {string} file */
function runs(file) {
  const done = spawnSync(file, ["--version"], { encoding: "utf8", timeout: 20_000 });
  return done.status === 0 && /\d+\.\d+/.test(done.stdout);
}

/** @returns {Promise<string>} the path of a Chromium that starts */
export async function ensureChromium() {
  const found = await findChromium();
  if (found !== undefined) return found;
  const sources = await debianSources();
  if (sources.length === 0) throw new SetupError(whatToInstall);
  const starter = await unpackPrivately(privatePackage, sources);
  if (runs(starter)) return starter;
  throw new SetupError(`The Chromium of this system's packages does not start. ${whatToInstall}`);
}

await runWhenStarted(import.meta, async () => {
  const onlyFind = process.argv.includes("--find");
  const file = onlyFind ? await findChromium() : await ensureChromium();
  if (file === undefined) throw new SetupError(whatToInstall);
  process.stdout.write(`${file}\n`);
});
