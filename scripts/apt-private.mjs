/**
 * A Debian package of a newer suite, fetched by apt with its signature checked,
 * without root and without touching the machine's own apt state.
 *
 * The mirror is the one that this machine is set to; nothing here names a host.
 */
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { runQuietly, SetupError } from "./process.mjs";

/**
 * @typedef {{uri: string, suites: string[], components: string[]}} SourceEntry
 *   one line of the machine's sources
 * @typedef {{uri: string, suite: string, component: string, keyring: string}} AptSource
 */

/** The suites whose nats-server is new enough, and where each system keeps it. */
const newer = {
  debian: { suite: "trixie", component: "main" },
  ubuntu: { suite: "noble", component: "universe" },
};

/** @returns {Promise<AptSource | undefined>} undefined where this system has no such suite */
export async function newerSource() {
  const system = await thisSystem();
  const own = system === undefined ? undefined : (await ownSources(system))[0];
  if (system === undefined || own === undefined) return undefined;
  return { uri: own.uri, keyring: system.keyring, ...newer[system.family] };
}

/** @returns {Promise<AptSource[]>} where the machine's own packages come from, updates too */
export async function debianSources() {
  const system = await thisSystem();
  return system?.family === "debian" ? await ownSources(system) : [];
}

/**
 * @typedef {{family: "debian" | "ubuntu", codename: string, keyring: string}} System
 * @returns {Promise<System | undefined>} undefined where packages are not Debian's or Ubuntu's
 */
async function thisSystem() {
  const { ID: family, VERSION_CODENAME: codename } = parseOsRelease(
    await readOrEmpty("/etc/os-release"),
  );
  if ((family !== "debian" && family !== "ubuntu") || codename === undefined) return undefined;
  const keyring = `/usr/share/keyrings/${family}-archive-keyring.gpg`;
  return existsSync(keyring) ? { family, codename, keyring } : undefined;
}

/** @param {System} system */
async function ownSources({ codename, keyring }) {
  return ofSystem(await readSources(), codename).map((source) => ({ ...source, keyring }));
}

/**
 * The system's own suites, the release itself first: third parties' sources
 * name other suites.
 * @param {SourceEntry[]} entries
 * @param {string} codename
 */
export function ofSystem(entries, codename) {
  const all = entries.flatMap(({ uri, suites, components }) =>
    components.includes("main") && !uri.startsWith("cdrom:")
      ? suites.map((suite) => ({ uri, suite, component: "main" }))
      : [],
  );
  const release = all.filter(({ suite }) => suite === codename);
  const updates = ["updates", "security"].map((part) => `${codename}-${part}`);
  return [...release, ...all.filter(({ suite }) => updates.includes(suite))];
}

/** @param {string} text */
function parseOsRelease(text) {
  const lines = text.matchAll(/^([A-Z_]+)="?([^"\n]*)"?$/gm);
  return /** @type {Record<string, string | undefined>} */ (
    Object.fromEntries([...lines].map(([, key, value]) => [key, value]))
  );
}

async function readSources() {
  const folder = "/etc/apt/sources.list.d";
  const names = existsSync(folder) ? (await readdir(folder)).sort() : [];
  const entries = parseOneLine(await readOrEmpty("/etc/apt/sources.list"));
  for (const name of names) {
    const text = await readOrEmpty(join(folder, name));
    if (name.endsWith(".list")) entries.push(...parseOneLine(text));
    if (name.endsWith(".sources")) entries.push(...parseDeb822(text));
  }
  return entries;
}

/**
 * @param {string} text lines such as `deb [arch=amd64] URI suite main contrib`
 * @returns {SourceEntry[]}
 */
