/**
 * What every set-up script shares: the project's folder, running a command,
 * and ending with one clear sentence instead of a stack trace.
 */
import { spawn, spawnSync } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The project's folder, without a slash at its end. */
export const root = fileURLToPath(new URL("..", import.meta.url)).replace(/[/\\]$/, "");

/** A condition of this machine that a person must change; shown without a stack. */
export class SetupError extends Error {}

/**
 * Runs a command in the project's folder, its output shown as it comes.
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<number>} the exit code; 128 + n when signal n ended it
 */
export function run(command, args, env = process.env) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "inherit", "inherit"] });
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? 128 + (signal === "SIGINT" ? 2 : 15)));
  });
}

/**
 * Runs a command quietly; what it printed is shown only when it fails.
 * @param {string} what the step in words, for the sentence when it fails
 * @param {string} command
 * @param {string[]} args
 * @param {{cwd?: string}} [options]
 * @returns {string} its standard output
 */
export function runQuietly(what, command, args, options = {}) {
  const env = { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" };
  const done = spawnSync(command, args, {
    encoding: "utf8",
    maxBuffer: 64 << 20,
    stdio: ["ignore", "pipe", "pipe"],
    env,
    ...options,
  });
  if (done.error !== undefined) throw new SetupError(`${what}: ${done.error.message}`);
  if (done.status !== 0) {
    const said = `${done.stdout}${done.stderr}`.trim().split("\n").slice(-12).join("\n");
    throw new SetupError(`${what} failed (${command} ended with ${done.status}):\n${said}`);
  }
  return done.stdout;
}

/**
 * The first executable of these names on the PATH or in the folders given.
 * @param {string[]} names
 * @param {string[]} [alsoIn] folders that a plain user's PATH often lacks
 * @returns {Promise<string[]>} all of them, in the PATH's order
 */
export async function findExecutables(names, alsoIn = []) {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), ...alsoIn];
  const found = [];
  for (const folder of new Set(folders.filter((entry) => entry !== ""))) {
    for (const name of names) {
      const file = join(folder, name);
      if (await isExecutable(file)) found.push(file);
    }
  }
  return found;
}

/** @param {string} file */
export async function isExecutable(file) {
  try {
    await access(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Runs a script's main function when the script was started by itself.
 * @param {ImportMeta} meta the script's own `import.meta`
 * @param {() => Promise<number | void>} main may return the exit code
 */
export async function runWhenStarted(meta, main) {
  if (process.argv[1] === undefined || fileURLToPath(meta.url) !== process.argv[1]) return;
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
