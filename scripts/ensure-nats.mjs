/**
 * Makes sure that there is a nats-server of 2.10 or newer, and prints its path.
 *
 * In order: one on the PATH; a private one under `.belfry/bin/`; the newer
 * package of Debian or Ubuntu, unpacked there and installed nowhere else. apt
 * checks that package's signature; it is given private state and cache folders,
 * so this needs no root and changes nothing of the machine's own apt.
 *
 *   node scripts/ensure-nats.mjs          find it, or unpack it
 *   node scripts/ensure-nats.mjs --find   only find it
 */
import { spawnSync } from "node:child_process";
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { downloadPackage, newerSource } from "./apt-private.mjs";
import {
  findExecutables,
  isExecutable,
  root,
  runQuietly,
  runWhenStarted,
  SetupError,
} from "./process.mjs";

/** Below 2.10 a subject mapping or a compare-and-set may not do what Belfry relies on. */
export const leastVersion = /** @type {const} */ ([2, 10]);

const privateServer = join(root, ".belfry", "bin", "nats-server");

/**
 * @param {string} said what `nats-server --version` printed
 * @returns {string | undefined} such as "2.10.27"
 */
export function parseVersion(said) {
  return /\bv?(\d+\.\d+\.\d+)\b/.exec(said)?.[1];
}

/** @param {string} version such as "2.10.27" */
export function isNewEnough(version) {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > leastVersion[0] || (major === leastVersion[0] && minor >= leastVersion[1]);
}

/**
 * @param {string} file
 * @returns {string | undefined} its version; undefined when it does not run here
 */
function versionOf(file) {
  const done = spawnSync(file, ["--version"], { encoding: "utf8", timeout: 10_000 });
  return done.status === 0 ? parseVersion(done.stdout) : undefined;
}

/**
 * @returns {Promise<{file?: string, tooOld: string[]}>} the server to use, and
 *   in words those that were passed over
 */
export async function findNatsServer() {
  const tooOld = [];
  const candidates = await findExecutables(["nats-server"], ["/usr/local/sbin", "/usr/sbin"]);
  if (await isExecutable(privateServer)) candidates.push(privateServer);
  for (const file of candidates) {
    const version = versionOf(file);
    if (version !== undefined && isNewEnough(version)) return { file, tooOld };
    tooOld.push(`${file} is ${version ?? "of no version that it tells"}`);
  }
  return { tooOld };
}

/** @returns {Promise<string>} the path of a nats-server that is new enough */
export async function ensureNatsServer() {
  const { file, tooOld } = await findNatsServer();
  if (file !== undefined) return file;
  const source = process.platform === "linux" ? await newerSource() : undefined;
  if (source === undefined) throw new SetupError(whatToInstall(tooOld));
  process.stderr.write(`belfry: unpacking nats-server of ${source.suite} into .belfry/bin/\n`);
  await unpackFrom(source);
  const version = versionOf(privateServer);
  if (version !== undefined && isNewEnough(version)) return privateServer;
  const fault = version === undefined ? "does not run here" : `is ${version}, too old`;
  throw new SetupError(`The nats-server of ${source.suite} ${fault}. ${whatToInstall(tooOld)}`);
}

/**
 * Unpacks beside the target and renames, so that two runs at once both end
 * with a whole file.
 * @param {import("./apt-private.mjs").AptSource} source
 */
async function unpackFrom(source) {
  const folder = await mkdtemp(join(tmpdir(), "belfry-nats-"));
  try {
    const archive = await downloadPackage(source, "nats-server", folder);
    const unpacked = join(folder, "unpacked");
    runQuietly("Unpacking nats-server", "dpkg-deb", ["-x", archive, unpacked]);
    await mkdir(join(root, ".belfry", "bin"), { recursive: true });
    const beside = `${privateServer}.${process.pid}`;
    await copyFile(await serverIn(unpacked), beside);
    await chmod(beside, 0o755);
    await rename(beside, privateServer);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param {string} unpacked */
async function serverIn(unpacked) {
  for (const entry of await readdir(unpacked, { recursive: true })) {
    if (/(^|\/)s?bin\/nats-server$/.test(entry)) return join(unpacked, entry);
  }
  throw new SetupError("The package nats-server holds no program of that name.");
}

/** @param {string[]} tooOld */
function whatToInstall(tooOld) {
  const passedOver = tooOld.length === 0 ? "none was found" : tooOld.join("; ");
  const how =
    process.platform === "darwin"
      ? "Install it with `brew install nats-server`"
      : "Put one on the PATH (see docs.nats.io)";
  return (
    `Belfry needs nats-server ${leastVersion.join(".")} or newer: ${passedOver}. ` +
    `${how}, or set NATS_URL to a server that runs.`
  );
}

await runWhenStarted(import.meta, async () => {
  if (!process.argv.includes("--find")) {
    process.stdout.write(`${await ensureNatsServer()}\n`);
    return;
  }
  const { file, tooOld } = await findNatsServer();
  if (file === undefined) {
    throw new SetupError(
      `${whatToInstall(tooOld)} \`node scripts/ensure-nats.mjs\` can unpack one.`,
    );
  }
  process.stdout.write(`${file}\n`);
});
