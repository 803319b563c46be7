/**
 * A program of the system's own packages, with all it depends on, unpacked under
 * `.belfry/` and started by a small script there: it needs no root and installs
 * nothing. apt checks the signatures.
 */
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { downloadWithDependencies } from "./apt-private.mjs";
import { root, runQuietly } from "./process.mjs";

/**
 * @typedef {object} PrivatePackage
 * @property {string} title for people
 * @property {string} folder its name under `.belfry/`
 * @property {string} packageName Debian's
 * @property {string} starter the script's name in the folder
 * @property {string} script what it does; `$here` is the folder
 */

/** @param {PrivatePackage} wanted */
export function privateStarter({ folder, starter }) {
  return join(root, ".belfry", folder, starter);
}

/**
 * @param {PrivatePackage} wanted
 * @param {import("./apt-private.mjs").AptSource[]} sources
 * @returns {Promise<string>} the path of its starter
 */
export async function unpackPrivately(wanted, sources) {
  const { title, folder, packageName, starter, script } = wanted;
  process.stderr.write(`belfry: unpacking ${title} into .belfry/${folder}/ (once)\n`);
  const target = join(root, ".belfry", folder);
  const beside = `${target}.${process.pid}`;
  const scratch = await mkdtemp(join(tmpdir(), `belfry-${folder}-`));
  try {
    await mkdir(beside, { recursive: true });
    for (const archive of await downloadWithDependencies(sources, packageName, scratch)) {
      runQuietly(`Unpacking ${title}`, "dpkg-deb", ["-x", archive, beside]);
    }
    await writeFile(join(beside, starter), findsItsLibraries + script);
    await chmod(join(beside, starter), 0o755);
    // Of two runs at once the first one's stays; it may already be in use.
    if (!existsSync(privateStarter(wanted))) await rename(beside, target);
  } finally {
    await rm(scratch, { recursive: true, force: true });
    await rm(beside, { recursive: true, force: true });
  }
  return privateStarter(wanted);
}

/** Its libraries beside itself come first. */
const findsItsLibraries = `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
libraries=$(find "$here/usr/lib" "$here/lib" -maxdepth 1 -type d -name '*-linux-gnu*' 2>/dev/null)
for folder in $libraries; do
  # PulseAudio keeps one of its own libraries in a folder beneath.
  LD_LIBRARY_PATH="$folder:$folder/pulseaudio\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
export LD_LIBRARY_PATH
`;
