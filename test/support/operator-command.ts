/** The command `belfry` as an operator runs it against a platform of a test. */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Platform } from "./platform.js";

/** This file runs as dist/test/support/operator-command.js. */
const program = fileURLToPath(new URL("../../src/main/belfry.js", import.meta.url));

export interface Said {
  readonly exitCode: number;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever is in it.
  readonly document: any;
}

export async function runOperatorCommand(
  platform: Platform,
  ...args: readonly string[]
): Promise<Said> {
  const { user, pass } = platform.nats.credentials.user("operator-test");
  const passwordFile = join(platform.folder, "operator.password");
  await writeFile(passwordFile, pass, { mode: 0o600 });
  // Mere patience: nobody who is there is given up.
  const access = ["--nats-url", platform.nats.url, "--user", user, "--timeout", "60"];
  const all = [program, ...args, "--json", ...access, "--password-file", passwordFile];
  return new Promise((resolve) => {
    execFile(process.execPath, all, (error, out) => {
      const exitCode = error === null ? 0 : Number(error.code);
      resolve({ exitCode, document: JSON.parse(out) });
    });
  });
}
