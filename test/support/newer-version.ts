/** A version of the platform that is newer than this one, to upgrade to. */
import { cp, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** This file runs as dist/test/support/newer-version.js. */
const root = fileURLToPath(new URL("../../../", import.meta.url));
export const newerVersion = "99.0.0";

/** The same code under another version's number; resolves to its node program. */
export async function makeNewerVersion(folder: string): Promise<string> {
  for (const part of ["src", "actors", "topology"]) {
    await cp(join(root, "dist", part), join(folder, "dist", part), { recursive: true });
  }
  const manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  const file = join(folder, "package.json");
  await writeFile(file, JSON.stringify({ ...manifest, version: newerVersion }));
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  return join(folder, "dist/src/main/node.js");
}
