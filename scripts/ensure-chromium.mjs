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
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { debianSources, downloadWithDependencies } from "./apt-private.mjs";
import {
  findExecutables,
  isExecutable,
  root,
  runQuietly,
  runWhenStarted,
  SetupError,
} from "./process.mjs";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const applications = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];
const privateFolder = join(root, ".belfry", "chromium");
const privateStarter = join(privateFolder, "chromium");

const whatToInstall =
  "The tests of pages need Chromium: none was found. Install Chromium or Google Chrome, " +
  "such as with `apt-get install chromium` or `brew install --cask chromium`.";

/** @returns {Promise<string | undefined>} */
export async function findChromium() {
  const candidates = [...(await findExecutables(names)), ...applications, privateStarter];
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
  process.stderr.write(
    "belfry: unpacking Chromium into .belfry/chromium/ (once, about a minute)\n",
  );
  await unpackFrom(sources);
  if (runs(privateStarter)) return privateStarter;
  throw new SetupError(`The Chromium of this system's packages does not start. ${whatToInstall}`);
}

/** @param {import("./apt-private.mjs").AptSource[]} sources */
async function unpackFrom(sources) {
  const folder = await mkdtemp(join(tmpdir(), "belfry-chromium-"));
  const beside = `${privateFolder}.${process.pid}`;
  try {
    await mkdir(beside, { recursive: true });
    for (const archive of await downloadWithDependencies(sources, "chromium", folder)) {
      runQuietly("Unpacking Chromium", "dpkg-deb", ["-x", archive, beside]);
    }
    await writeFile(join(beside, "chromium"), starter());
    await chmod(join(beside, "chromium"), 0o755);
    // Of two runs at once the first one's stays; it may already be in use.
    if (!existsSync(privateStarter)) await rename(beside, privateFolder);
  } finally {
    await rm(folder, { recursive: true, force: true });
    await rm(beside, { recursive: true, force: true });
  }
}

/** Finds its libraries beside itself first, and fonts' settings where the system has none. */
function starter() {
  return `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
libraries=$(find "$here/usr/lib" "$here/lib" -maxdepth 1 -type d -name '*-linux-gnu*' 2>/dev/null)
for folder in $libraries; do
  # PulseAudio keeps one of its own libraries in a folder beneath.
  LD_LIBRARY_PATH="$folder:$folder/pulseaudio\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
export LD_LIBRARY_PATH
if [ ! -e /etc/fonts/fonts.conf ] && [ -e "$here/etc/fonts/fonts.conf" ]; then
  export FONTCONFIG_PATH="$here/etc/fonts" FONTCONFIG_SYSROOT="$here"
fi
exec "$here/usr/lib/chromium/chromium" "$@"
`;
}

await runWhenStarted(import.meta, async () => {
  const onlyFind = process.argv.includes("--find");
  const file = onlyFind ? await findChromium() : await ensureChromium();
  if (file === undefined) throw new SetupError(whatToInstall);
  process.stdout.write(`${file}\n`);
});
