/**
 * The licences of all packages in the lock file against the lists of those that
 * Belfry may be shipped with, and built with.
 *
 *   node scripts/licences.mjs
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { root, runWhenStarted, SetupError } from "./process.mjs";

/** Permissive ones: nothing about Belfry's own sources follows from them. */
const shippedWith = new Set([
  "0BSD",
  "Apache-2.0",
  "BlueOak-1.0.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "CC0-1.0",
  "ISC",
  "MIT",
  "Unlicense",
  "Zlib",
]);

/** Tools stay on the developer's machine, so a weak copyleft one may be among them. */
const builtWith = new Set([...shippedWith, "CC-BY-4.0", "MPL-2.0", "Python-2.0"]);

/**
 * Whether an SPDX expression can be fulfilled from a list: one side of an OR,
 * both of an AND. An exception (WITH) only grants more than its licence.
 * @param {string} expression such as "(MIT OR GPL-2.0-only) AND Zlib"
 * @param {ReadonlySet<string>} allowed
 */
export function isAllowed(expression, allowed) {
  const tokens = expression.match(/[()]|[^\s()]+/g) ?? [];
  let at = 0;

  /** @returns {boolean} */
  function either() {
    let fulfilled = both();
    while (tokens[at] === "OR") {
      at++;
      // Read in any case: the other side must be passed over as well.
      const other = both();
      fulfilled ||= other;
    }
    return fulfilled;
  }

  /** @returns {boolean} */
  function both() {
    let fulfilled = one();
    while (tokens[at] === "AND") {
      at++;
      const other = one();
      fulfilled &&= other;
    }
    return fulfilled;
  }

  /** @returns {boolean} */
  function one() {
    const token = tokens[at++];
    if (token === "(") {
      const fulfilled = either();
      return tokens[at++] === ")" && fulfilled;
    }
    if (tokens[at] === "WITH") at += 2;
    return token !== undefined && allowed.has(token);
  }

  const fulfilled = either();
  return at === tokens.length && fulfilled;
}

/** Throws with the packages whose licence is on neither list. */
export async function checkLicences() {
  const lock = JSON.parse(await readFile(join(root, "package-lock.json"), "utf8"));
  const refused = [];
  for (const [path, locked] of Object.entries(lock.packages)) {
    if (path === "") continue;
    const licence = await licenceOf(path, locked);
    const allowed = locked.dev === true ? builtWith : shippedWith;
    if (!isAllowed(licence, allowed)) {
      refused.push(`${path.replace(/^.*node_modules\//, "")}@${locked.version}: ${licence}`);
    }
  }
  if (refused.length === 0) return;
  throw new SetupError(
    `Licences that scripts/licences.mjs does not list:\n  ${refused.join("\n  ")}`,
  );
}

/**
 * From the package itself; a part for another platform is not installed, and
 * only the lock file tells.
 * @param {string} path
 * @param {{license?: string}} locked
 * @returns {Promise<string>}
 */
async function licenceOf(path, locked) {
  try {
    const text = await readFile(join(root, path, "package.json"), "utf8");
    const { license, licenses } = JSON.parse(text);
    if (typeof license === "string") return license;
    if (typeof license?.type === "string") return license.type;
    // The form of old packages: a choice.
    if (Array.isArray(licenses)) return licenses.map(({ type }) => type).join(" OR ");
  } catch {
    // Not installed here.
  }
  return locked.license ?? "none stated";
}

await runWhenStarted(import.meta, checkLicences);