export function parseOneLine(text) {
  const lines = text.matchAll(
    /^[ \t]*deb[ \t]+(?:\[[^\]]*\][ \t]*)?(\S+)[ \t]+(\S+)[ \t]*([^#\n]*)/gm,
  );
  return [...lines].map(([, uri = "", suite = "", components = ""]) => ({
    uri,
    suites: [suite],
    components: words(components),
  }));
}

/**
 * @param {string} text stanzas of `Types:`, `URIs:`, `Suites:`, `Components:`
 * @returns {SourceEntry[]}
 */
export function parseDeb822(text) {
  const withoutComments = text.replace(/^#.*\n?/gm, "");
  return withoutComments.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (/** @type {string} */ name) =>
      words(new RegExp(`^${name}:(.*(?:\\n[ \\t].*)*)`, "im").exec(stanza)?.[1] ?? "");
    if (!field("Types").includes("deb") || field("Enabled").includes("no")) return [];
    const [suites, components] = [field("Suites"), field("Components")];
    return field("URIs").map((uri) => ({ uri, suites, components }));
  });
}

/** @param {string} text */
function words(text) {
  return text.split(/\s+/).filter((word) => word !== "");
}

/** @param {string} file */
async function readOrEmpty(file) {
  try {
    return await readFile(file, "utf8");
  } catch {
    return "";
  }
}

/**
 * One package of a newer suite, without what it depends on.
 * @param {AptSource} source
 * @param {string} name of the package
 * @param {string} folder private and empty
 * @returns {Promise<string>} the path of the archive, its signature checked
 */
export async function downloadPackage(source, name, folder) {
  const apt = await prepareApt([source], folder);
  runQuietly(`Reading the package index of ${source.suite}`, "apt-get", [...apt, "update"]);
  runQuietly(`Fetching ${name}`, "apt-get", [...apt, "download", name], { cwd: folder });
  const archive = (await readdir(folder)).find((entry) => entry.endsWith(".deb"));
  if (archive === undefined) throw new SetupError(`apt fetched no package ${name}.`);
  return join(folder, archive);
}

/**
 * A package of the machine's own suite with all that it depends on and that is
 * not installed; nothing gets installed.
 * @param {AptSource[]} sources
 * @param {string} name of the package
 * @param {string} folder private and empty
 * @returns {Promise<string[]>} the paths of the archives, their signatures checked
 */
export async function downloadWithDependencies(sources, name, folder) {
  const apt = await prepareApt(sources, folder);
  runQuietly("Reading the package index", "apt-get", [...apt, "update"]);
  const install = ["install", "--download-only", "--yes", "--no-install-recommends", name];
  // Without the lock on dpkg's own state, which is only read, and needs root.
  runQuietly(`Fetching ${name}`, "apt-get", [...apt, "-o", "Debug::NoLocking=1", ...install]);
  const archives = join(folder, "apt", "cache", "archives");
  const names = (await readdir(archives)).filter((entry) => entry.endsWith(".deb"));
  return names.map((entry) => join(archives, entry));
}

/**
 * @param {AptSource[]} sources
 * @param {string} folder
 * @returns {Promise<string[]>} the options that keep apt to this folder and these sources
 */
async function prepareApt(sources, folder) {
  const apt = join(folder, "apt");
  await mkdir(join(apt, "state", "lists", "partial"), { recursive: true });
  await mkdir(join(apt, "cache", "archives", "partial"), { recursive: true });
  // Only the package index is asked for: no translations, icons or contents.
  const lines = sources.map(
    ({ keyring, uri, suite, component }) =>
      `deb [signed-by=${keyring} target=Packages] ${uri} ${suite} ${component}\n`,
  );
  await writeFile(join(apt, "sources.list"), lines.join(""));
  return Object.entries({
    "Dir::Etc::SourceList": join(apt, "sources.list"),
    "Dir::Etc::SourceParts": "/dev/null",
    "Dir::State": join(apt, "state"),
    "Dir::State::status": "/var/lib/dpkg/status",
    "Dir::Cache": join(apt, "cache"),
    // As root, apt would fetch as its own user, who may not enter this folder.
    "APT::Sandbox::User": userInfo().username,
    "APT::Keep-Downloaded-Packages": "true",
    "Acquire::AllowInsecureRepositories": "false",
    "APT::Get::AllowUnauthenticated": "false",
    "Acquire::Retries": "3",
  }).flatMap(([option, value]) => ["-o", `${option}=${value}`]);
}
