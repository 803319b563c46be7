/**
 * Brings a fresh checkout to the point where a make target can start, and does
 * nothing where nothing changed: a second call takes as long as the compiler.
 *
 *   node scripts/prepare.mjs [install] [build] [nats] [chromium] [redis] [mariadb]
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ensureChromium } from "./ensure-chromium.mjs";
import { ensureMariadb } from "./ensure-mariadb.mjs";
import { ensureNatsServer } from "./ensure-nats.mjs";
import { ensureRedisServer } from "./ensure-redis.mjs";
import { root, run, runWhenStarted, SetupError } from "./process.mjs";

/** @type {Record<string, () => Promise<unknown>>} */
const steps = {
  install,
  build,
  nats,
  chromium,
  redis: ensureRedisServer,
  mariadb: ensureMariadb,
};

/** @param {string[]} names in the order in which they are to be done */
export async function prepare(names) {
  for (const name of names) {
    const step = steps[name];
    if (step === undefined) throw new SetupError(`There is no step ${name} to prepare.`);
    await step();
  }
}

/** `npm ci`, only when the lock file or Node's major version is not the one installed. */
async function install() {
  const stamp = join(root, "node_modules", ".belfry-installed");
  const lock = await readFile(join(root, "package-lock.json"));
  // Native parts are built for one major version of Node.
  const major = process.versions.node.split(".")[0];
  const wanted = `${createHash("sha256").update(lock).digest("hex")} node ${major}\n`;
  if (existsSync(stamp) && (await readFile(stamp, "utf8")) === wanted) return;
  process.stderr.write("belfry: installing the npm packages of package-lock.json\n");
  const npm = process.platform === "win32" ? "npm.cmd" : "npm";
  if ((await run(npm, ["ci", "--no-audit", "--no-fund"])) !== 0) {
    throw new SetupError("`npm ci` failed; what it said is above.");
  }
  await writeFile(stamp, wanted);
}

/** Compiles what changed; a type error ends the target. */
async function build() {
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  if ((await run(process.execPath, [tsc, "-p", "tsconfig.json"])) !== 0) {
    throw new SetupError("The sources do not compile; what tsc said is above.");
  }
}

/** A server that was given is used as it is; src/main checks it over its connection. */
async function nats() {
  if ((process.env["NATS_URL"] ?? "") === "") await ensureNatsServer();
}

async function chromium() {
  await ensureChromium();
}

await runWhenStarted(import.meta, () => prepare(process.argv.slice(2)));
